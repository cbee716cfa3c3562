"""Small readers and writers that every format uses; their errors name the file and the way out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from liqe_jax.errors import ModelError
from liqe_jax.messages import printable


def sha256_of_file(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes.

    Raises:
      ModelError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}). Check its permissions.") from error


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file.

    Raises:
      ModelError: missing, cut or damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({printable(error)}). Download or convert it again."
        ) from error


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a new safetensors file, for those to read whom the user lets read other new files.

    The library's own files are for nobody else (mode 600).
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(arrays), path, metadata=metadata)
    path.chmod(mode)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
      ModelError: missing, cut or damaged.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({printable(error)}). Download the folder again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a JSON {type(content).__name__}; expected an object.")
    return content


def write_json(path: Path, content: object) -> None:
    """Writes JSON for people: indented, in UTF-8, with a final newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
