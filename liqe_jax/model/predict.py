"""The whole model as one pure function of parameters, patches and text features.

Works under `jit`, `vmap`, `pmap` and `grad`, with respect to the parameters and the pixels:
`lambda patches: 5 - predict(params, patches, text, ...).values["quality"]` is LIQE as a loss.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from liqe_jax.errors import UsageError
from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.clip import Params, encode_image
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.head import Prediction, mean_over_patches, patch_logits, predict_from_logits
from liqe_jax.tasks import TaskSet


def predict(
    params: Params,
    patches: Num[AnyArray, "*batch P H H 3"],
    text_features: Float[AnyArray, "K D"],
    *,
    config: CLIPConfig,
    tasks: TaskSet,
    patch_mask: Float[AnyArray, "*batch P"] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Prediction:
    """Judges images given as patches.

    Args:
      params: parameters of `liqe_jax.model.clip.CLIP`.
      patches: RGB, 0..255, uint8 or floating; P patches of each image.
      text_features: unit features of `tasks.prompts` under the same parameters.
      config, tasks: shapes and labels; static under `jit`.
      patch_mask: 1 for patches that count, 0 for padding; None counts all.
      dtype: operand type of the matrix products; int8 for parameters from `int8.quantise`.

    Returns:
      A `Prediction` whose arrays are float32, with the leading axes of `patches`.

    Raises:
      UsageError: images have no patches, parameters are rounded to int8 and `dtype` is another, or a gradient of int8
        is asked for.

    Forward-mode differentiation (`jax.jvp`, `jax.hessian`) is not available, since attention has a backward pass of its
    own; `jax.grad` and `jax.vjp` are.
    """
    if patches.ndim > 3 and patches.shape[-4] == 0:
        raise UsageError(f"Every image needs at least one patch; got patches of shape {patches.shape}.")
    features = encode_image(params, patches, config, dtype)
    logits = patch_logits(features, text_features, params["logit_scale"])
    return predict_from_logits(mean_over_patches(logits, patch_mask), tasks)


def predict_patches(
    params: Params,
    patches: Num[AnyArray, "*batch H H 3"],
    text_features: Float[AnyArray, "K D"],
    *,
    config: CLIPConfig,
    tasks: TaskSet,
    dtype: DTypeLike = jnp.float32,
) -> Prediction:
    """Judges every patch by itself: the quality map of an image."""
    features = encode_image(params, patches, config, dtype)
    return predict_from_logits(patch_logits(features, text_features, params["logit_scale"]), tasks)
