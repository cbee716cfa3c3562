"""SigLIP and SigLIP 2 against transformers: features, logits, weights, configuration and prompts."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from liqe_jax.encoders.siglip import SigLIP, SigLIP2
from liqe_jax.errors import ModelError
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.siglip import SigLIPTokenizer
from liqe_jax.weights.layouts import Flat, from_flax, to_flax

from .tiny_siglip import (
    SIGLIP2_SMALL,
    SIGLIP_DEEP,
    SIGLIP_SMALL,
    gemma_tokenizer,
    nested,
    siglip_tower,
    siglip_weights,
)

PROMPTS = JOINT.prompts
ENCODERS = {"small": SIGLIP_SMALL, "small2": SIGLIP2_SMALL, "deep": SIGLIP_DEEP}


def crops_for(encoder: SigLIP, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, encoder.image_size, encoder.image_size, 3), np.uint8)


def tokens_for(encoder: SigLIP, count: int = 5) -> np.ndarray:
    return np.random.default_rng(2).integers(0, encoder.vocab_size, (count, encoder.context_length), np.int32)


def theirs(encoder: SigLIP, flat: Flat):
    """Transformers' model with these weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    name = encoder.to_config()["architectures"][0]
    config = getattr(transformers, name.replace("Model", "Config")).from_dict(encoder.to_config())
    model = getattr(transformers, name)(config).eval()
    state = from_flax(flat, type(encoder), "hugging_face")
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return model


def inputs(encoder: SigLIP, crops: np.ndarray) -> dict:
    """Crops as transformers' processor hands them over: planes, or for Siglip2Model a list of patches."""
    import torch

    pixels = (torch.from_numpy(crops).float() / 255 - 0.5) / 0.5
    if encoder.name == "siglip":
        return {"pixel_values": pixels.permute(0, 3, 1, 2)}
    size, side, count = encoder.patch_size, encoder.image_size // encoder.patch_size, len(crops)
    patches = pixels.reshape(count, side, size, side, size, 3).permute(0, 1, 3, 2, 4, 5)
    return {
        "pixel_values": patches.reshape(count, side * side, size * size * 3),
        "pixel_attention_mask": torch.ones(count, side * side, dtype=torch.int32),
        "spatial_shapes": torch.tensor([[side, side]] * count),
    }


# Features, logits, gradients


