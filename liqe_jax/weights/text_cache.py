"""Text features of weight files that were met before, so that the next start need not compute them.

An entry is bound to the file's sha256 and to the sentences; whatever is wrong with one, it is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from liqe_jax.errors import ModelError
from liqe_jax.tasks import TaskSet
from liqe_jax.taxonomy import find_tasks
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.files import read_safetensors, write_safetensors
from liqe_jax.weights.open import with_text_features

_NAME = "text_features"


def with_cached_features(
    checkpoint: Checkpoint, tasks: TaskSet | str | None, folder: str | os.PathLike | None
) -> Checkpoint:
    """`with_text_features`, whose features are kept in the cache `folder`; None caches nothing."""
    chosen, source = find_tasks(tasks, checkpoint.tasks), checkpoint.provenance.source_sha256
    # Of several files, or with a tokenizer of its own, a model cannot be told by one digest.
    if folder is None or not source or checkpoint.tokenizer is not None:
        return with_text_features(checkpoint, chosen)
    key = json.dumps([source, chosen.prompts, checkpoint.encoder.to_config()], sort_keys=True)
    path = Path(folder) / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    with contextlib.suppress(ModelError, KeyError):  # there is none, or it is corrupt
        features = read_safetensors(path)[0][_NAME]
        wanted = (len(chosen.prompts), checkpoint.encoder.projection_dim)
        if features.shape == wanted and np.isfinite(features).all():
            return dataclasses.replace(checkpoint, tasks=chosen, text_features=features)
    checkpoint = with_text_features(checkpoint, chosen)
    # Whole or not at all. A home that is read-only or full costs time, and nothing else.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(part, {_NAME: np.ascontiguousarray(checkpoint.text_features)}, {})
        part.replace(path)
    return checkpoint
