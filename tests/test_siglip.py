"""SigLIP and SigLIP 2 against transformers: features, logits, weights, configuration and tokenizers."""

from __future__ import annotations

import dataclasses
import functools
import string
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from flax.traverse_util import flatten_dict, unflatten_dict
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from liqe_jax.encoders.siglip import SigLIP, SigLIP2
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.siglip import SigLIPTokenizer
from liqe_jax.weights.layouts import Flat, from_flax, to_flax

PROMPTS = JOINT.prompts


def tower(width: int, layers: int, heads: int, mlp_width: int) -> TowerConfig:
    return TowerConfig(width, layers, heads, mlp_width, "gelu_pytorch_tanh", 1e-6)


# 35 pixels hold four patches of 8; the last 3 pixels are dropped.
SMALL = SigLIP(tower(48, 2, 3, 80), tower(32, 3, 4, 64), 35, 8, vocab_size=70, context_length=10, projection_dim=48)
SMALL2 = SigLIP2(**{**vars(SMALL), "image_size": 32})
# The depth, grid and context of the published base models, at a third of their width.
DEEP = SigLIP(tower(256, 12, 4, 1024), tower(256, 12, 4, 1024), vocab_size=500, projection_dim=256)
ENCODERS = {"small": SMALL, "small2": SMALL2, "deep": DEEP}


