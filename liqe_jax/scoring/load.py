"""From a name or a path to a `Model`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax

from liqe_jax.encoders.base import Encoder
from liqe_jax.scoring.model import Model
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.known import EMBEDDED
from liqe_jax.weights.open import open_checkpoint, with_cached_features


def load(
    name_or_path: str | os.PathLike = EMBEDDED,
    *,
    tasks: TaskSet | str | None = None,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | jax.Device | None = None,
    encoder: type[Encoder] | str | None = None,
    text_cache_folder: str | os.PathLike | None = None,
) -> Model:
    """Loads a model.

    Args:
      name_or_path: a folder or weight file in any format that `liqe_jax.weights` reads; a known name (`liqe_mix`,
        `liqe_koniq`); a repository on the Hugging Face hub, "owner/model"; or `liqe_nano`, the small model inside the
        package, which is the default. What exists as a path is never looked up on the network.
      tasks: attributes and sentences: a `TaskSet`, or the name of one of LIQE's ("joint", "quality_scene",
        "quality_distortion", "quality"). Default: the model's own, and "joint" where the file does not say.
      dtype: operand type of the matrix products, "float32", "bfloat16" or "int8"; sums are float32, or int32.
      devices: where to run, one or several; default `jax_default_device` where it is set, else all local ones.
      encoder: class of an encoder that is not part of this package, or its import path, "module:Class".
      text_cache_folder: keeps the sentences' features of bare weight files, which take some seconds; the
        command gives its own. Our folders hold theirs.

    Raises:
      ModelError: not found, corrupt, or its encoder is unknown.
      UsageError: unknown tasks or dtype, or devices that are none.
    """
    checkpoint = with_cached_features(open_checkpoint(name_or_path, encoder), tasks, text_cache_folder)
    assert checkpoint.tasks is not None
    assert checkpoint.text_features is not None
    return Model(
        checkpoint.params,
        checkpoint.text_features,
        checkpoint.encoder,
        checkpoint.tasks,
        checkpoint.provenance,
        dtype,
        devices,
        checkpoint.preprocess,
    )
