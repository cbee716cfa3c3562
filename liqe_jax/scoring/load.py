"""From a name or a path to a `Model`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.model.clip import Params
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.prompts import encode_prompts, pack_prompts
from liqe_jax.scoring import text_cache
from liqe_jax.scoring.model import Model
from liqe_jax.tasks import TaskSet
from liqe_jax.taxonomy import JOINT, TASK_SETS
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.checkpoint import Checkpoint, check_against_config
from liqe_jax.weights.embedded import EMBEDDED, embedded_folder
from liqe_jax.weights.files import sha256_of_file
from liqe_jax.weights.hub import fetch_known, fetch_repository, is_repository_name, models_folder
from liqe_jax.weights.known import KNOWN_MODELS
from liqe_jax.weights.native import MANIFEST, write_native
from liqe_jax.weights.read import read_model


def load(
    name_or_path: str | os.PathLike = EMBEDDED,
    *,
    tasks: TaskSet | str | None = None,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | jax.Device | None = None,
    text_cache_folder: str | os.PathLike | None = None,
) -> Model:
    """Loads a model.

    Args:
      name_or_path: a folder or weight file in any format that `liqe_jax.weights` reads; a
        known name (`liqe_mix`, `liqe_koniq`); a repository on the Hugging Face hub,
        "owner/model"; or `liqe_nano`, the small model inside the package, which is the
        default. What exists as a path is never looked up on the network.
      tasks: attributes and sentences: a `TaskSet`, or the name of one of LIQE's ("joint",
        "quality_scene", "quality_distortion", "quality"). Default: the model's own, and
        "joint" where the file does not say.
      dtype: operand type of the matrix products, "float32", "bfloat16" or "int8"; sums are float32, or int32.
      devices: where to run, one or several; default `jax_default_device` where it is set, else all local ones.
      text_cache_folder: keeps the sentences' features of bare weight files, which take some seconds; the
        command gives its own. Our folders hold theirs.

    Raises:
      ModelError: not found, damaged, or no CLIP.
      UsageError: unknown tasks or dtype, or devices that are none.
    """
    checkpoint = _with_cached_features(open_checkpoint(name_or_path), tasks, text_cache_folder)
    assert checkpoint.tasks is not None
    assert checkpoint.text_features is not None
    return Model(
        checkpoint.params,
        checkpoint.text_features,
        checkpoint.config,
        checkpoint.tasks,
        checkpoint.provenance,
        dtype,
        devices,
        checkpoint.preprocess,
    )


def open_checkpoint(name_or_path: str | os.PathLike) -> Checkpoint:
    """Finds and reads a model by path, known name or repository name.

    Raises:
      ModelError: not found, damaged, or no CLIP.
    """
    name = os.fspath(name_or_path)
    if os.path.exists(name):
        return read_model(name)
    if name == EMBEDDED:
        return read_model(embedded_folder())
    if name in KNOWN_MODELS:
        return _open_known(name)
    # A relative path that does not exist looks like owner/model too; its parent gives it away.
    if is_repository_name(name) and not os.path.exists(os.path.dirname(name)):
        checkpoint = read_model(fetch_repository(name))
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
        # A damaged conversion is made again, and so is one of a file that was replaced since; another process may be
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


def find_tasks(tasks: TaskSet | str | None, default: TaskSet | None) -> TaskSet:
    """The task set that is meant.

    Raises:
      UsageError: no such name.
    """
    if isinstance(tasks, TaskSet):
        return tasks
    if tasks is None:
        return default or JOINT
    if not isinstance(tasks, str) or tasks not in TASK_SETS:
        raise UsageError(f"tasks must be one of {', '.join(TASK_SETS)}, or a TaskSet; got {tasks!r}.")
    return TASK_SETS[tasks]


def _with_cached_features(
    checkpoint: Checkpoint, tasks: TaskSet | str | None, folder: str | os.PathLike | None
) -> Checkpoint:
    chosen = find_tasks(tasks, checkpoint.tasks)
    path = None if folder is None else text_cache.entry(folder, checkpoint, chosen)
    features = None if path is None else text_cache.read(path, chosen, checkpoint)
    if features is not None:
        return dataclasses.replace(checkpoint, tasks=chosen, text_features=features)
    checkpoint = with_text_features(checkpoint, chosen)
    if path is not None and checkpoint.text_features is not None:
        text_cache.write(path, checkpoint.text_features)
    return checkpoint


def with_text_features(checkpoint: Checkpoint, tasks: TaskSet | str | None = None) -> Checkpoint:
    """Fixes the task set and computes its text features, unless the file holds the right ones."""
    chosen = find_tasks(tasks, checkpoint.tasks)
    if checkpoint.text_features is not None and checkpoint.tasks == chosen and checkpoint.features_fit:
        return checkpoint
    features = text_features(checkpoint.params, checkpoint.config, chosen, checkpoint.tokenizer)
    return dataclasses.replace(checkpoint, tasks=chosen, text_features=features)


def with_params(checkpoint: Checkpoint, params: Params, name: str | None = None) -> Checkpoint:
    """The same model with other parameters, such as your own fine-tuning made, ready to be written and to score.

    Args:
      checkpoint: of the model that the parameters began as; `open_checkpoint` reads it.
      params: pytree as `Checkpoint.params`, or flat as `Checkpoint.flat`; floating.
      name: in results; None keeps the checkpoint's.

    Returns:
      With text features of the new parameters: those of the old ones would be taken for theirs. What it was trained on
      is not known any more, so that no evaluation calls itself a test; state it with `dataclasses.replace`.

    Raises:
      ModelError: names, shapes or types are not the checkpoint's.
      UsageError: `params` is no dictionary.
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
    check_against_config(flat, checkpoint.config, "the new parameters")
    old = checkpoint.provenance
    provenance = dataclasses.replace(
        old, name=name or old.name, source=f"tuned from {old.source}", source_sha256="", trained_on=None
    )
    changed = dataclasses.replace(checkpoint, flat=flat, provenance=provenance, text_features=None, source_dtypes={})
    return with_text_features(changed, checkpoint.tasks)


def text_features(
    params: Params, config: CLIPConfig, tasks: TaskSet, tokenizer: Tokenizer | None = None
) -> Float[np.ndarray, "K D"]:
    """Unit features of a task set's prompts, float32.

    Args:
      params, config: the model.
      tasks: whose prompts to encode.
      tokenizer: that of the model; None stands for CLIP's own.

    Raises:
      ModelError: the tokenizer's ids do not fit the model's vocabulary.
      UsageError: a prompt is too long for the text tower.
    """
    token_ids = (tokenizer or Tokenizer.default())(tasks.prompts, config.context_length)
    if token_ids.max() >= config.vocab_size:
        raise ModelError(
            f"The tokenizer gives ids up to {token_ids.max()}, the model's vocabulary has {config.vocab_size}. "
            "Put the model's own vocab.json and merges.txt beside its config.json."
        )
    packed = pack_prompts(token_ids, config.eos_token_id)
    # Float32 whatever the scorer's dtype: it happens once, and every score depends on it.
    encode = jax.jit(lambda tree: encode_prompts(tree, packed, config, jnp.dtype("float32")))
    return np.asarray(encode(params))