def random_weights(encoder: SigLIP, seed: int = 0) -> Flat:
    """Parameters that keep activations near one, with no bias at zero and no scale at one."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in encoder.param_shapes(10_000).items():
        spread = np.prod(shape[:-1]) ** -0.5 if name.endswith("kernel") else 0.1
        flat[name] = rng.normal(name.endswith("scale"), spread, shape).astype(np.float32)
    # Near those of siglip-base-patch16-224: a factor of 118, and a bias of -13.
    return flat | {"logit_scale": np.float32(4.77), "logit_bias": np.float32(-12.9)}


def nested(flat: Flat) -> dict:
    return unflatten_dict({name: jnp.asarray(array) for name, array in flat.items()}, sep="/")


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
    flat = random_weights(encoder)
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
    params, crops = nested(random_weights(SMALL)), crops_for(SMALL, 6)
    features = SMALL.image_features(params, crops)
    np.testing.assert_array_equal(SMALL.image_features(params, crops.astype(np.float32)), features)
    in_pairs = SMALL.image_features(params, crops.reshape(3, 2, *crops.shape[1:]))
    np.testing.assert_allclose(in_pairs.reshape(6, -1), features, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(features, axis=-1), 1, rtol=1e-6)
    assert SMALL.image_features(params, crops[:0]).shape == (0, 48)


def test_every_parameter_has_a_gradient() -> None:
    params, crops = nested(random_weights(SMALL)), crops_for(SMALL)
    token_ids = np.arange(SMALL.vocab_size, dtype=np.int32).reshape(-1, SMALL.context_length)  # each token once
    weights = jax.random.normal(jax.random.key(0), (len(crops), len(token_ids)))

    def loss(params: dict) -> jax.Array:
        image = SMALL.image_features(params, crops)
        text = SMALL.text_features(params, token_ids)[:, 0]
        return (SMALL.logits(params, image, text) * weights).sum()

    gradients = flatten_dict(jax.jit(jax.grad(loss))(params), sep="/")
    assert gradients.keys() == SMALL.param_shapes(1000).keys()
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        # A bias of keys shifts all scores of a query alike, so its gradient is rounding error.
        assert np.abs(gradient).max() > 1e-4 or name.endswith("k_proj/bias"), name


def test_bfloat16_and_int8_are_close() -> None:
    encoder = dataclasses.replace(DEEP, vision=tower(256, 2, 4, 512), text=tower(256, 2, 4, 512), image_size=64)
    params, crops, token_ids = nested(random_weights(encoder)), crops_for(encoder, 2), tokens_for(encoder, 2)

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


@pytest.mark.parametrize("encoder", [SMALL, SMALL2], ids=["siglip", "siglip2"])
@pytest.mark.parametrize("layout", ["hugging_face", "flax"])
def test_every_layout_comes_back_unchanged(encoder: SigLIP, layout: str) -> None:
    flat = random_weights(encoder)
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
    endless = dataclasses.replace(SMALL, **{tower_name: dataclasses.replace(SMALL.vision, layers=10**9)})
    with pytest.raises(ModelError, match=f"{tower_name} layers 1000000000"):
        endless.param_shapes(100)


# Tokenizers

SENTENCES = (
    "A photo of a Landscape with Blur artifacts, which is of BAD quality!",
    "  two   spaces,\ttabs \n and (brackets) ",
    "don't; JPEG-2000's",
    "",
    "Größe ÉMILE",
    *PROMPTS[::45],
)


def unigram(canonical: bool) -> tokenizers.Tokenizer:
    """A tokenizer of SigLIP's kind; `canonical` has the preparation of the text in it, as files made from it do."""
    words = sorted({f"▁{word}" for prompt in PROMPTS for word in prompt.lower().replace(",", "").split()})
    letters = ["▁", *string.ascii_lowercase, *string.digits]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -3.0) for w in words), *((c, -6.0) for c in letters)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
    if canonical:
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Lowercase(),
                *(normalizers.Replace(character, "") for character in string.punctuation),
                normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
                normalizers.Strip(),
            ]
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def gemma() -> tokenizers.Tokenizer:
    """A tokenizer of SigLIP 2's kind, which cuts and pads by itself as the published one does."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=250, special_tokens=special, show_progress=False, max_token_length=10)
    tokenizer.train_from_iterator([prompt.lower() for prompt in PROMPTS], trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64, pad_id=0, pad_token="<pad>")
    return tokenizer


def test_siglip_text_is_canonical_and_padded_with_the_end_token(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    unigram(canonical=True).save(str(tmp_path / "tokenizer.json"))
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path, pad_token="</s>", unk_token="<unk>")
    want = reference(list(SENTENCES), padding="max_length", max_length=64)["input_ids"]
    for canonical in (False, True):
        ours = SigLIPTokenizer(unigram(canonical).to_str())(SENTENCES)
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, want)
    np.testing.assert_array_equal(ours[3], np.ones(64))  # nothing but end tokens


def test_siglip2_text_is_lower_case_and_padded_on_the_right(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    gemma().save(str(tmp_path / "tokenizer.json"))
    reference = transformers.Siglip2Tokenizer.from_pretrained(tmp_path, padding_side="right")
    want = reference(list(SENTENCES), padding="max_length", max_length=64)["input_ids"]
    ours = SigLIPTokenizer.from_folder(tmp_path)
    np.testing.assert_array_equal(ours(SENTENCES), want)
    np.testing.assert_array_equal(ours(["a photo"]), ours(["A PHOTO"]))
    assert ours.vocab == reference.get_vocab()


@pytest.mark.parametrize("kind", [unigram(canonical=False), gemma()], ids=["siglip", "siglip2"])
def test_too_long_a_sentence_is_refused(kind: tokenizers.Tokenizer) -> None:
    tokenizer = SigLIPTokenizer(kind.to_str())
    assert tokenizer(["a photo"], 20).shape == (1, 20)
    with pytest.raises(UsageError, match=r"'photo photo.*\d+ tokens; the text tower takes 64"):
        tokenizer(["photo " * 64])


def test_the_file_is_written_as_it_was_read(tmp_path: Path) -> None:
    gemma().save(str(tmp_path / "tokenizer.json"), pretty=False)
    (tmp_path / "copy").mkdir()
    SigLIPTokenizer.from_folder(tmp_path).save(tmp_path / "copy")
    assert (tmp_path / "copy/tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert SigLIPTokenizer.from_folder(tmp_path / "copy") == SigLIPTokenizer.from_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    assert SigLIPTokenizer.from_folder(tmp_path / "empty") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged"),
        ('{"model": 3}', "damaged"),
        (tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a")).to_str(), "holds a WordLevel model; expected Unigram"),
        (tokenizers.Tokenizer(models.BPE({"a": 0}, [])).to_str(), "BPE model without <eos>"),
        (tokenizers.Tokenizer(models.Unigram([("a", 0.0)], 0)).to_str(), "Unigram model without </s>"),
    ],
)
def test_other_tokenizers_are_refused(content: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SigLIPTokenizer(content)(["a"])


def test_prompts_need_a_tokenizer_that_fits() -> None:
    with pytest.raises(ModelError, match=r"needs the tokenizer\.json of its model folder"):
        SMALL.prompts(["a photo"])
    with pytest.raises(ModelError, match=r"ids up to \d+, and the model's vocabulary has 70"):
        dataclasses.replace(SMALL, context_length=64).prompts(PROMPTS, SigLIPTokenizer(gemma().to_str()))


def test_prompts_divide_among_devices() -> None:
    encoder = dataclasses.replace(SMALL, context_length=64, vocab_size=250)
    params, tokenizer = nested(random_weights(encoder)), SigLIPTokenizer(gemma().to_str())
    spread, whole = (encoder.prompts(PROMPTS[:5], tokenizer, devices) for devices in (4, 1))
    assert spread.rows.shape == (8, 64)
    want = jax.jit(lambda: encoder.encode_prompts(params, whole))()
    assert want.shape == (5, 48)
    np.testing.assert_allclose(jax.jit(lambda: encoder.encode_prompts(params, spread))(), want, atol=1e-6)
