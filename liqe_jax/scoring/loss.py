"""A model as a loss for image restoration: lower where the predicted quality is higher."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from liqe_jax.errors import UsageError
from liqe_jax.model.predict import check_range, predict
from liqe_jax.scoring.model import Model


def as_loss(model: Model) -> Callable[[Float[Array, "*batch P S S 3"]], Float[Array, ""]]:
    """A compiled function of crops that `jax.grad` differentiates.

    Example::

        loss = liqe_jax.as_loss(model)
        crops = model.crops("photo.jpg")[None].astype("float32")
        gradient = jax.grad(loss)(crops)

    Args:
      model: a model whose attribute "quality" has values, and whose dtype is not int8.

    Returns:
      A function that takes crops `[..., P, S, S, 3]` with values 0 to 255, where S is `model.encoder.image_size`, and
      returns the mean over images of the highest quality minus the expected quality: 0 to 4 for LIQE's levels 1 to 5.

    Raises:
      UsageError: the model has no such attribute or is rounded to int8. The function raises it for crops of another
        shape, and, outside of transformations such as `jax.grad`, for values that do not look like 0 to 255.
    """
    quality = next((a for a in model.tasks.attributes if a.name == "quality" and a.values is not None), None)
    if quality is None or model.dtype == "int8":
        found = "its attributes have none" if quality is None else "its dtype is int8"
        raise UsageError(f"A loss needs a quality with values and a gradient; of {model.name}, {found}.")
    assert quality.values is not None
    highest = max(quality.values)

    @jax.jit
    def compiled(params, text_features, crops):
        prediction = predict(
            params, crops, text_features, encoder=model.encoder, tasks=model.tasks, dtype=jnp.dtype(model.dtype)
        )
        return (highest - prediction.values["quality"]).mean()

    def loss(crops: Float[Array, "*batch P S S 3"]) -> Float[Array, ""]:
        check_range(crops)
        return compiled(model.params, model.text_features, crops)

    return loss
