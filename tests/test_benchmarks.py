"""What benchmarks compute, on scorers of known answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import nano
from liqe_jax.errors import ImageError
from liqe_jax.synthetic import KINDS, LEVELS
from liqe_jax.synthetic.mos import mean_mos


class Judge:
    """Scores images in the order of `nano.distorted` with the mean MOS of their type and level, times `sign`."""

    def __init__(self, sign: int, category: str):
        self.sign, self.category = sign, category

    def score_many(self, pixels):
        wanted = [mean_mos(kind, level)[0] for kind in nano.KINDS for level in LEVELS]
        for image, mos in zip(pixels, wanted, strict=True):
            assert image.dtype == np.uint8
            yield SimpleNamespace(quality=self.sign * mos, distortion=self.category)


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)


def test_scores_in_the_order_of_the_opinions_are_right_in_all_measures(monkeypatch, photo):
    monkeypatch.setattr(nano, "KINDS", {11: KINDS[11]})
    assert nano.measure_distortions(Judge(1, "noise"), [photo], "synthetic")[:-1] == pytest.approx((5, 1, 1, 1))
    assert nano.measure_distortions(Judge(-1, "blur"), [photo], "webp")[:-1] == pytest.approx((5, -1, 0, 0))


def test_the_accuracy_of_the_category_is_measured_for_each_type(monkeypatch, photo):
    monkeypatch.setattr(nano, "KINDS", {1: KINDS[1], 11: KINDS[11]})
    found = nano.measure_distortions(Judge(1, "blur"), [photo], "synthetic")
    assert found.category == 0.5
    assert found.category_of_kinds == {1: 1.0, 11: 0.0}


def test_compressed_images_are_measured_as_compressed(monkeypatch, photo):
    monkeypatch.setattr(nano, "KINDS", {11: KINDS[11]})
    plain, jpeg = ([picture.pixels for picture in nano.distorted([photo], name)] for name in ("synthetic", "jpeg"))
    for image, compressed in zip(plain, jpeg, strict=True):
        np.testing.assert_array_equal(compressed, nano.encoded(image, "jpeg", 90))
        assert (compressed != image).any()


def test_levels_that_another_implementation_does_not_reach_are_left_out(monkeypatch, photo):
    pytest.importorskip("av")
    pytest.importorskip("skimage")
    from benchmarks import other_implementations

    def other_distort(image, kind, level, seed):
        if level > 3:
            raise ImageError(other_implementations.OUT_OF_REACH)
        return image

    monkeypatch.setattr(other_implementations, "OTHER_IMPLEMENTATIONS", {7: None, 11: None})
    monkeypatch.setattr(other_implementations, "other_distort", other_distort)
    found = [(picture.mos, picture.kind) for picture in nano.distorted([photo], "other")]
    assert found == [(mean_mos(kind, level)[0], kind) for kind in (7, 11) for level in (1, 2, 3)]


def test_edits_are_compared_with_the_photograph(photo):
    class ByMean:
        def score(self, image):
            return SimpleNamespace(quality=float(image.mean()) / 255)

    drops = nano.measure_edits(ByMean(), [photo, photo])
    assert drops["dark"] == pytest.approx([np.asarray(photo).mean() / 255 * 0.75] * 2, abs=0.01)
    assert len(drops["bright"]) == 2
    assert max(drops["bright"]) < 0


def test_another_implementation_that_is_too_weak_is_an_error(monkeypatch):
    pytest.importorskip("av")
    pytest.importorskip("skimage")
    from benchmarks import other_implementations

    image = np.full((64, 64, 3), 0.5, np.float32)
    image[::2] = 0.25
    assert np.isfinite(other_implementations.other_distort(image, 16, 3, 0)).all()
    monkeypatch.setattr(other_implementations, "OTHER_IMPLEMENTATIONS", {16: lambda image, strength, rng: image})
    reason = rf"{other_implementations.OUT_OF_REACH}: type 16 at level 3 .* no nearer than 0.0000"
    with pytest.raises(ImageError, match=reason):
        other_implementations.other_distort(image, 16, 3, 0)
