"""The network and its head: properties, gradients, devices, precision."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from liqe_jax import UsageError
from liqe_jax.encoders.base import random_params
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.clip_prompts import pack_prompts
from liqe_jax.encoders.clip_towers import normalise_pixels
from liqe_jax.encoders.layers import dot
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.model.head import mean_over_crops, predict_from_logits
from liqe_jax.model.predict import predict
from liqe_jax.tasks import Attribute, TaskSet
from liqe_jax.taxonomy import JOINT, TASK_SETS
from liqe_jax.text.tokenizer import Tokenizer

from .conftest import photograph
from .tiny import FEW_PIXELS, TINY, plain_text_features

THREE = TaskSet(
    "three",
    (Attribute("quality", ("a", "b", "c"), (1, 2, 3)), Attribute("kind", ("x", "y"))),
    "{quality} {kind}",
)


@pytest.fixture(scope="module")
def small():
    params = random_params(FEW_PIXELS, jax.random.key(1))
    text = jax.random.normal(jax.random.key(2), (6, 8))
    text /= jnp.linalg.norm(text, axis=-1, keepdims=True)
    return params, text, jax.jit(functools.partial(predict, encoder=FEW_PIXELS, tasks=THREE), static_argnames="dtype")


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32, 3)).astype(np.float32)


def test_the_joint_sums_to_one_and_the_marginals_agree():
    logits = jax.random.normal(jax.random.key(0), (7, 495)) * 5
    out = predict_from_logits(logits, JOINT)
    assert out.joint.shape == (7, 5, 9, 11)
    np.testing.assert_allclose(out.joint.sum((1, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_allclose(out.marginals["quality"], out.joint.sum((2, 3)), rtol=1e-6)
    np.testing.assert_allclose(out.marginals["scene"], out.joint.sum((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(out.marginals["distortion"], out.joint.sum((1, 2)), rtol=1e-6)
    expected = (np.asarray(out.marginals["quality"]) * [1, 2, 3, 4, 5]).sum(-1)
    np.testing.assert_allclose(out.values["quality"], expected, rtol=1e-6)


def test_prompts_and_axes_are_in_the_same_order():
    # All mass on one prompt has to come out at that prompt's labels.
    for name, tasks in TASK_SETS.items():
        for k in (0, 1, len(tasks.prompts) // 2, len(tasks.prompts) - 1):
            logits = jnp.zeros(len(tasks.prompts)).at[k].set(1000.0)
            marginals = predict_from_logits(logits, tasks).marginals
            labels = {a.name: a.labels[int(marginals[a.name].argmax())] for a in tasks.attributes}
            assert tasks.template.format(**labels) == tasks.prompts[k], name


def test_logits_are_averaged_before_the_softmax(small, crops):
    params, text, model = small
    whole = model(params, crops, text)
    single = model(params, crops.reshape(12, 1, 32, 32, 3), text)  # every crop an image of its own
    np.testing.assert_allclose(whole.logits, single.logits.reshape(4, 3, -1).mean(1), atol=1e-5)
    wrong = single.joint.reshape(4, 3, 3, 2).mean(1)
    assert np.abs(whole.joint - wrong).max() > 1e-4  # or the order would not matter


def test_masked_crops_do_not_count(small, crops):
    params, text, model = small
    mask = jnp.asarray([[1.0, 1, 0]] * 4)
    garbage = crops.copy()
    garbage[:, 2] = 255
    np.testing.assert_array_equal(
        model(params, garbage, text, crop_mask=mask).joint, model(params, crops, text, crop_mask=mask).joint
    )
    np.testing.assert_allclose(
        model(params, crops, text, crop_mask=mask).logits, model(params, crops[:, :2], text).logits, atol=1e-5
    )
    np.testing.assert_allclose(mean_over_crops(jnp.ones((2, 3, 5)), jnp.ones((2, 3))), 1)


def test_bytes_and_floats_give_the_same(small, crops):
    params, text, model = small
    as_bytes = model(params, crops.astype(np.uint8), text)
    np.testing.assert_array_equal(as_bytes.joint, model(params, crops, text).joint)


def test_normalisation_is_torchvision_s():
    torch = pytest.importorskip("torch")
    levels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    expected = ((torch.from_numpy(levels).float() / 255) - mean) / std
    np.testing.assert_allclose(normalise_pixels(jnp.asarray(levels)), expected.numpy(), rtol=2e-6, atol=2e-7)


def test_jit_vmap_and_pmap_give_the_same(small, crops):
    params, text, model = small
    plain = model(params, crops, text).logits
    eager = predict(params, crops, text, encoder=FEW_PIXELS, tasks=THREE).logits
    np.testing.assert_allclose(eager, plain, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(model, (None, 0, None))(params, crops, text).logits, plain, atol=1e-5)
    spread = jax.pmap(model, in_axes=(None, 0, None))(params, crops[:, None], text)
    np.testing.assert_allclose(spread.logits[:, 0], plain, atol=1e-5)


def test_gradient_with_respect_to_the_pixels(small, crops):
    params, text, model = small
    image = crops[:1]
    loss = jax.jit(lambda pixels: 3 - model(params, pixels, text).values["quality"][0])
    gradient = jax.grad(loss)(image)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    for seed in range(4):
        # Central differences along random directions; float32 leaves about three digits.
        direction = np.random.default_rng(seed).standard_normal(image.shape).astype(np.float32)
        step = 0.25
        numeric = (loss(image + step * direction) - loss(image - step * direction)) / (2 * step)
        assert float(numeric) == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-6)


def test_following_the_gradient_raises_quality(small, crops):
    params, text, model = small
    loss = lambda pixels: 3 - model(params, pixels, text).values["quality"].mean()  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(crops)
    better = np.clip(crops - 4 * np.sign(gradient), 0, 255)
    assert loss(better) < loss(crops)


@pytest.mark.parametrize(
    ("name", "row_length"),
    [
        ("joint", 1),
        ("joint", 64),
        ("joint", 10_000),
        ("quality_scene", 256),
        ("quality_distortion", 12),
        ("quality", 20),
    ],
)
def test_shared_prefixes_give_the_same_features(checkpoint, name, row_length):
    token_ids = Tokenizer.default()(TASK_SETS[name].prompts[::11])
    packed = pack_prompts(token_ids, TINY.eos_token_id, row_length)
    shared = jax.jit(lambda p: TINY.encode_prompts(p, packed))(checkpoint.params)
    plain = jax.jit(lambda p: plain_text_features(p, token_ids, TINY))(checkpoint.params)
    np.testing.assert_allclose(shared, plain, atol=1e-6)


def test_shared_prefixes_give_the_same_gradients(checkpoint):
    token_ids = Tokenizer.default()(TASK_SETS["joint"].prompts[::23])
    packed = pack_prompts(token_ids, TINY.eos_token_id)
    weights = jax.random.normal(jax.random.key(0), (len(token_ids), TINY.projection_dim))
    text_only = {name: leaf for name, leaf in checkpoint.params.items() if "vis" not in name}
    shared = jax.jit(jax.grad(lambda p: (TINY.encode_prompts(p, packed) * weights).sum()))(text_only)
    plain = jax.jit(jax.grad(lambda p: (plain_text_features(p, token_ids, TINY) * weights).sum()))(text_only)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    for name, leaf in flatten_dict(plain, sep="/").items():
        # A key bias shifts all scores of a query alike, so its gradient is rounding noise.
        scale = largest if name.endswith("k_proj/bias") else float(jnp.abs(leaf).max())
        np.testing.assert_allclose(flatten_dict(shared, sep="/")[name], leaf, atol=1e-5 * scale, err_msg=name)


def test_packing_repeated_and_nested_prompts():
    # One prompt is a prefix of another up to its end, one occurs twice.
    token_ids = np.array([[1, 5, 6, 59, 0], [1, 5, 59, 3, 3], [1, 5, 6, 59, 9], [1, 59, 0, 0, 0]])
    packed = pack_prompts(token_ids, 59)
    assert packed.rows.token_ids.shape == (1, 6)  # 1, 5, 6, and three ends
    params = random_params(FEW_PIXELS, jax.random.key(0))
    features = jax.jit(lambda p: FEW_PIXELS.encode_prompts(p, packed))(params)
    np.testing.assert_allclose(features, plain_text_features(params, token_ids, FEW_PIXELS), atol=1e-6)
    np.testing.assert_array_equal(features[0], features[2])


def test_lique_s_prompts_pack_into_little_more_than_their_prefixes():
    packed = pack_prompts(Tokenizer.default()(JOINT.prompts), 49407)
    assert packed.rows.token_ids.size == 9 * 251
    assert packed.order.shape == (495,)


def test_a_prompt_without_an_end_is_refused():
    with pytest.raises(UsageError, match="no end-of-text token"):
        pack_prompts(np.array([[1, 2, 3]]), 59)


def test_bfloat16_is_close_and_sums_in_float32(small, crops):
    params, text, model = small
    exact, rounded = model(params, crops, text), model(params, crops, text, dtype=jnp.bfloat16)
    assert rounded.joint.dtype == jnp.float32
    np.testing.assert_allclose(rounded.values["quality"], exact.values["quality"], atol=0.02)
    # 1 + 4096 terms of 2^-9: a bfloat16 sum would stop at 1, or miss most of it.
    x, kernel = jnp.ones((1, 4097)), jnp.full((4097, 1), 2.0**-9).at[0].set(1)
    assert float(dot(x, kernel, jnp.bfloat16)[0, 0]) == 9.0


def test_bfloat16_gradients_follow_float32_ones():
    x = jax.random.normal(jax.random.key(0), (5, 3, 16))
    kernel = jax.random.normal(jax.random.key(1), (16, 8))
    target = jax.random.normal(jax.random.key(2), (5, 3, 8))
    gradients = {
        dtype: jax.grad(lambda x, k, d=dtype: (dot(x, k, jnp.dtype(d)) * target).sum(), (0, 1))(x, kernel)
        for dtype in ("float32", "bfloat16")
    }
    for exact, rounded in zip(gradients["float32"], gradients["bfloat16"], strict=True):
        assert rounded.dtype == jnp.float32
        np.testing.assert_allclose(rounded, exact, atol=0.02 * float(jnp.abs(exact).max()))


def test_leading_axes_are_kept(small, crops):
    params, _, _ = small
    flat = FEW_PIXELS.image_features(params, crops.reshape(-1, 32, 32, 3))
    np.testing.assert_allclose(FEW_PIXELS.image_features(params, crops).reshape(12, -1), flat, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(flat, axis=-1), 1, rtol=1e-5)


def test_an_architecture_is_traced_once(monkeypatch):
    traced = []
    init_params = CLIP.init_params
    monkeypatch.setattr(CLIP, "init_params", lambda self, key: traced.append(self) or init_params(self, key))
    encoder = dataclasses.replace(TINY, projection_dim=TINY.projection_dim + 1)  # no other test has it
    other = dataclasses.replace(TINY, projection_dim=TINY.projection_dim + 2)
    first, again, different = (one.param_shapes(arrays=1000) for one in (encoder, encoder, other))
    assert first == again
    assert first["visual_projection/kernel"][-1] + 1 == different["visual_projection/kernel"][-1]
    assert len(traced) == 2


def test_parameter_counts_of_the_published_models():
    # From the checkpoints' own pages: 151.28, 149.62 and 427.62 million.
    counts = {
        "B/32": (CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048)), 151_277_313),
        "B/16": (
            CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048), patch_size=16),
            149_620_737,
        ),
        "L/14": (
            CLIP(TowerConfig(1024, 24, 16, 4096), TowerConfig(768, 12, 12, 3072), patch_size=14, projection_dim=768),
            427_616_513,
        ),
    }
    for name, (encoder, expected) in counts.items():
        shapes = encoder.param_shapes(arrays=1000)
        assert sum(math.prod(shape) for shape in shapes.values()) == expected, name


def test_only_the_class_token_of_the_last_block_is_computed():
    # The claim behind leaving out a fourteenth of the arithmetic of a ViT-B/32.
    encoder = CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048))
    picture = jnp.asarray(photograph(224, 224))[None]
    params = jax.eval_shape(encoder.init_params, jax.random.key(0))
    program = jax.jit(lambda p: encoder.image_features(p, picture)).lower(params)
    flops = program.cost_analysis()["flops"]
    tokens, width = 50, 768
    block = tokens * (4 * 2 * width**2 + 2 * 2 * width * 4 * width) + 2 * 2 * tokens**2 * width
    every_token = 12 * block + 49 * 2 * 3072 * width
    assert flops < 0.95 * every_token
