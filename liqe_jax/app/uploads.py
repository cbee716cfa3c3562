"""The only place where uploads touch the disk: a folder of this process, emptied as photographs are read.

Gradio writes an upload to `GRADIO_TEMP_DIR/<hash>/<name>` and leaves it there. Here that folder is
temporary; a file is deleted when it has been read, before it is judged; what nobody asked for (a page
that was closed in the middle) is swept away, and the folder goes when the server ends.
"""

from __future__ import annotations

import collections
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from liqe_jax.errors import ImageError

# What an upload that nobody asks for may live, seconds. The page asks as soon as an upload is complete.
ABANDONED_AFTER = 300.0

LONGEST_NAME = 200  # characters of a file's name that are shown


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder that Gradio puts uploads into, until the block ends.

    It sets `GRADIO_TEMP_DIR`, which Gradio reads when a page is built, and sets it back.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="liqe-app-", ignore_cleanup_errors=True) as folder:
        real = Path(folder).resolve()  # Gradio compares resolved paths
        os.environ["GRADIO_TEMP_DIR"] = str(real)
        try:
            yield real
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def take(uploads: Sequence[Mapping[str, Any]], folder: Path, at_most: int) -> Iterator[tuple[str, bytes | ImageError]]:
    """Names and contents of the first `at_most` uploads; every file is deleted when it has been read.

    When the iterator ends or is closed, none of the uploads is left.

    Args:
      uploads: what Gradio says of them: `path`, where it is, and `orig_name`, what its sender calls it.
      folder: nothing outside it is read or deleted.
      at_most: how many are read.
    """
    paths = [Path(str(upload.get("path"))) for upload in uploads]
    # The same content under the same name is one file, however often it was dropped.
    wanted = collections.Counter(paths[:at_most])
    try:
        for upload, path in zip(uploads[:at_most], paths, strict=False):
            wanted[path] -= 1
            yield _name_of(upload, path), _read(path, folder, last=not wanted[path])
    finally:
        for path in paths:
            _delete(path, folder)


def sweep(folder: Path, older_than: float = ABANDONED_AFTER) -> None:
    """Deletes files, and folders that are empty, that have not changed for `older_than` seconds."""
    oldest = time.time() - older_than
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
        with contextlib.suppress(OSError):  # gone in the meantime, or not empty
            if path.lstat().st_mtime <= oldest:
                path.rmdir() if path.is_dir() else path.unlink()


def stored_bytes(folder: Path) -> int:
    """Bytes of all files in a folder, those that vanish meanwhile left out."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def _name_of(upload: Mapping[str, Any], path: Path) -> str:
    return str(upload.get("orig_name") or path.name)[:LONGEST_NAME]


def _read(path: Path, folder: Path, last: bool) -> bytes | ImageError:
    if not _inside(path, folder):
        return ImageError("Not an upload of this page. Drop the photograph on the page.")
    try:
        content = path.read_bytes()
    except OSError:
        # Somebody else dropped the same photograph at the same time, or it waited for too long.
        return ImageError("The upload is no longer there. Drop the photograph again.")
    if last:
        _delete(path, folder)
    return content


def _delete(path: Path, folder: Path) -> None:
    if _inside(path, folder):
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _inside(path: Path, folder: Path) -> bool:
    # Two levels, <hash>/<name>: the folder itself must never be deleted as somebody's parent.
    try:
        return path.resolve().parent.parent == folder
    except (OSError, ValueError):  # a loop of links, a null character
        return False
