"""Float32 products are of float32 on every kind of device: said in the program, since no device here would show it."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.products import einsum, matmul
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.model.head import mean_over_crops
from liqe_jax.model.predict import predict
from liqe_jax.taxonomy import JOINT

TOWER = TowerConfig(width=64, layers=2, heads=1, mlp_width=128)
DTYPES = ("float32", "bfloat16")


def clip() -> CLIP:
    return CLIP(vision=TOWER, text=TOWER, image_size=64, patch_size=32, projection_dim=32)


def shapes_of(encoder: CLIP) -> dict:
    return jax.eval_shape(encoder.init_params, jax.random.key(0))


def products(lowered: jax.stages.Lowered) -> list[str]:
    """Lines of the program that multiply matrices."""
    found = [line for line in lowered.as_text().splitlines() if "stablehlo.dot_general" in line]
    assert len(found) > 10
    return found


def careless(lines: list[str]) -> list[str]:
    """Those of float32 operands that a device may shorten."""
    of_float32 = [line for line in lines if re.search(r": \(tensor<[0-9x]*f32>, tensor<[0-9x]*f32>\)", line)]
    assert of_float32
    return [line for line in of_float32 if "precision = [HIGHEST, HIGHEST]" not in line]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scoring(dtype):
    encoder = clip()
    crops = jax.ShapeDtypeStruct((2, 3, 64, 64, 3), jnp.uint8)
    text = jax.ShapeDtypeStruct((495, 32), jnp.float32)
    mask = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    run = functools.partial(predict, encoder=encoder, tasks=JOINT, dtype=jnp.dtype(dtype))
    lines = products(jax.jit(run).lower(shapes_of(encoder), crops, text, crop_mask=mask))
    assert not careless(lines)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_both_towers(dtype):
    encoder = clip()
    prompts = encoder.prompts(JOINT.prompts[:8])

    def logits(params, crops):
        text = encoder.encode_prompts(params, prompts, jnp.dtype(dtype))
        image = encoder.image_features(params, crops, jnp.dtype(dtype))
        return mean_over_crops(encoder.logits(params, image, text)).sum()

    crops = jax.ShapeDtypeStruct((2, 3, 64, 64, 3), jnp.float32)
    lines = products(jax.jit(jax.grad(logits, (0, 1))).lower(shapes_of(encoder), crops))
    assert not careless(lines)


def test_values_and_types():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(einsum("bij,jk->bk", a, b), np.einsum("bij,jk->bk", a, b), rtol=1e-5, atol=1e-5)
    half = jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16)
    assert matmul(*half).dtype == jnp.float32
    assert matmul(half[0], b).dtype == jnp.float32
