"""Errors that the package raises on purpose; each says what was expected, what came instead and what to do about it."""

from __future__ import annotations

from liqe_jax.messages import LONGEST_MESSAGE, printable


class LiqeError(Exception):
    """Base class of every error that liqe_jax raises on purpose; its text is `printable`, but keeps line ends."""

    def __str__(self) -> str:
        return printable(super().__str__(), LONGEST_MESSAGE, keep="\n")


class ModelError(LiqeError):
    """A model cannot be found, read, converted or run."""


class ImageError(LiqeError):
    """One image cannot be decoded or scored. Other images are not affected."""


class UsageError(LiqeError):
    """An argument or a combination of arguments makes no sense."""


class DataError(LiqeError):
    """A data set is missing, incomplete or corrupt, or a part of it was asked for that it does not have."""


class UnreadableError(DataError):
    """Files of a data set cannot be opened or read, which says nothing about what is in them."""
