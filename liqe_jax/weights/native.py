"""Our own format: a Hugging Face CLIP folder with a manifest.

    config.json, model.safetensors    as transformers' CLIPModel reads them
    vocab.json, merges.txt            the tokenizer
    text_features.safetensors         unit features of the prompts
    liqe.json                         task set, provenance, and the sha256 of the other files

The features record the weights and the prompts that they were made from, so features of
other weights are refused instead of silently used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from liqe_jax.errors import ModelError
from liqe_jax.tasks import TaskSet
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.checkpoint import Checkpoint, check_against_config, read_config
from liqe_jax.weights.files import read_json, read_safetensors, sha256_of_file, write_json
from liqe_jax.weights.layouts import cast, from_flax, to_flax
from liqe_jax.weights.provenance import Provenance

MANIFEST = "liqe.json"
WEIGHTS = "model.safetensors"
TEXT_FEATURES = "text_features.safetensors"
FORMAT = {"name": "liqe_jax", "version": 1}


def _prompts_sha256(tasks: TaskSet) -> str:
    return hashlib.sha256(json.dumps(tasks.prompts).encode()).hexdigest()


def write_native(folder: str | os.PathLike, checkpoint: Checkpoint, dtype: str = "float32") -> None:
    """Writes a model with a task set and text features; the folder appears whole or not at all.

    Args:
      folder: must not exist.
      checkpoint: with `tasks` and `text_features`.
      dtype: of the stored weights, float32 or float16 (half the size, rounded).

    Raises:
      ModelError: the folder exists, or the checkpoint lacks tasks or features.
    """
    folder = Path(folder)
    if checkpoint.tasks is None or checkpoint.text_features is None:
        raise ModelError("Our own format needs a task set and its text features; give the task set (--tasks joint).")
    if folder.exists():
        raise ModelError(f"{folder} exists already. Remove it, or choose another name.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        partial = Path(scratch) / "model"
        partial.mkdir()
        state = from_flax(cast(checkpoint.flat, dtype), "hugging_face")
        save_file(state, partial / WEIGHTS, metadata={"format": "pt"})
        write_json(partial / "config.json", checkpoint.config.to_hugging_face())
        (checkpoint.tokenizer or Tokenizer.default()).save(partial)
        weights_sha256 = sha256_of_file(partial / WEIGHTS)
        save_file(
            {"text_features": np.ascontiguousarray(checkpoint.text_features, np.float32)},
            partial / TEXT_FEATURES,
            metadata={"weights_sha256": weights_sha256, "prompts_sha256": _prompts_sha256(checkpoint.tasks)},
        )
        write_json(
            partial / MANIFEST,
            {
                "format": FORMAT,
                "tasks": checkpoint.tasks.to_dict(),
                "provenance": checkpoint.provenance.to_dict(),
                "sha256": {entry.name: sha256_of_file(entry) for entry in sorted(partial.iterdir())},
            },
        )
        shutil.move(partial, folder)


def read_native(folder: str | os.PathLike) -> Checkpoint:
    """Reads and verifies a folder that `write_native` wrote.

    Raises:
      ModelError: a file is missing, cut or altered; the format is newer than this package;
        the text features belong to other weights or prompts.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    for name, expected in manifest["sha256"].items():
        if Path(name).name != name:
            raise ModelError(f"{folder / MANIFEST} lists {name!r}, which is no plain file name. It is refused.")
        if not (folder / name).is_file():
            raise ModelError(f"{folder} lacks {name}. Copy the whole folder again.")
        got = sha256_of_file(folder / name)
        if got != expected:
            raise ModelError(
                f"{folder / name} is cut or altered: expected sha256 {expected}, got {got}. Copy the folder again, or "
                "convert the model anew if you meant to change it."
            )
    tasks = TaskSet.from_dict(manifest["tasks"])
    config = read_config(folder / "config.json")
    flat = to_flax(read_safetensors(folder / WEIGHTS), "hugging_face", str(folder / WEIGHTS))
    check_against_config(flat, config, str(folder))
    features = _read_features(folder, manifest["sha256"].get(WEIGHTS, ""), tasks)
    expected_shape = (len(tasks.prompts), config.projection_dim)
    if features.shape != expected_shape:
        raise ModelError(f"{folder / TEXT_FEATURES} has shape {features.shape}; expected {expected_shape}.")
    provenance = Provenance.from_dict(manifest["provenance"])
    return Checkpoint(flat, config, provenance, tasks, Tokenizer.from_folder(folder), features)


def _manifest(folder: Path) -> dict:
    manifest = read_json(folder / MANIFEST)
    try:
        version = manifest["format"]["version"]
        complete = {"tasks", "provenance", "sha256"} <= manifest.keys() and WEIGHTS in manifest["sha256"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read ({error}). Copy the folder again.") from error
    if manifest["format"].get("name") != FORMAT["name"] or version > FORMAT["version"] or not complete:
        raise ModelError(
            f"{folder / MANIFEST} has format {manifest['format']}; this version reads {FORMAT} and older. "
            "Update liqe_jax, or copy the folder again."
        )
    return manifest


def _read_features(folder: Path, weights_sha256: str, tasks: TaskSet) -> np.ndarray:
    try:
        with safe_open(folder / TEXT_FEATURES, framework="numpy") as file:
            made_from, features = file.metadata() or {}, file.get_tensor("text_features")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder / TEXT_FEATURES} cannot be read ({error}). Copy the folder again.") from error
    if made_from != {"weights_sha256": weights_sha256, "prompts_sha256": _prompts_sha256(tasks)}:
        raise ModelError(
            f"The text features in {folder} were made from other weights or other prompts. Convert the model again."
        )
    return features
