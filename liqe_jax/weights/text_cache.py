"""Text features of weight files that were met before, so that the next start need not compute them.

An entry is bound to the file's sha256 and to the sentences; whatever is wrong with one, it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError

from liqe_jax.errors import ModelError
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.files import read_safetensors, write_safetensors

_NAME = "text_features"


def entry(folder: str | os.PathLike, checkpoint: Checkpoint, tasks: TaskSet) -> Path | None:
    """The file that holds, or is going to hold, the features; None where they cannot be told apart.

    Args:
      folder: of the cache.
      checkpoint: read from one file; with a tokenizer of its own it is not cached.
      tasks: whose sentences.
    """
    source = checkpoint.provenance.source_sha256
    if not source or checkpoint.tokenizer is not None:
        return None
    key = json.dumps([source, tasks.prompts, checkpoint.encoder.to_config()], sort_keys=True)
    return Path(folder) / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def read(path: Path, tasks: TaskSet, checkpoint: Checkpoint) -> Float[np.ndarray, "K D"] | None:
    """Features from an entry; None where there is none or it is corrupt."""
    try:
        features = read_safetensors(path)[_NAME]
    except (ModelError, KeyError):
        return None
    wanted = (len(tasks.prompts), checkpoint.encoder.projection_dim)
    return features if features.shape == wanted and np.isfinite(features).all() else None


def write(path: Path, features: Float[np.ndarray, "K D"]) -> None:
    """Makes an entry, whole or not at all. A home that is read-only or full costs time, and nothing else."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(part, {_NAME: np.ascontiguousarray(features)}, {})
        part.replace(path)
