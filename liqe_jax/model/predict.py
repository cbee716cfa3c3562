"""The forward pass: one pure function from parameters, crops and text features to predictions.

Works under `jit`, `vmap`, `pmap` and `grad`, with respect to the parameters and the pixels (`as_loss`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from liqe_jax.encoders.base import Encoder, Params
from liqe_jax.encoders.products import AnyArray
from liqe_jax.errors import UsageError
from liqe_jax.model.head import Prediction, mean_over_crops, predict_from_logits
from liqe_jax.tasks import TaskSet


def predict(
    params: Params,
    crops: Num[AnyArray, "*batch P H H 3"],
    text_features: Float[AnyArray, "K D"],
    *,
    encoder: Encoder,
    tasks: TaskSet,
    crop_mask: Float[AnyArray, "*batch P"] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Prediction:
    """Predicts the attributes of images that are given as crops.

    Args:
      params: nested parameters of the encoder.
      crops: RGB, 0 to 255, uint8 or floating; P crops of each image.
      text_features: unit features of `tasks.prompts` under the same parameters.
      encoder, tasks: the architecture and the labels; static under `jit`.
      crop_mask: 1 for crops that count, 0 for padding; None counts all.
      dtype: operand type of the matrix products; int8 for parameters from `encoder.quantise`.

    Returns:
      A `Prediction` whose arrays are float32, with the leading axes of `crops`.

    Raises:
      UsageError: images have no crops, crops have another size than the encoder takes, parameters are rounded to int8
        and `dtype` is another, or a gradient of int8 is asked for. Outside of transformations such as `jit` also:
        crops whose values do not look like 0 to 255.

    Only reverse-mode differentiation (`jax.grad`, `jax.vjp`) is available: attention (CLIP, SigLIP) and depthwise
    convolutions (EfficientNet) define their own backward passes, which `jax.jvp` and `jax.hessian` cannot use.
    """
    size = encoder.image_size
    if crops.ndim < 4 or crops.shape[-3:] != (size, size, 3) or crops.shape[-4] == 0:
        raise UsageError(
            f"Expected crops of shape [..., P, {size}, {size}, 3] with at least one crop for each image; got "
            f"{crops.shape}. Model.crops(image) returns them for one image."
        )
    check_range(crops)
    features = encoder.image_features(params, crops, dtype)
    return predict_from_features(params, features, text_features, encoder=encoder, tasks=tasks, crop_mask=crop_mask)


def check_range(crops: Num[AnyArray, "*batch P H H 3"]) -> None:
    """UsageError where floating crops do not look like 0 to 255: fractions of at most 4, over 510, or not finite.

    Values of an optimizer may leave the range a little; traced crops have no values to check.
    """
    if isinstance(crops, jax.core.Tracer) or not jnp.issubdtype(crops.dtype, jnp.floating) or not crops.size:
        return
    largest = float(np.abs(np.asarray(crops)).max())
    fractions = largest <= 4 and bool((np.asarray(crops) % 1 != 0).any())
    if fractions or not largest <= 2 * 255:
        raise UsageError(
            f"Expected crops with values from 0 to 255; got absolute values up to {largest:.4g}. Multiply values in "
            "[0, 1] by 255, and do not normalize: the encoder does that."
        )


def predict_from_features(
    params: Params,
    image_features: Float[AnyArray, "*batch P D"],
    text_features: Float[AnyArray, "K D"],
    *,
    encoder: Encoder,
    tasks: TaskSet,
    crop_mask: Float[AnyArray, "*batch P"] | None = None,
) -> Prediction:
    """The part of `predict` after the image encoder; the training step differentiates it by itself."""
    logits = encoder.logits(params, image_features, text_features)
    return predict_from_logits(mean_over_crops(logits, crop_mask), tasks)
