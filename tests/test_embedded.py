"""The model inside the package: what a user gets who names none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter

import liqe_jax
from liqe_jax.cli.main import main
from liqe_jax.weights.known import ABOUT, EMBEDDED, embedded_folder

from .conftest import SAMPLES

MOST_BYTES = 10_000_000

pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module", autouse=True)
def on_one_device():
    """As on a CPU of a user: on eight, one photograph is scored with seven empty ones."""
    with jax.default_device(jax.devices()[0]):
        yield


@pytest.fixture(scope="module")
def nano(on_one_device):
    return liqe_jax.load()


@pytest.fixture(scope="module")
def picture():
    with Image.open(SAMPLES / "coffee.jpg") as opened:
        return opened.convert("RGB")


def test_it_is_the_default_small_and_says_what_it_is(nano):
    assert nano.name == EMBEDDED
    assert nano.tasks.name == "joint"
    assert nano.encoder.name == "efficientnet_lite"
    assert nano.preprocess == "whole"
    assert sum(file.stat().st_size for file in embedded_folder().iterdir()) < MOST_BYTES
    assert nano.provenance.licence == "Apache-2.0"
    assert [entry.dataset for entry in nano.provenance.trained_on] == ["CLIVE", "varied"]
    np.testing.assert_array_equal(nano.text_features, liqe_jax.load(EMBEDDED).text_features)


def test_a_map_computes_little_padding(nano, monkeypatch):
    """A call takes at most as many pixels as sixteen crops of 224 have: three crops of 512."""
    computed, predict = [], nano.forward._predict

    def recorded(params, crops, *arguments, **options):
        computed.append(len(crops))
        return predict(params, crops, *arguments, **options)

    monkeypatch.setattr(nano.forward, "_predict", recorded)
    assert nano.quality_map(SAMPLES / "coffee.jpg").quality.shape == (1, 3)
    assert computed == [3]


def test_a_sharp_photograph_scores_above_its_blurred_copy(nano):
    sharp, blurred = nano.score_many([SAMPLES / "cat.jpg", SAMPLES / "cat_blur.jpg"])
    assert sharp.quality > blurred.quality + 1
    assert blurred.distortion == "blur"


def test_the_stronger_the_blur_the_lower_the_score(nano, picture):
    blurred = [picture.filter(ImageFilter.GaussianBlur(sigma)) for sigma in (0, 2, 4, 8)]
    scores = [result.quality for result in nano.score_many(blurred)]
    assert (np.diff(scores) < 0).all()


def test_a_photograph_half_out_of_focus_scores_lower(nano, picture):
    blurred = picture.filter(ImageFilter.GaussianBlur(6))
    half = picture.copy()
    half.paste(blurred.crop((0, 0, picture.width // 2, picture.height)))
    sharp, partly = nano.score_many([picture, half])
    assert partly.quality < sharp.quality - 0.3


def test_noise_and_black_frames_score_far_below_a_photograph(nano, picture):
    noise = np.random.default_rng(0).integers(0, 256, (384, 512, 3), np.uint8)
    photo, noisy, black = nano.score_many([picture, noise, np.zeros((384, 512, 3), np.uint8)])
    assert black.quality < 2
    assert noisy.quality < photo.quality - 1


def test_the_size_of_a_photograph_hardly_matters(nano):
    with Image.open(SAMPLES / "phone_portrait.jpg") as opened:
        photo = opened.convert("RGB")
    sides = (1200, 1800, 2500)  # no side is under 512 pixels, below which a picture is enlarged
    sizes = [(round(side * photo.width / photo.height), side) for side in sides]
    scores = [result.quality for result in nano.score_many([photo.resize(s, Image.Resampling.LANCZOS) for s in sizes])]
    assert np.ptp(scores) < 0.3


@pytest.mark.parametrize("shape", [(40, 60), (3000, 300), (1, 1)])
def test_any_shape_is_scored(nano, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert 1 <= nano.score(pixels).quality <= 5


def test_a_map_covers_the_photograph(nano):
    found = nano.quality_map(SAMPLES / "coffee.jpg")
    assert found.quality.shape == (found.grid.rows, found.grid.cols)
    assert np.isfinite(found.quality).all()
    assert len(found.grid) < 60  # each is a crop of 512 pixels


def test_new_sentences_of_known_words_have_features(tmp_path):
    tasks = liqe_jax.TaskSet(
        "two", (liqe_jax.Attribute("quality", ("bad", "perfect"), values=(1, 5)),), "a photo of {quality} quality"
    )
    score = liqe_jax.load(tasks=tasks).score(SAMPLES / "cat.jpg")
    assert 1 < score.quality < 5


def test_it_is_a_loss(nano, picture):
    """Uphill along the gradient a blurred picture's score rises."""
    crops = nano.crops(picture.filter(ImageFilter.GaussianBlur(3)))[None].astype(np.float32)

    def score(crops):
        out = liqe_jax.predict(nano.params, crops, nano.text_features, encoder=nano.encoder, tasks=nano.tasks)
        return out.values["quality"].sum()

    climb = jax.jit(jax.value_and_grad(score))
    before, slope = climb(crops)
    assert np.isfinite(slope).all()
    step = slope / np.abs(slope).max()
    assert climb(crops + step)[0] > before


def test_the_command_uses_it_and_says_so(capsys, tmp_path):
    assert main(["score", str(SAMPLES / "cat.jpg"), "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert ABOUT in err
    assert "liqe_mix" in ABOUT
    assert json.loads(out)["model"] == EMBEDDED
    assert main(["score", str(SAMPLES / "cat.jpg"), "--format", "jsonl", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_without_a_network_liqe_mix_says_what_to_put_where(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "LIQE_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "liqe_jax.cli.main", "score", str(SAMPLES / "cat.jpg"), "--model", "liqe_mix"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "Download liqe_mix.pt" in done.stderr
    assert str(tmp_path / "models" / "liqe_mix.pt") in done.stderr
