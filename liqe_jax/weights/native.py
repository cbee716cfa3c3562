"""Our own format: a Hugging Face folder with a manifest (docs/weights.md).

`config.json`, `model.safetensors` and the tokenizer's files are as transformers reads them. `text_features.safetensors`
holds the features of the prompts, and which weights and prompts they are of. `liqe.json` holds the task set,
provenance, preset, and the sha256 of the other files.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from liqe_jax.encoders.base import Encoder
from liqe_jax.errors import LiqeError, ModelError
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.checkpoint import Checkpoint, check_against_encoder, read_config
from liqe_jax.weights.files import (
    check_stated,
    read_json,
    read_safetensors,
    sha256_of_file,
    write_json,
    write_safetensors,
)
from liqe_jax.weights.layouts import cast, from_flax, to_flax
from liqe_jax.weights.provenance import Provenance

MANIFEST = "liqe.json"
WEIGHTS = "model.safetensors"
TEXT_FEATURES = "text_features.safetensors"
FILES = ("config.json", WEIGHTS, TEXT_FEATURES)
# Which of them there are depends on the encoder; those that are there are listed too.
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json")
FORMAT: dict[str, Any] = {"name": "liqe_jax", "version": 1}


def _prompts_sha256(tasks: TaskSet) -> str:
    return hashlib.sha256(json.dumps(tasks.prompts).encode()).hexdigest()


def write_native(folder: str | os.PathLike, checkpoint: Checkpoint, dtype: str = "float32") -> None:
    """Writes a model with a task set and text features, weights as `dtype`; the folder appears whole or not at all.

    Raises:
      ModelError: the folder exists or cannot be written, the checkpoint lacks parameters, tasks or features, these
        are of another text tower (see `liqe_jax.with_params`), or its values overflow `dtype`.
    """
    folder = Path(folder)
    if not checkpoint.flat:
        raise ModelError("An exported model has no parameters to write. Convert the model that it was exported from.")
    if checkpoint.tasks is None or checkpoint.text_features is None:
        raise ModelError("Our own format needs a task set and its text features; give the task set (--tasks joint).")
    expected_shape = (len(checkpoint.tasks.prompts), checkpoint.encoder.projection_dim)
    if checkpoint.text_features.shape != expected_shape:
        raise ModelError(
            f"The text features have shape {checkpoint.text_features.shape}; the task set and the model make "
            f"{expected_shape}. Compute them again with liqe_jax.weights.open.with_text_features."
        )
    if not checkpoint.features_fit:
        raise ModelError(
            "The text features are of other parameters than the checkpoint has now. Use liqe_jax.with_params, which "
            "computes them anew."
        )
    if folder.exists():
        raise ModelError(f"{folder} exists already. Remove it, or choose another name.")
    try:
        _write(folder, checkpoint, checkpoint.tasks, checkpoint.text_features, dtype)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"Cannot write {folder} ({error}). Check the disk and your permissions.") from error


def _write(folder: Path, checkpoint: Checkpoint, tasks: TaskSet, text_features: np.ndarray, dtype: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        partial = Path(scratch) / "model"
        partial.mkdir()
        encoder = checkpoint.encoder
        state = from_flax(cast(checkpoint.flat, dtype), type(encoder), encoder.stored_layout)
        write_safetensors(partial / WEIGHTS, state, {"format": "pt"})
        write_json(partial / "config.json", encoder.to_config())
        (checkpoint.tokenizer or encoder.tokenizer_class.default()).save(partial)
        weights_sha256 = sha256_of_file(partial / WEIGHTS)
        write_safetensors(
            partial / TEXT_FEATURES,
            {"text_features": np.ascontiguousarray(text_features, np.float32)},
            {"weights_sha256": weights_sha256, "prompts_sha256": _prompts_sha256(tasks)},
        )
        write_json(
            partial / MANIFEST,
            {
                "format": FORMAT,
                "tasks": tasks.to_dict(),
                "provenance": checkpoint.provenance.to_dict(),
                "preprocess": checkpoint.preprocess,
                "sha256": {entry.name: sha256_of_file(entry) for entry in sorted(partial.iterdir())},
            },
        )
        # Fails where another process has put one meanwhile; shutil.move would nest ours in it.
        os.rename(partial, folder)


def read_native(folder: str | os.PathLike, encoder: type[Encoder] | str | None = None) -> Checkpoint:
    """Reads and verifies a folder that `write_native` wrote; `encoder` as in `read_model`.

    ModelError: a file is missing, cut, altered or of a newer version, or the text features are of other weights.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    for name in manifest["sha256"]:
        if Path(name).name != name or name in ("", ".."):
            raise ModelError(f"{folder / MANIFEST} lists {name!r}, which is not a plain file name. It is refused.")
        if not (folder / name).is_file():
            raise ModelError(f"{folder} lacks {name}. Copy the whole folder again.")
    # The weights are read while they are hashed, and used only if the hash is right.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_safetensors, folder / WEIGHTS)
        for name, expected in manifest["sha256"].items():
            got = sha256_of_file(folder / name)
            if got != expected:
                raise ModelError(
                    f"{folder / name} is cut or altered: expected sha256 {expected}, got {got}. Copy the folder again, "
                    "or convert the model anew if you meant to change it."
                )
            check_stated(folder / name, got)
        state, _ = reading.result()
    try:
        tasks = TaskSet.from_dict(manifest["tasks"])
        provenance = Provenance.from_dict(manifest["provenance"])
        preprocess = manifest.get("preprocess", Checkpoint.preprocess)
        known_preset = preprocess in PRESETS
    except (LiqeError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read: {error} Copy the folder again.") from error
    architecture = read_config(folder / "config.json", encoder)
    for name in TOKENIZER_FILES:
        if (folder / name).exists() and name not in manifest["sha256"]:
            raise ModelError(f"{folder / MANIFEST} lacks the sha256 of {name}. Copy the folder again.")
    flat = to_flax(state, type(architecture), architecture.stored_layout, str(folder / WEIGHTS))
    check_against_encoder(flat, architecture, str(folder))
    features = _read_features(folder, manifest["sha256"].get(WEIGHTS, ""), tasks)
    expected_shape = (len(tasks.prompts), architecture.projection_dim)
    if features.shape != expected_shape:
        raise ModelError(f"{folder / TEXT_FEATURES} has shape {features.shape}; expected {expected_shape}.")
    if not known_preset:
        raise ModelError(
            f"{folder / MANIFEST} asks for the preset {preprocess!r}; this version has {', '.join(PRESETS)}. Update "
            "liqe_jax."
        )
    tokenizer = architecture.tokenizer_from(folder)
    return Checkpoint(flat, architecture, provenance, tasks, tokenizer, features, preprocess=preprocess)


def _manifest(folder: Path) -> dict:
    manifest = read_json(folder / MANIFEST)
    try:
        name, version = manifest["format"].get("name"), manifest["format"]["version"]
        readable = name == FORMAT["name"] and version <= FORMAT["version"]
        complete = {"tasks", "provenance"} <= manifest.keys() and manifest["sha256"].keys() >= set(FILES)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read ({error}). Copy the folder again.") from error
    if not readable:
        raise ModelError(
            f"{folder / MANIFEST} has format {manifest['format']}; this version reads {FORMAT} and older. "
            "Update liqe_jax, or copy the folder again."
        )
    if not complete:
        raise ModelError(
            f"{folder / MANIFEST} lacks the task set, the provenance or the sha256 of one of {', '.join(FILES)}. Copy "
            "the folder again."
        )
    return manifest


def _read_features(folder: Path, weights_sha256: str, tasks: TaskSet) -> np.ndarray:
    arrays, made_from = read_safetensors(folder / TEXT_FEATURES)
    if "text_features" not in arrays:
        raise ModelError(f"{folder / TEXT_FEATURES} has no array text_features. Copy the folder again.")
    if made_from != {"weights_sha256": weights_sha256, "prompts_sha256": _prompts_sha256(tasks)}:
        raise ModelError(
            f"The text features in {folder} were made from other weights or other prompts. Convert the model again."
        )
    return arrays["text_features"]
