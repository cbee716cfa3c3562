"""The reference's own figures: tokens, logits, probabilities and scores. Tolerances are the design's."""

from __future__ import annotations

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.clip_prompts import pack_prompts
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import Model
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION, DISTORTION, SCENE, TASK_SETS
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.layouts import to_flax
from liqe_jax.weights.open import open_checkpoint
from liqe_jax.weights.read import read_model
from liqe_jax.weights.torch_writer import write_torch

from .tiny import plain_text_features

pytestmark = pytest.mark.goldens

SCORE, PROBABILITY = 5e-5, 2e-5
# exp(logit_scale) = 100 magnifies the rounding of a cosine, 1e-7, a hundredfold.
LOGIT = 2e-4
HEADS = ("quality", "quality_scene", "quality_distortion")


def test_every_prompt_has_the_reference_s_text_and_tokens(golden):
    tokenizer = Tokenizer.default()
    for name, expected in golden("tokens.json").items():
        if name in TASK_SETS:
            assert list(TASK_SETS[name].prompts) == expected["texts"], name
        np.testing.assert_array_equal(tokenizer(expected["texts"]), expected["ids"], err_msg=name)


@pytest.fixture(scope="session", params=["scores_tiny.json", "scores_vit_b32.json"])
def scored(request, goldens, golden, tmp_path_factory):
    """Reference figures, the weight file that they belong to, and the devices to compute them on."""
    figures = golden(request.param)
    if isinstance(figures["weights"], str):
        return figures["images"], goldens / figures["weights"], jax.devices()
    # Too large to store: drawn again from its seed by the code beside the figures.
    spec = importlib.util.spec_from_file_location("random_clip", goldens / "random_clip.py")
    random_clip = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(random_clip)
    state = random_clip.round_like_checkpoint(random_clip.openai_state_dict(figures["weights"]["seed"]))
    assert random_clip.state_dict_sha256(state) == figures["weights"]["sha256"]
    path = tmp_path_factory.mktemp("vit_b32") / "LIQE.pt"
    write_torch(path, state)
    return figures["images"], path, jax.devices()[:1]  # on eight, three images would be five empty ones too


@pytest.fixture(scope="session")
def scored_model(scored) -> Model:
    return load(scored[1], devices=scored[2])


def check(score, expected: dict, probabilities: bool = True) -> None:
    assert score.quality == pytest.approx(expected["quality"], abs=SCORE)
    np.testing.assert_allclose(score.logits, expected["logits"], atol=LOGIT)
    for name in ("quality", "scene", "distortion") if probabilities else ():
        got = list(score.probabilities[name].values())
        np.testing.assert_allclose(got, expected[f"{name}_probs"], atol=PROBABILITY, err_msg=name)
    assert (score.scene, score.distortion) == (expected["scene"], expected["distortion"])


@pytest.mark.parametrize("preprocess", ["paper", "pyiqa"])
def test_scores_of_files(scored, scored_model, golden_images, preprocess):
    images = scored[0]
    results = scored_model.score_many([golden_images / name for name in images], preprocess=preprocess)
    for score, expected in zip(results, images.values(), strict=True):
        check(score, expected[preprocess])


@pytest.mark.parametrize("head", HEADS)
def test_scores_of_the_other_task_sets(scored, golden_images, head):
    images, path, devices = scored
    model = load(path, tasks=head, devices=devices)
    files = [golden_images / name for name in images]
    for preprocess in ("paper", "pyiqa"):
        for expected, score in zip(images.values(), model.score_many(files, preprocess=preprocess), strict=True):
            wanted = expected[preprocess][f"{head}_head"]
            assert score.quality == pytest.approx(wanted["quality"], abs=SCORE)
            np.testing.assert_allclose(score.joint.ravel(), wanted["probs"], atol=PROBABILITY)


def test_shared_prompts_equal_plain_ones(scored):
    checkpoint = read_model(scored[1])
    token_ids = Tokenizer.default()(TASK_SETS["joint"].prompts[::7])
    packed = pack_prompts(token_ids, checkpoint.encoder.eos_token_id)
    shared = jax.jit(lambda params: checkpoint.encoder.encode_prompts(params, packed))(checkpoint.params)
    plain = jax.jit(lambda params: plain_text_features(params, token_ids, checkpoint.encoder))(checkpoint.params)
    np.testing.assert_allclose(shared, plain, atol=2e-6)


def test_embeddings_of_flax_clip_model(goldens):
    folder = goldens / "hf_flax"
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    checkpoint = open_checkpoint(folder)
    pixels_NxCxHxW = np.load(folder / "pixels.npz")
    normalised = np.moveaxis(pixels_NxCxHxW[pixels_NxCxHxW.files[0]].astype(np.float64), 1, -1)
    rgb = (normalised * PIXEL_STD + PIXEL_MEAN) * 255
    image = checkpoint.encoder.image_features(checkpoint.params, jnp.asarray(rgb, jnp.float32))
    text = plain_text_features(checkpoint.params, np.asarray(expected["input_ids"]), checkpoint.encoder)
    np.testing.assert_allclose(image, expected["image_embeds"], atol=2e-6)
    np.testing.assert_allclose(text, expected["text_embeds"], atol=2e-6)
    logits = jnp.exp(checkpoint.params["logit_scale"]) * image @ text.T
    np.testing.assert_allclose(logits, expected["logits_per_image"], atol=5e-5)


def test_flax_parameters_load_as_they_are(goldens):
    # The tree is FlaxCLIPModel's own: the names in the file are the names that we use.
    from flax.serialization import msgpack_restore
    from flax.traverse_util import flatten_dict

    stored = flatten_dict(msgpack_restore((goldens / "hf_flax" / "flax_model.msgpack").read_bytes()), sep="/")
    flat = to_flax(stored, CLIP, "flax", "flax_model.msgpack")
    assert flat.keys() == stored.keys()
    assert (
        unflatten_dict(flat, sep="/")["vision_model"].keys()
        == open_checkpoint(goldens / "hf_flax").params["vision_model"].keys()
    )
    assert CLIP.from_weights(flat).vision == open_checkpoint(goldens / "hf_flax").encoder.vision


def test_labels_are_those_of_the_training_goldens(golden):
    # Training figures name raw distortions and scenes; each has to be one of ours.
    batches = [batch for run in golden("training.json").values() for batch in run["batches"]]
    for image in (image for batch in batches for image in batch):
        assert CATEGORY_OF_RAW_DISTORTION[image["distortion"]] in DISTORTION.labels
        assert set(image["scenes"]) <= set(SCENE.labels)
