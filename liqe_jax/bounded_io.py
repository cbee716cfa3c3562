"""Reads files that may be anything: regular files only, of bounded size, and JSON of bounded depth. Writes whole files.

Opening a named pipe waits for a writer, and a device such as /dev/zero has no end: both are refused.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# The largest image, table or JSON file that is read, and the environment variable that raises the limit. An 8-bit RGB
# image of 179 megapixels, which the decoder's limit allows, has 537 million bytes where nothing is compressed.
MOST_MEGABYTES = 600
LIMIT_VARIABLE = "LIQE_MAX_MEGABYTES"

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a file for reading bytes, without waiting; raises OSError for folders, named pipes, sockets and devices."""
    # Without O_NONBLOCK, opening a named pipe waits until somebody writes to it. O_BINARY exists on Windows alone.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
            code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, f"it is {kind}, and only regular files are read", os.fspath(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: str | os.PathLike) -> None:
    """Raises what `open_regular` raises, for libraries that open a file by its path."""
    open_regular(path).close()


def most_bytes() -> int:
    """The limit of `read_bytes`, in bytes; raises ValueError if the environment variable is not a number."""
    megabytes = os.environ.get(LIMIT_VARIABLE) or MOST_MEGABYTES
    try:
        return int(float(megabytes) * 1e6)
    except (ValueError, OverflowError):
        raise ValueError(f"{LIMIT_VARIABLE} must be a number of megabytes; it is {megabytes!r}") from None


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of an image, a table or a JSON file.

    Raises OSError if it cannot be read, is not a regular file, or is larger than `most_bytes()`; ValueError if the
    limit is not a number, or the path holds a null character.
    """
    most = most_bytes()
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            return file.read(size)
    sizes = f"it has {size / 1e6:,.0f} MB, and at most {most / 1e6:,.0f} MB are read"
    reason = f"{sizes}; set {LIMIT_VARIABLE} to raise the limit"
    raise OSError(errno.EFBIG, reason, os.fspath(path))


def read_text(path: str | os.PathLike, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a file with its own line ends; raises as `read_bytes`, and ValueError for another encoding."""
    return read_bytes(path).decode(encoding, errors)


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, with ValueError as the only error: it is not JSON, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file; raises as `read_text` and `parse_json`."""
    return parse_json(read_text(Path(path)))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Opens a text file for writing that replaces `path` when it is complete, and not at all after an error."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
