"""Files and folders by path or URL, through fsspec: local, `gs://`, `s3://`, `https://`, `memory://` and others."""

from __future__ import annotations

import contextlib
import os
import posixpath
import uuid
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from liqe_jax.bounded_io import LIMIT_VARIABLE, most_bytes, open_regular, read_bytes
from liqe_jax.errors import UnreadableError, UsageError
from liqe_jax.images.unread import HEIC_SUFFIXES, SUFFIXES
from liqe_jax.messages import printable, reason_of

# Files that are read at a time where each holds little, since storage answers slowly.
REQUESTS = 16


def find_file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL, and the path in it; raises UsageError if none is installed for its protocol."""
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"Cannot open {printable(url)}: {printable(error)}. fsspec has to know the protocol; s3:// needs the "
            "package s3fs, gs:// needs gcsfs, https:// needs aiohttp."
        ) from error


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether it is this machine's own."""
    return isinstance(fs, LocalFileSystem)


def name_of(url: str) -> str:
    """The last part of a path or URL, without a query."""
    return posixpath.basename(url.partition("?")[0].rstrip("/"))


def is_image(name: str) -> bool:
    """Whether a file is scored, by its suffix: HEIC too, without whose reader its row names the extra; no raw file."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES | HEIC_SUFFIXES


def join(folder: str, *names: str) -> str:
    """A path below a folder, which may be a URL; a path that is absolute, or a URL, stays as it is."""
    return names[-1] if "://" in names[-1] or os.path.isabs(names[-1]) else posixpath.join(folder, *names)


def open_shard(url: str) -> IO[bytes]:
    """Opens a file for streaming; raises UnreadableError if that fails."""
    fs, path = find_file_system(url)
    try:
        return open_regular(path) if is_local(fs) else fs.open(path, "rb")
    except Exception as error:  # each file system has errors of its own
        raise UnreadableError(f"Cannot open {printable(url)}: {reason_of(error)}") from error


def read_image(url: str) -> bytes:
    """The bytes of one image file, at most `bounded_io.most_bytes()`.

    Raises UnreadableError if it cannot be read or is larger; else as `find_file_system`.
    """
    fs, path = find_file_system(url)
    try:
        if is_local(fs):
            return read_bytes(path)
        with fs.open(path, "rb") as file:
            content = file.read(most_bytes() + 1)
    except Exception as error:  # each file system has errors of its own
        raise UnreadableError(f"Cannot read {printable(url)}: {reason_of(error)}") from error
    if len(content) > most_bytes():
        raise UnreadableError(too_large(len(content)))
    return content


def too_large(size: int) -> str:
    """A sentence about an image with more bytes than are read."""
    return (
        f"It has at least {size / 1e6:,.0f} MB, and at most {most_bytes() / 1e6:,.0f} MB are read; set "
        f"{LIMIT_VARIABLE} to raise the limit."
    )


@contextlib.contextmanager
def written_aside(fs: Any, path: str) -> Iterator[IO[bytes]]:
    """A file for writing that gets its name when the block ends without an error, and otherwise does not exist.

    Object stores have no rename, and copy instead; the copy appears as a whole too. Raises OSError, with the path.
    """
    folder, name = posixpath.split(path)
    aside = posixpath.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with fs.open(aside, "wb") as file:
            yield file
            file.flush()
            if is_local(fs):
                os.fsync(file.fileno())
        fs.mv(aside, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path  # for the message
        with contextlib.suppress(Exception):
            fs.rm(aside)
        raise
