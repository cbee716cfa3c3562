"""Eight-bit products: rounding, bytes as they are, scores beside float32's, corrupt and unprepared weights."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import liqe_jax
from liqe_jax import ModelError, UsageError
from liqe_jax.encoders.base import random_params
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD, normalise_pixels
from liqe_jax.encoders.embeddings import PatchEmbedding
from liqe_jax.encoders.int8 import NARROW, BytePatchEmbedding, byte_kernel, int8_dot, quantise
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.model.predict import predict
from liqe_jax.scoring.model import Model
from liqe_jax.taxonomy import JOINT
from liqe_jax.weights.layouts import from_flax
from liqe_jax.weights.provenance import Provenance

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.jpg"))
SMALL = CLIP(
    TowerConfig(width=NARROW, layers=2, heads=2, mlp_width=2 * NARROW),
    TowerConfig(width=32, layers=1, heads=2, mlp_width=64),
    image_size=32,
    patch_size=8,
    projection_dim=16,
)


@functools.partial(jax.jit, static_argnums=(2, 3))
def encode(params, pixels, encoder, dtype="float32"):
    return encoder.image_features(params, pixels, jnp.dtype(dtype))


@pytest.fixture(scope="module")
def params():
    return random_params(SMALL, jax.random.key(0))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


def rounded(kernel):
    layer = quantise({"layer": {"kernel": kernel}})["layer"]
    return layer["kernel"], layer["kernel_scale"]


def test_the_product_is_that_of_the_rounded_numbers():
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=size).astype(np.float32) for size in ((7, NARROW), (NARROW, NARROW)))
    steps, scale = rounded(kernel)
    assert steps.dtype == np.int8
    assert (np.abs(steps).max(0) == 127).all()  # every column fills its range
    np.testing.assert_allclose(steps * scale, kernel, atol=scale.max() / 2 * 1.001)
    x_scale = np.abs(x).max(1, keepdims=True) / 127
    expected = (np.round(x / x_scale) @ steps.astype(np.float64)) * x_scale * scale
    np.testing.assert_allclose(int8_dot(x, steps, scale), expected, rtol=1e-5, atol=1e-5)
    error = np.abs(np.asarray(int8_dot(x, steps, scale)) - x @ kernel)[:, :9].max()
    assert 1e-4 < error < 0.2 * (NARROW / 40) ** 0.5  # it does round, and not much: 0.2 for sums of 40 such products


def test_a_row_does_not_depend_on_the_others():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 4, NARROW)).astype(np.float32) * 10.0 ** rng.integers(-3, 4, (3, 4, 1))
    kernel = rounded(rng.normal(size=(NARROW, NARROW)).astype(np.float32))
    together = np.asarray(int8_dot(x, *kernel))
    alone = np.stack([[int8_dot(row[None], *kernel)[0] for row in image] for image in x])
    # A number rounded the other way would show as 1e-3 and more; the last digit is the order of two factors.
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_zeros_and_numbers_that_are_none():
    kernel = np.eye(NARROW, dtype=np.float32)
    kernel[:, 2] = 0
    x = np.zeros((3, NARROW), np.float32)
    x[1:, :4] = [[1, 2, 3, 4], [1, np.nan, 1, 1]]
    y = np.asarray(jax.jit(int8_dot)(x, *rounded(kernel)))
    np.testing.assert_array_equal(y[0], 0)
    np.testing.assert_allclose(y[1, :4], [1, 2, 0, 4], atol=0.02)
    assert np.isnan(y[2]).all()


def test_nan_anywhere_in_a_row_is_kept():
    """In rows as long and as many as a network's: XLA's compiler finds the maximum of few numbers another way."""
    width = 3 * NARROW
    x = np.tile(np.arange(width, dtype=np.float32), (width, 1))
    np.fill_diagonal(x, np.nan)
    y = np.asarray(jax.jit(int8_dot)(x, *rounded(np.eye(width, NARROW, dtype=np.float32))))
    assert np.isnan(y).all()


def test_bytes_go_into_the_first_product_as_they_are(pixels):
    """With a kernel that int8 holds exactly, so is the result, black and white included."""
    rng = np.random.default_rng(2)
    steps = rng.integers(-127, 128, (8, 8, 3, 6))
    steps[0, 0, 0] = 127
    kernel = (steps * 255 * np.asarray(PIXEL_STD)[:, None] * 1e-5).astype(np.float32)
    pixels = pixels.copy()
    pixels[0, :8], pixels[0, 8:16] = 0, 255
    embedded = PatchEmbedding(6, 8, jnp.float32).apply({"params": {"kernel": kernel}}, normalise_pixels(pixels))
    tree = byte_kernel(kernel, PIXEL_MEAN, PIXEL_STD)
    from_bytes = BytePatchEmbedding(6, 8).apply({"params": tree}, pixels)
    np.testing.assert_allclose(from_bytes, embedded, atol=2e-5 * float(jnp.abs(embedded).max()))
    fractions = pixels.astype(np.float32) + np.float32(0.4)
    np.testing.assert_array_equal(BytePatchEmbedding(6, 8).apply({"params": tree}, fractions.clip(0, 255)), from_bytes)


def test_features_are_close_and_kernels_small(pixels):
    encoder = SMALL
    params = random_params(encoder, jax.random.key(1))
    small = encoder.quantise(params)
    exact = encode(params, pixels, encoder)
    found = encode(small, pixels, encoder, "int8")
    assert found.dtype == jnp.float32
    cosine = np.asarray((exact * found).sum(-1))
    assert (cosine > 0.999).all()
    assert (cosine < 1 - 1e-9).all()  # something was rounded
    kernels = {"/".join(name): leaf for name, leaf in flatten_dict(small).items() if name[-1] == "kernel"}
    floating = {name for name, leaf in kernels.items() if leaf.dtype != np.int8}
    narrow = {name for name in kernels if name.startswith(("text", "visual_projection"))}
    assert floating == narrow


def test_parameters_must_be_prepared(params, pixels):
    with pytest.raises(UsageError, match=r"encoder\.quantise"):
        SMALL.image_features(params, pixels, jnp.int8)


@pytest.fixture(scope="module")
def wide(params):
    """Makes models whose products are wide enough to be rounded."""
    text = np.random.default_rng(3).normal(size=(len(JOINT.prompts), SMALL.projection_dim)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    origin = Provenance("wide", "random")
    return functools.partial(Model, jax.tree.map(np.asarray, params), text, SMALL, JOINT, origin)


def test_scores_stay_within_a_fiftieth(wide):
    exact, found = (list(wide(dtype=dtype).score_many(SAMPLES)) for dtype in ("float32", "int8"))
    assert len(exact) >= 4
    for score, other in zip(exact, found, strict=True):
        assert other.quality == pytest.approx(score.quality, abs=0.02)
        for label, probability in {**score.scene_probs, **score.distortion_probs}.items():
            assert {**other.scene_probs, **other.distortion_probs}[label] == pytest.approx(probability, abs=0.02), label
    assert any(score.quality != other.quality for score, other in zip(exact, found, strict=True))


def test_an_encoder_without_int8_says_so():
    with pytest.raises(UsageError, match="efficientnet_lite has no int8 form"):
        liqe_jax.load("liqe_nano", dtype="int8")


def test_batch_place_and_devices_change_nothing(wide):
    model, one = wide(dtype="int8"), wide(dtype="int8", devices=jax.devices()[:1])
    alone = [model.score(path).quality for path in SAMPLES[:3]]
    assert len({round(quality, 3) for quality in alone}) == 3
    turned = list(one.score_many(SAMPLES[2::-1], batch_size=3))
    np.testing.assert_allclose([score.quality for score in turned][::-1], alone, atol=1e-5)


def test_maps_and_crops_work(wide):
    maps = [wide(dtype=dtype).quality_map(SAMPLES[0]).quality for dtype in ("float32", "int8")]
    np.testing.assert_allclose(maps[0], maps[1], atol=0.05)


def test_corrupt_weights_are_no_score(params):
    flat = flatten_dict(jax.tree.map(np.asarray, params), sep="/")
    name = "vision_model/encoder/layers/0/mlp/fc1/kernel"
    flat[name] = np.full_like(flat[name], np.nan)
    text = np.eye(len(JOINT.prompts), SMALL.projection_dim, dtype=np.float32)
    model = Model(
        unflatten_dict(flat, sep="/"), text, SMALL, JOINT, liqe_jax.load("liqe_nano").provenance, dtype="int8"
    )
    with pytest.raises(ModelError, match="NaN"):
        model.score(SAMPLES[0])


def test_the_command_takes_it(model_folder):
    command = [sys.executable, "-m", "liqe_jax.cli.main", "score", str(SAMPLES[0]), "--dtype", "int8"]
    done = subprocess.run(
        [*command, "--format", "jsonl", "--model", str(model_folder)], capture_output=True, text=True, check=True
    )
    row = json.loads(done.stdout)
    assert row["quality"] == pytest.approx(liqe_jax.load(model_folder).score(SAMPLES[0]).quality, abs=0.02)
    assert "int8" in done.stderr


def test_rounded_parameters_are_not_taken_for_others(wide, pixels):
    """Without their scales they would give other scores, and other weights when written."""
    model = wide(dtype="int8")
    crops = pixels[:, None]
    expected = predict(model.params, crops, model.text_features, encoder=SMALL, tasks=JOINT, dtype=jnp.int8)
    assert np.isfinite(np.asarray(expected.values["quality"])).all()
    with pytest.raises(UsageError, match="rounded to int8, and the product is to be floating"):
        predict(model.params, crops, model.text_features, encoder=SMALL, tasks=JOINT)
    with pytest.raises(ModelError, match="rounded to integers cannot be written"):
        from_flax(flatten_dict(jax.tree.map(np.asarray, model.params), sep="/"), CLIP, "hugging_face")


def test_there_is_no_gradient(wide, pixels):
    model = wide(dtype="int8")

    def loss(crops):
        out = predict(model.params, crops, model.text_features, encoder=SMALL, tasks=JOINT, dtype=jnp.int8)
        return out.values["quality"].mean()

    with pytest.raises(UsageError, match="no gradient: rounding is flat"):
        jax.grad(loss)(pixels[:, None].astype(np.float32))
