"""From a name or a path to a `Checkpoint`, with the text features of its sentences."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float
from safetensors import SafetensorError

from liqe_jax.encoders.base import Encoder, Params, encode_prompts
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.tasks import TaskSet
from liqe_jax.taxonomy import find_tasks
from liqe_jax.text.tokenizer import BaseTokenizer
from liqe_jax.weights.checkpoint import Checkpoint, check_against_encoder
from liqe_jax.weights.files import read_safetensors, sha256_of_file, write_safetensors
from liqe_jax.weights.hub import fetch_known, fetch_repository, is_repository_name, models_folder
from liqe_jax.weights.known import EMBEDDED, KNOWN_MODELS, embedded_folder
from liqe_jax.weights.native import MANIFEST, write_native
from liqe_jax.weights.read import read_model


def open_checkpoint(name_or_path: str | os.PathLike, encoder: type[Encoder] | str | None = None) -> Checkpoint:
    """Finds and reads a model by path, known name or repository name; ModelError as in `liqe_jax.load`."""
    name = os.fspath(name_or_path)
    if os.path.exists(name):
        return read_model(name, encoder)
    if name == EMBEDDED:
        return read_model(embedded_folder())
    if name in KNOWN_MODELS:
        return _open_known(name)
    # A relative path that does not exist looks like owner/model too; its parent gives it away.
    if is_repository_name(name) and not os.path.exists(os.path.dirname(name)):
        checkpoint = read_model(fetch_repository(name), encoder)
        if checkpoint.tasks is not None:
            return checkpoint
        provenance = dataclasses.replace(checkpoint.provenance, name=name, source=f"huggingface.co/{name}")
        return dataclasses.replace(checkpoint, provenance=provenance)
    raise ModelError(
        f"No model {name!r}. Expected an existing folder or file, a known name "
        f"({', '.join([EMBEDDED, *KNOWN_MODELS])}), or a Hugging Face repository such as openai/clip-vit-base-patch32."
    )


def _open_known(name: str) -> Checkpoint:
    """A known model, converted to our format when it is met first: that loads in a third of the time."""
    known, converted = KNOWN_MODELS[name], models_folder() / name
    by_hand = models_folder() / known.file
    if converted.exists():
        # A corrupt conversion is made again, and so is one of a file that was replaced since; another process may be
        # just about it.
        with contextlib.suppress(ModelError, OSError):
            checkpoint = read_model(converted)
            if not by_hand.exists() or sha256_of_file(by_hand) == checkpoint.provenance.source_sha256:
                return checkpoint
    checkpoint = read_model(fetch_known(name))
    provenance = dataclasses.replace(
        checkpoint.provenance,
        name=name,
        source=f"{known.repository}/{known.file}",
        licence=known.licence,
        trained_on=known.trained_on,
        notes=(*known.notes, *checkpoint.provenance.notes),
    )
    checkpoint = with_text_features(dataclasses.replace(checkpoint, provenance=provenance), known.tasks)
    # A home that is read-only or full costs time at every start, and nothing else.
    with contextlib.suppress(ModelError, OSError):
        if (converted / MANIFEST).exists():
            shutil.rmtree(converted)
        write_native(converted, checkpoint)
    return checkpoint


def with_text_features(checkpoint: Checkpoint, tasks: TaskSet | str | None = None) -> Checkpoint:
    """Fixes the task set and computes its text features, unless the file holds the right ones."""
    chosen = find_tasks(tasks, checkpoint.tasks)
    if checkpoint.text_features is not None and checkpoint.tasks == chosen and checkpoint.features_fit:
        return checkpoint
    features = text_features(checkpoint.params, checkpoint.encoder, chosen, checkpoint.tokenizer)
    return dataclasses.replace(checkpoint, tasks=chosen, text_features=features)


def with_cached_features(
    checkpoint: Checkpoint, tasks: TaskSet | str | None, folder: str | os.PathLike | None
) -> Checkpoint:
    """`with_text_features`, which keeps those of a weight file in the cache `folder`, if any."""
    chosen, source = find_tasks(tasks, checkpoint.tasks), checkpoint.provenance.source_sha256
    # Of several files, or with a tokenizer of its own, a model cannot be told by one digest.
    if folder is None or not source or checkpoint.tokenizer is not None:
        return with_text_features(checkpoint, chosen)
    key = json.dumps([source, chosen.prompts, checkpoint.encoder.to_config()], sort_keys=True)
    path = Path(folder) / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    with contextlib.suppress(ModelError, KeyError):  # there is none, or it is corrupt
        features = read_safetensors(path)[0]["text_features"]
        wanted = (len(chosen.prompts), checkpoint.encoder.projection_dim)
        if features.shape == wanted and np.isfinite(features).all():
            return dataclasses.replace(checkpoint, tasks=chosen, text_features=features)
    checkpoint = with_text_features(checkpoint, chosen)
    # Whole or not at all. A home that is read-only or full costs time, and nothing else.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(part, {"text_features": np.ascontiguousarray(checkpoint.text_features)}, {})
        part.replace(path)
    return checkpoint


def with_params(checkpoint: Checkpoint, params: Params, name: str | None = None) -> Checkpoint:
    """The same model with other parameters, such as your own fine-tuning made, ready to be written and to score.

    It has text features of the new parameters. What it was trained on is not known any more, so that no evaluation
    calls itself a test; state it with `dataclasses.replace`.

    Args:
      checkpoint: of the model that the parameters began as; `open_checkpoint` reads it.
      params: pytree as `Checkpoint.params`, or flat as `Checkpoint.flat`; floating.
      name: in results; None keeps the checkpoint's.

    Raises:
      ModelError: names, shapes or types are not the checkpoint's.
      UsageError: `params` is not a dictionary.
    """
    if not isinstance(params, Mapping):
        raise UsageError(
            f"params must be a dictionary of arrays, as Checkpoint.params; got {type(params).__name__}. Give the tree "
            "that you tuned."
        )
    flat = {path: np.asarray(leaf) for path, leaf in flatten_dict(dict(params), sep="/").items()}
    if integers := [path for path, leaf in flat.items() if not jnp.issubdtype(leaf.dtype, jnp.floating)]:
        raise ModelError(f"Expected floating parameters; {integers[0]} is {flat[integers[0]].dtype}. Train in float32.")
    flat = {path: leaf.astype(np.float32, copy=False) for path, leaf in flat.items()}
    check_against_encoder(flat, checkpoint.encoder, "the new parameters")
    old = checkpoint.provenance
    provenance = dataclasses.replace(
        old, name=name or old.name, source=f"tuned from {old.source}", source_sha256="", trained_on=None
    )
    changed = dataclasses.replace(checkpoint, flat=flat, provenance=provenance, text_features=None, source_dtypes={})
    return with_text_features(changed, checkpoint.tasks)


def text_features(
    params: Params, encoder: Encoder, tasks: TaskSet, tokenizer: BaseTokenizer | None = None
) -> Float[np.ndarray, "K D"]:
    """Unit features of a task set's prompts, float32; tokenizer and errors as in `Encoder.prompts`."""
    prompts = encoder.prompts(tasks.prompts, tokenizer)
    # Float32 whatever the scorer's dtype: it happens once, and every score depends on it.
    return np.asarray(encode_prompts(encoder, params, prompts))
