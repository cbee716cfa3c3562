"""Small readers and writers that every format uses, whose errors name the file and the way out; stated checksums.

Most formats have no checksum, so a flipped bit would load as another number. A sha256 is stated by a `SHA256SUMS`
beside the file, as `sha256sum` writes it, and by the name of the file in the Hugging Face hub's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # safetensors finds bfloat16 in NumPy once this has been imported
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from liqe_jax import bounded_io
from liqe_jax.bounded_io import check_regular, open_regular, read_text
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted

SUMS = "SHA256SUMS"

# "HASH  NAME", or "HASH *NAME" for binary mode.
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")

# The cache calls a file by its ETag, which is the sha256 of files in the hub's large-file storage.
_BLOB = re.compile(r"[0-9a-f]{64}")

# Types of the safetensors format that NumPy and ml_dtypes hold as they are.
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def sha256_of_file(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes; ModelError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}). Check its permissions.") from error


def check_stated(path: Path, sha256: str | None = None) -> None:
    """Compares a file, or its `sha256`, with all that are stated for it; ModelError where one differs."""
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


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata; ModelError: missing, cut, corrupt, not a regular file, or of an unsupported type."""
    try:
        check_regular(path)
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                    raise ModelError(
                        f"{path} has {quoted(name)} in {dtype}, which is not supported; expected one of "
                        f"{', '.join(_DTYPES)}. Convert the weights to float32 or bfloat16 first: {dtype} numbers "
                        "usually need scales that are stored elsewhere."
                    )
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({printable(error)}). Download or convert it again."
        ) from error


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a new safetensors file, with the mode of other new files of the user; the library's own have 600."""
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(arrays), path, metadata=metadata)
    path.chmod(mode)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder; ModelError where it is missing, cut or corrupt."""
    try:
        content = bounded_io.read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({printable(error)}). Download the folder again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a JSON {type(content).__name__}; expected an object.")
    return content


def write_json(path: Path, content: object) -> None:
    """Writes JSON for people: indented, in UTF-8, with a final newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
