"""Pictures that were enlarged: how many are found, how exactly they come back, and what is left alone."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import liqe_jax
from liqe_jax.images.decode import DecodedImage
from liqe_jax.images.enlarged import LONG_SIDE, enlargement, without_enlargement
from liqe_jax.images.interpolation import at, bicubic, bilinear, lanczos
from liqe_jax.images.preprocess import PRESETS, prepare
from liqe_jax.images.traces import MOST
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.compression import to_bytes

SAMPLES = Path(__file__).parents[1] / "samples"
LANCZOS, BICUBIC, BILINEAR = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with the spectrum of a sharp photograph, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    grey = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency, (height, width))
    colours = grey[..., None] * (1, 0.9, 0.8) + rng.normal(size=(height, width, 3)) * 0.05 * grey.std()
    return np.clip(128 + 40 * colours / colours.std(), 0, 255).astype(np.uint8)


def sample(name: str) -> np.ndarray:
    """A sample photograph with a longest side of 512."""
    picture = Image.open(SAMPLES / name).convert("RGB")
    picture.thumbnail((512, 512), LANCZOS)
    return np.asarray(picture)


PICTURES = {
    "coffee": lambda: sample("coffee.jpg"),
    "cat": lambda: np.asarray(Image.open(SAMPLES / "cat.jpg").convert("RGB")),
    "texture": lambda: texture(341, 512),
}


def factor_of(pixels: np.ndarray) -> float:
    found = enlargement(pixels)
    return found.factor if found else 1.0


def enlarged(pixels: np.ndarray, factor: float, how: Image.Resampling = LANCZOS) -> np.ndarray:
    size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def stored(pixels: np.ndarray, form: str, **options) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("factor", [2, 2.54, 4, 7.8125])
@pytest.mark.parametrize("how", [LANCZOS, BICUBIC])
def test_what_was_enlarged_is_found(name, factor, how):
    pixels = PICTURES[name]()
    large = enlarged(pixels, factor, how)
    found = enlargement(large)
    assert found.factor == pytest.approx(factor, rel=0.004)
    assert found.kernel.filter == how
    assert without_enlargement(large).shape[1] == max(512, pixels.shape[1])


def test_a_photograph_enlarged_by_half():
    for how in (LANCZOS, BICUBIC):
        assert factor_of(enlarged(sample("coffee.jpg"), 1.5, how)) == pytest.approx(1.5, rel=0.004)


@pytest.mark.parametrize("how", [LANCZOS, BICUBIC, BILINEAR])
@pytest.mark.parametrize(("factor", "same"), [(1.5, 0.78), (2.54, 0.8), (4, 0.8)])
def test_pixels_come_back(factor, same, how):
    pixels = sample("coffee.jpg")
    large = enlarged(pixels, factor, how)
    if (factor, how) == (1.5, BILINEAR):
        same = 0.45  # bilinear loses most
    back, averaged = without_enlargement(large), Image.fromarray(large).resize(pixels.shape[1::-1], BICUBIC)
    off, off_averaged = (abs(np.asarray(one).astype(int) - pixels) for one in (back, averaged))
    assert (off == 0).mean() > max(same, (off_averaged == 0).mean())
    assert (off <= 1).mean() > max(1 - (1 - same) / 2, (off_averaged <= 1).mean() + 0.05)


@pytest.mark.parametrize(("interpolation", "factor"), [(cv2.INTER_LINEAR, 4), (cv2.INTER_LANCZOS4, 1.5)])
def test_other_libraries_enlarge_too(interpolation, factor):
    large = cv2.resize(PICTURES["cat"](), None, fx=factor, fy=factor, interpolation=interpolation)
    assert factor_of(large) == pytest.approx(factor, rel=0.004)


@pytest.mark.parametrize("kernel", [bilinear(), bicubic(), lanczos()])
def test_interpolation_is_that_of_pillow(kernel):
    pixels = texture(40, 50) // 2 + np.uint8(60)
    there = enlarged(pixels, 2.6, kernel.filter).astype(float)
    rows, columns = ((np.arange(count) + 0.5) / 2.6 - 0.5 for count in there.shape[:2])
    ours = at(pixels, rows, columns, kernel)
    assert ours.dtype == np.float32
    # Pillow rounds after either direction, and leaves out what lies beyond the border.
    np.testing.assert_allclose(ours[9:-9, 9:-9], there[9:-9, 9:-9], atol=1.6)
    assert abs(ours - there).mean() < 0.6


@pytest.mark.parametrize("name", ["coffee", "texture"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_no_enlargement(name, kind):
    # Damage at the size at which it is looked at: a photograph of 800 pixels.
    pixels = np.asarray(Image.open(SAMPLES / "coffee.jpg").convert("RGB")) if name == "coffee" else texture(533, 800)
    for level in (1, 3, 5):
        damaged = to_bytes(distort(pixels.astype(np.float32) / 255, kind, level, 0))
        assert enlargement(damaged) is None, level
        if name == "texture":
            assert without_enlargement(damaged) is damaged


@pytest.mark.parametrize("options", [{"quality": quality} for quality in (5, 20, 50, 90)])
def test_jpeg_is_no_enlargement(options):
    assert enlargement(stored(texture(533, 800), "jpeg", **options)) is None


@pytest.mark.parametrize("rate", [10, 40, 100, 200])
def test_jpeg_2000_is_no_enlargement(rate):
    coded = stored(texture(533, 800), "jpeg2000", irreversible=True, quality_mode="rates", quality_layers=[rate])
    assert enlargement(coded) is None


@pytest.mark.parametrize("factor", [0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("how", [LANCZOS, BICUBIC, BILINEAR])
def test_shrinking_is_no_enlargement(factor, how):
    assert enlargement(enlarged(texture(1066, 1600), factor, how)) is None


def test_stretched_one_way_is_no_enlargement():
    large = np.asarray(Image.fromarray(texture(512, 512)).resize((1024, 512), LANCZOS))
    assert enlargement(large) is None


@pytest.mark.parametrize("shape", [(1, 1), (10, 4000), (255, 900), (256, 900), (300, 300), (900, 900)])
@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures(shape, value):
    flat = np.full((*shape, 3), value, np.uint8)
    assert without_enlargement(flat) is flat


def test_thumbnails_stay_blurred():
    small = texture(171, 256)
    back = without_enlargement(enlarged(small, 4))
    assert back.shape == (342, LONG_SIDE, 3)
    assert factor_of(enlarged(small, 4)) == pytest.approx(4, rel=0.004)


def test_what_is_shrunk_in_any_case_is_left_alone():
    large = enlarged(texture(500, 600), 2)
    assert without_enlargement(large).shape == (500, 600, 3)
    assert without_enlargement(large, short_side=501).shape == (500, 600, 3)
    assert without_enlargement(large, short_side=500) is large


def test_huge_pictures_are_brought_back_once(monkeypatch):
    pixels = sample("coffee.jpg")
    large = enlarged(pixels, 2)
    exact = without_enlargement(large)
    monkeypatch.setattr("liqe_jax.images.enlarged.LARGEST_REPEATED", large.shape[0] * large.shape[1] - 1)
    once = without_enlargement(large)
    assert (once == pixels).mean() < (exact == pixels).mean()
    assert abs(once.astype(int) - pixels).mean() < 0.5


def test_factors_beyond_the_largest_do_no_harm():
    # More than MOST is not looked for; what is found instead must not go below the original.
    large = enlarged(texture(100, 150), 1.5 * MOST)
    assert min(without_enlargement(large).shape[:2]) >= 100


def test_channels_and_sides_keep_their_places():
    pixels = texture(512, 400) // np.array([1, 2, 4], np.uint8)
    back = without_enlargement(enlarged(pixels, 3)).astype(int)
    assert back.shape == pixels.shape
    assert abs(back - pixels).mean() < 0.1


# Presets, and what one sees of it.


def test_even_judges_as_before_and_says_so():
    pixels = sample("coffee.jpg")
    large = enlarged(pixels, 2.5)
    image = prepare(DecodedImage(large), PRESETS["even"])
    assert image.pixels.shape == pixels.shape
    assert (image.height, image.width) == large.shape[:2]
    assert image.warnings == ("1280x852 was enlarged: judged at 512x341, as before",)


@pytest.mark.parametrize("preset", ["paper", "pyiqa"])
def test_the_reference_has_no_such_thing(preset):
    large = enlarged(sample("coffee.jpg"), 2)
    assert prepare(DecodedImage(large), PRESETS[preset]).pixels is large


@pytest.mark.parametrize("name", ["coffee.jpg", "coffee_jpeg8.jpg"])
def test_the_score_does_not_depend_on_the_size(name):
    model = liqe_jax.load("liqe_nano")
    pixels = sample(name)
    noisy = to_bytes(distort(pixels.astype(np.float32) / 255, 11, 4, 0))
    for picture in (pixels, noisy):
        scores = [model.score(enlarged(picture, factor)).quality for factor in (1, 1.5, 2, 3, 6)]
        np.testing.assert_allclose(scores[1:], scores[0], atol=0.4)
