"""Compares weight files with the sha256 that is stated for them, where one is.

Safetensors, msgpack and the older `.pt` format have no checksum, so a flipped bit would load as another number. A
sha256 is stated by a `SHA256SUMS` beside the file, as `sha256sum` writes it, and by the name of the file in the Hugging
Face hub's cache. Our own folders state theirs in `liqe.json`, which `native` compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from liqe_jax.bounded_io import read_text
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable
from liqe_jax.weights.files import sha256_of_file

SUMS = "SHA256SUMS"

# "HASH  NAME", or "HASH *NAME" for binary mode.
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")

# The cache calls a file by its ETag, which is the sha256 of files in the hub's large-file storage.
_BLOB = re.compile(r"[0-9a-f]{64}")


def check_stated(path: Path, sha256: str | None = None) -> None:
    """Compares a file with every sha256 that is stated for it; nothing happens where there is none.

    Args:
      path: of the file.
      sha256: its hex digest, if it is known; it is computed where it is needed and None.

    Raises:
      ModelError: the file or SHA256SUMS cannot be read, or a digest differs.
    """
    for stated, where in _stated(path):
        sha256 = sha256 or sha256_of_file(path)
        if sha256 != stated:
            raise ModelError(
                f"{path} is cut or altered: expected sha256 {stated} ({where}), got {sha256}. Download or copy the "
                f"file again; if you meant to change it, correct {SUMS} or remove the cached file."
            )


def _stated(path: Path) -> Iterator[tuple[str, str]]:
    """Digests, each with where it is stated."""
    sums = path.parent / SUMS
    if sums.exists():
        try:
            lines = read_text(sums).splitlines()
        except (OSError, ValueError) as error:
            raise ModelError(f"Cannot read {sums} ({printable(error)}). Correct it or remove it.") from error
        for line in lines:
            if (match := _LINE.fullmatch(line.strip())) and match[2] == path.name:
                yield match[1].lower(), f"stated in {sums}"
    blob = path.resolve()
    if blob.parent.name == "blobs" and _BLOB.fullmatch(blob.name):
        yield blob.name, "stated by the hub, as the file's name in its cache"
