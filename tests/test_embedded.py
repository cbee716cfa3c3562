"""The model inside the package: what a user gets who names none."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

import liqe_jax
from liqe_jax.cli.main import main
from liqe_jax.images.grid import PATCH
from liqe_jax.synthetic import distort
from liqe_jax.weights.embedded import ABOUT, EMBEDDED, embedded_folder

from .conftest import SAMPLES

MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def nano():
    return liqe_jax.load()


@pytest.fixture(scope="module")
def picture():
    with Image.open(SAMPLES / "coffee.jpg") as opened:
        return opened.convert("RGB")


def test_it_is_the_default_small_and_says_what_it_is(nano):
    assert nano.name == EMBEDDED
    assert nano.tasks.name == "joint"
    assert nano.preprocess == "even"
    assert sum(file.stat().st_size for file in embedded_folder().iterdir()) < MOST_BYTES
    assert nano.provenance.licence == "Apache-2.0"
    assert [entry.dataset for entry in nano.provenance.trained_on] == [
        "crops",
        "crops-table",
        "crops-table-2",
        "crops-table-3",
        "crops-2",
        "crops-pairs",
        "crops-3",
        "crops-pairs-2",
        "crops-4",
        "crops-pairs-3",
        "crops-5",
        "crops-resized",
        "crops-pairs-4",
        "crops-resized-2",
        "crops-6",
    ]
    np.testing.assert_array_equal(nano.text_features, liqe_jax.load(EMBEDDED).text_features)


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return Image.open(file).convert("RGB")


def noisy(picture: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("damaged", "category"),
    [
        (lambda p: p.filter(ImageFilter.GaussianBlur(4)), "blur"),
        (lambda p: as_jpeg(p, 8), "jpeg compression"),
        (lambda p: noisy(p, 40), "noise"),
    ],
)
@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "phone_portrait.jpg"])
def test_everyday_damage_costs_a_grade_and_is_named(nano, name, damaged, category):
    with Image.open(SAMPLES / name) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((768, 768), Image.Resampling.LANCZOS)
    original, much = nano.score_many([picture, damaged(picture)])
    assert original.quality > much.quality + 1
    assert much.distortion == category


@pytest.mark.parametrize(
    ("mild", "strong"),
    [
        (lambda p: p.filter(ImageFilter.GaussianBlur(1.5)), lambda p: p.filter(ImageFilter.GaussianBlur(4))),
        (lambda p: noisy(p, 12), lambda p: noisy(p, 40)),
    ],
)
def test_the_stronger_the_worse(nano, picture, mild, strong):
    original, little, much = nano.score_many([picture, mild(picture), strong(picture)])
    assert original.quality > little.quality > much.quality


def test_the_damaged_samples_score_below_their_originals(nano):
    names = ("cat.jpg", "cat_blur.jpg", "coffee.jpg", "coffee_jpeg8.jpg")
    cat, blurred, coffee, compressed = nano.score_many([SAMPLES / name for name in names])
    # A grade at least; these are two grades apart.
    assert min(cat.quality, coffee.quality) > max(blurred.quality, compressed.quality) + 1
    assert (blurred.distortion, compressed.distortion) == ("blur", "jpeg compression")


@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "phone_portrait.jpg"])
def test_blur_far_beyond_what_it_was_trained_with_is_bad(nano, name):
    """Of KADID-10k's blurs the strongest has 5 pixels; here are four times as many."""
    with Image.open(SAMPLES / name) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((768, 768), Image.Resampling.LANCZOS)
    blurred = [picture.filter(ImageFilter.GaussianBlur(sigma)) for sigma in (5, 10, 20)]
    for result in nano.score_many(blurred):
        assert result.quality < 2.5
        assert result.distortion == "blur"


@pytest.mark.parametrize("factor", [1.25, 1.5, 2, 2.5])
def test_damage_is_seen_in_an_enlarged_picture(nano, picture, factor):
    picture = picture.copy()
    picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
    originals = picture, as_jpeg(picture, 8), noisy(picture, 40)
    size = round(factor * picture.width), round(factor * picture.height)
    good, *bad = nano.score_many([one.resize(size, Image.Resampling.BICUBIC) for one in originals])
    assert good.quality > max(result.quality for result in bad) + (1 if factor <= 1.5 else 0.5)
    assert [result.distortion for result in bad] == ["jpeg compression", "noise"]


def test_a_shrunk_photograph_is_no_worse(nano):
    with Image.open(SAMPLES / "phone_portrait.jpg") as opened:
        picture = opened.convert("RGB")
    sides = (512, 768, 1024, 2532)
    pictures = [picture.resize((round(side * picture.width / picture.height), side)) for side in sides]
    scores = [result.quality for result in nano.score_many(pictures)]
    assert min(scores) > 4


def test_it_is_a_loss(nano, picture):
    """Uphill along the gradient a damaged picture's score rises."""
    import jax

    damaged = distort(np.asarray(picture.crop((0, 0, PATCH, PATCH))).astype(np.float32) / 255, 11, 4, 0)
    patches = (damaged * 255)[None, None]

    def score(patches):
        out = liqe_jax.predict(nano.params, patches, nano.text_features, encoder=nano.encoder, tasks=nano.tasks)
        return out.values["quality"].sum()

    climb = jax.jit(jax.value_and_grad(score))
    before, slope = climb(patches)
    assert np.isfinite(slope).all()
    step = slope / np.abs(slope).max()
    assert climb(patches + step)[0] > before


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
