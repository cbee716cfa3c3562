"""Parameters as training holds them: a flat dictionary, names joined with slashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flax.traverse_util import unflatten_dict

Flat = dict[str, Any]  # name -> array


def nested(flat: Flat) -> dict[str, Any]:
    """The nested dictionary that encoders take."""
    return unflatten_dict(flat, sep="/")


def matches(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a parameter is one of these, or lies below one of them."""
    return any(name == prefix or name.startswith(f"{prefix}/") for prefix in prefixes)