@pytest.mark.parametrize("name", ENCODERS)
def test_transformers_has_the_same_features_and_logits(name: str) -> None:
    torch = pytest.importorskip("torch")
    encoder = ENCODERS[name]
    flat = siglip_weights(encoder)
    params, crops, token_ids = nested(flat), crops_for(encoder), tokens_for(encoder)
    with torch.no_grad():
        want = theirs(encoder, flat)(input_ids=torch.from_numpy(token_ids).long(), **inputs(encoder, crops))
    image = jax.jit(encoder.image_features)(params, crops)
    text = jax.jit(encoder.text_features)(params, token_ids)[:, 0]
    np.testing.assert_allclose(image, want.image_embeds.numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(text, want.text_embeds.numpy(), atol=1e-5, rtol=0)
    logits = encoder.logits(params, image, text)
    np.testing.assert_allclose(logits, want.logits_per_image.numpy(), atol=1e-4, rtol=0)
    assert np.std(logits) > 0.5  # or nothing would be compared


def test_bytes_floats_and_leading_axes_give_the_same() -> None:
    params, crops = nested(siglip_weights(SIGLIP_SMALL)), crops_for(SIGLIP_SMALL, 6)
    features = SIGLIP_SMALL.image_features(params, crops)
    np.testing.assert_array_equal(SIGLIP_SMALL.image_features(params, crops.astype(np.float32)), features)
    in_pairs = SIGLIP_SMALL.image_features(params, crops.reshape(3, 2, *crops.shape[1:]))
    np.testing.assert_allclose(in_pairs.reshape(6, -1), features, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(features, axis=-1), 1, rtol=1e-6)
    assert SIGLIP_SMALL.image_features(params, crops[:0]).shape == (0, 48)


def test_every_parameter_has_a_gradient() -> None:
    params, crops = nested(siglip_weights(SIGLIP_SMALL)), crops_for(SIGLIP_SMALL)
    token_ids = np.arange(SIGLIP_SMALL.vocab_size, dtype=np.int32).reshape(
        -1, SIGLIP_SMALL.context_length
    )  # each token once
    weights = jax.random.normal(jax.random.key(0), (len(crops), len(token_ids)))

    def loss(params: dict) -> jax.Array:
        image = SIGLIP_SMALL.image_features(params, crops)
        text = SIGLIP_SMALL.text_features(params, token_ids)[:, 0]
        return (SIGLIP_SMALL.logits(params, image, text) * weights).sum()

    gradients = flatten_dict(jax.jit(jax.grad(loss))(params), sep="/")
    assert gradients.keys() == SIGLIP_SMALL.param_shapes(1000).keys()
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        # A bias of keys shifts all scores of a query alike, so its gradient is rounding error.
        assert np.abs(gradient).max() > 1e-4 or name.endswith("k_proj/bias"), name


def test_bfloat16_and_int8_are_close() -> None:
    encoder = dataclasses.replace(
        SIGLIP_DEEP, vision=siglip_tower(256, 2, 4, 512), text=siglip_tower(256, 2, 4, 512), image_size=64
    )
    params, crops, token_ids = nested(siglip_weights(encoder)), crops_for(encoder, 2), tokens_for(encoder, 2)

    @functools.partial(jax.jit, static_argnames="dtype")
    def features(tree: dict, dtype: str) -> tuple[jax.Array, jax.Array]:
        return encoder.image_features(tree, crops, dtype), encoder.text_features(tree, token_ids, dtype)

    exact = features(params, "float32")
    for dtype, tree, least in (("bfloat16", params, 0.9999), ("int8", encoder.quantise(params), 0.999)):
        rounded = features(tree, dtype)
        for got, want in zip(rounded, exact, strict=True):
            assert got.dtype == jnp.float32
            cosines = (got * want).sum(-1)
            assert least < cosines.min() < 1 - 1e-7  # rounded, but not much


# Weights


@pytest.mark.parametrize("encoder", [SIGLIP_SMALL, SIGLIP2_SMALL], ids=["siglip", "siglip2"])
@pytest.mark.parametrize("layout", ["hugging_face", "flax"])
def test_every_layout_comes_back_unchanged(encoder: SigLIP, layout: str) -> None:
    flat = siglip_weights(encoder)
    got = to_flax(from_flax(flat, type(encoder), layout), type(encoder), layout, "the file")
    assert got.keys() == flat.keys()
    for name, array in flat.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_siglip2_checkpoints_of_fixed_resolution_are_siglip_models() -> None:
    # config.json of google/siglip2-base-patch16-512, whose other sizes are transformers' defaults.
    config = {
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000},
        "vision_config": {"image_size": 512, "model_type": "siglip_vision_model"},
    }
    encoder = SigLIP.from_config(config)
    assert (encoder.image_size, encoder.vocab_size, encoder.vision.layers, encoder.text.heads) == (512, 256000, 12, 12)


