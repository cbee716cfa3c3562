"""`as_loss`, and what it and `predict` refuse."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import liqe_jax
from liqe_jax.errors import UsageError

from .conftest import SAMPLES

ROOT = Path(__file__).parent.parent


def test_a_loss_is_a_scalar_with_a_gradient(model):
    crops = model.crops(SAMPLES / "cat.jpg")[:2][None].astype("float32")
    loss = liqe_jax.as_loss(model)
    out = liqe_jax.predict(model.params, crops, model.text_features, encoder=model.encoder, tasks=model.tasks)
    assert float(loss(crops)) == pytest.approx(5 - float(out.values["quality"][0]), abs=1e-5)
    gradient = jax.grad(loss)(crops)
    assert gradient.shape == crops.shape
    assert float(jnp.abs(gradient).max()) > 0


@pytest.mark.parametrize("scale", [1 / 255, 4.0, float("nan")])
def test_values_of_another_scale_are_refused(model, scale):
    crops = model.crops(SAMPLES / "cat.jpg")[:1].astype("float32") * scale
    with pytest.raises(UsageError, match="values from 0 to 255"):
        liqe_jax.predict(model.params, crops, model.text_features, encoder=model.encoder, tasks=model.tasks)
    with pytest.raises(UsageError, match="values from 0 to 255"):
        liqe_jax.as_loss(model)(crops)


def test_crops_of_another_size_are_refused(model):
    crops = np.zeros((1, 1, model.encoder.image_size + 32, model.encoder.image_size + 32, 3), np.float32)
    with pytest.raises(UsageError, match="Expected crops of shape"):
        liqe_jax.as_loss(model)(crops)


def test_a_loss_needs_a_quality_with_values(model):
    plain = liqe_jax.TaskSet("scene", (model.tasks.attributes[1],), "a photo of a {scene}")
    other = liqe_jax.Model(model.params, model.text_features[:9], model.encoder, plain, model.provenance)
    with pytest.raises(UsageError, match="A loss needs a quality with values"):
        liqe_jax.as_loss(other)
