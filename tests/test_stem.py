"""The stem of frequencies: what it computes, and a model that has it from file to score."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy.fft import dctn

from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.stem import dct_matrix, frequency_features, stem_features, stem_scales
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.errors import ModelError
from liqe_jax.scoring.load import load
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_text_features
from liqe_jax.weights.provenance import Provenance
from liqe_jax.weights.write import write_model

from .conftest import photograph
from .tiny import TINY

SMALL = dataclasses.replace(TINY, image_size=64, patch_size=32, stem="frequencies")
PER_SCALE = 64 * 3

stem = jax.jit(frequency_features, static_argnums=1)


def test_the_matrix_is_the_dct():
    block = np.random.default_rng(0).normal(size=(8, 8))
    np.testing.assert_allclose(dct_matrix() @ block @ dct_matrix().T, dctn(block, norm="ortho"), atol=1e-6)


def test_features_of_a_known_image():
    """One square of 16 pixels, computed with scipy block by block."""
    pixels = photograph(16, 16)
    got = np.asarray(stem(pixels[None], 16))[0, 0]
    assert got.shape == (stem_features(16),)
    assert stem_scales(16) == 2
    rgb = pixels / 255
    y = rgb @ [0.299, 0.587, 0.114]
    logs = [np.log1p(np.abs(dctn(y[i : i + 8, j : j + 8], norm="ortho")) * 255) for i in (0, 8) for j in (0, 8)]
    np.testing.assert_allclose(got[:64], np.mean(logs, 0).ravel() - 1.5, atol=1e-4)
    np.testing.assert_allclose(
        got[PER_SCALE : PER_SCALE + 64], (2 * np.sqrt(np.var(logs, 0) + 1e-4) - 1).ravel(), atol=1e-3
    )
    half = y.reshape(8, 2, 8, 2).mean((1, 3))
    signed = dctn(half, norm="ortho")
    np.testing.assert_allclose(
        got[3 * PER_SCALE : 3 * PER_SCALE + 64],
        (np.sign(signed) * np.log1p(np.abs(signed) * 255) / 2).ravel(),
        atol=1e-4,
    )


def test_black_white_and_repeated_values_are_counted():
    black, white = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 255, np.uint8)
    noise = np.random.default_rng(0).integers(5, 250, (1, 32, 32, 3)).astype(np.uint8)
    counts = [np.asarray(stem(image, 32))[0, 0, -12:] for image in (black, white, noise)]
    np.testing.assert_allclose(counts[0], np.repeat([1, -0.98, 1, 1], 3), atol=1e-3)
    np.testing.assert_allclose(counts[1], np.repeat([-0.98, 1, 1, 1], 3), atol=1e-3)
    assert (counts[2] < -0.6).all()


def test_squares_do_not_mix():
    image = photograph(64, 64)
    other = image.copy()
    other[:31, :31] = 7  # not its last row and column, which the neighbours' differences do not read either
    before, after = (np.asarray(stem(i[None], 32))[0] for i in (image, other))
    np.testing.assert_array_equal(before[1:], after[1:])
    assert not np.array_equal(before[0], after[0])


def test_gradients_reach_the_pixels():
    patch = jnp.asarray(photograph(64, 64)[None], jnp.float32)
    params = jax.jit(SMALL.init_params)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda p: SMALL.image_features(params, p)[0, 0]))(patch)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_a_model_with_it_is_stored_read_and_scores(tmp_path):
    params = jax.jit(SMALL.init_params)(jax.random.key(1))
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    kernel = flat["vision_model/embeddings/patch_embedding/kernel"]
    assert kernel.shape == (1, 1, stem_features(32), SMALL.vision.width)
    checkpoint = with_text_features(Checkpoint(flat, SMALL, Provenance("small", "made by the tests")), "quality")
    write_native(tmp_path / "model", checkpoint)
    model = load(tmp_path / "model", devices=jax.devices()[:1])
    assert model.encoder == SMALL
    np.testing.assert_array_equal(model.params["vision_model"]["embeddings"]["patch_embedding"]["kernel"], kernel)
    assert 1 <= model.score(photograph(100, 90)).quality <= 5
    for form in ("openai-pt", "hf-safetensors"):
        with pytest.raises(ModelError, match="Choose liqe"):
            write_model(tmp_path / "other", checkpoint, form)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"stem": "wavelets"}, "stem must be one of"), ({"patch_size": 28, "image_size": 224}, "takes patch_size 8, 16")],
)
def test_configurations_without_sense(change, message):
    tower = TowerConfig(width=64, layers=1, heads=1, mlp_width=64)
    with pytest.raises(ModelError, match=message):
        CLIP(vision=tower, text=tower, **{"stem": "frequencies", **change})