PUBLISHED = {
    "google/siglip-base-patch16-224": {"model_type": "siglip"},
    "google/siglip2-giant-opt-patch16-384": {
        "model_type": "siglip",
        "text_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "projection_size": 1536,
            "vocab_size": 256000,
        },
        "vision_config": {
            "hidden_size": 1536,
            "image_size": 384,
            "intermediate_size": 6144,
            "num_attention_heads": 16,
            "num_hidden_layers": 40,
        },
    },
    "google/siglip2-base-patch16-naflex": {"model_type": "siglip2", "text_config": {"vocab_size": 256000}},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_models_are_all_there(name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = PUBLISHED[name]
    encoder = (SigLIP2 if config["model_type"] == "siglip2" else SigLIP).from_config(config)
    family = config["model_type"].capitalize()
    with torch.device("meta"):
        state = getattr(transformers, f"{family}Model")(
            getattr(transformers, f"{family}Config").from_dict(config)
        ).state_dict()
    flat = {name: np.broadcast_to(np.float32(0), shape) for name, shape in encoder.param_shapes(10_000).items()}
    rules = type(encoder).layouts["hugging_face"].rules(encoder.vision.layers, encoder.text.layers)
    assert {rule.source for rule in rules} == {name for name in state if not name.endswith("position_ids")}
    for rule in rules:
        widths = [flat[target].shape for target in rule.targets]
        joined = np.broadcast_to(np.float32(0), (*widths[0][:-1], sum(w[-1] for w in widths)) if widths[0] else ())
        assert rule.write(joined).shape == tuple(state[rule.source].shape), rule.source


# Configuration


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_configurations_come_back_unchanged(encoder: SigLIP) -> None:
    transformers = pytest.importorskip("transformers")
    assert type(encoder).from_config(encoder.to_config()) == encoder
    family = getattr(transformers, f"{encoder.name.capitalize()}Config")
    assert type(encoder).from_config(family.from_dict(encoder.to_config()).to_dict()) == encoder


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        (SigLIP, {"model_type": "clip"}, "'clip'; expected 'siglip'"),
        (SigLIP2, {"model_type": "siglip"}, "'siglip'; expected 'siglip2'"),
        (SigLIP, {"vision_config": {"num_channels": 1}}, "num_channels must be 3"),
        (SigLIP, {"vision_config": {"vision_use_head": False}}, "attention pooling head"),
        (SigLIP, {"text_config": {"projection_size": 512}}, "projection_size 512.*hidden_size 768"),
        (SigLIP, {"text_config": {"hidden_size": 384}}, "projection_size 384.*hidden_size 768"),
        (SigLIP, {"text_config": {"num_attention_heads": 5}}, "multiple of its number of heads"),
        (SigLIP, {"vision_config": {"hidden_act": "relu"}}, "hidden_act must be one of.*gelu_pytorch_tanh"),
        (SigLIP, {"vision_config": {"patch_size": 0}}, "must hold a patch"),
        (SigLIP, {"vision_config": {"image_size": 8}}, "must hold a patch"),
        (SigLIP2, {"vision_config": {"num_patches": 255}}, "square number.*255"),
    ],
)
def test_other_configurations_are_refused(family: type[SigLIP], config: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        family.from_config(config)


@pytest.mark.parametrize("tower_name", ["vision", "text"])
def test_more_blocks_than_arrays_are_refused(tower_name: str) -> None:
    endless = dataclasses.replace(SIGLIP_SMALL, **{tower_name: dataclasses.replace(SIGLIP_SMALL.vision, layers=10**9)})
    with pytest.raises(ModelError, match=f"{tower_name} layers 1000000000"):
        endless.param_shapes(100)


# Prompts


def test_prompts_need_a_tokenizer_that_fits() -> None:
    with pytest.raises(ModelError, match=r"needs the tokenizer\.json of its model folder"):
        SIGLIP_SMALL.prompts(["a photo"])
    with pytest.raises(ModelError, match=r"ids up to \d+, and the model's vocabulary has 70"):
        dataclasses.replace(SIGLIP_SMALL, context_length=64).prompts(
            PROMPTS, SigLIPTokenizer(gemma_tokenizer().to_str())
        )


def test_prompts_divide_among_devices() -> None:
    encoder = dataclasses.replace(SIGLIP_SMALL, context_length=64, vocab_size=250)
    params, tokenizer = nested(siglip_weights(encoder)), SigLIPTokenizer(gemma_tokenizer().to_str())
    spread, whole = (encoder.prompts(PROMPTS[:5], tokenizer, devices) for devices in (4, 1))
    assert spread.rows.shape == (8, 64)
    want = jax.jit(lambda: encoder.encode_prompts(params, whole))()
    assert want.shape == (5, 48)
    np.testing.assert_allclose(jax.jit(lambda: encoder.encode_prompts(params, spread))(), want, atol=1e-6)
