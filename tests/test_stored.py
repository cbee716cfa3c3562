"""Pictures stored well: what nobody sees, and of all parts."""

from __future__ import annotations

import numpy as np
import pytest

from liqe_jax.data.crops import crop_pixels, crops_set
from liqe_jax.synthetic import distort, stored
from liqe_jax.synthetic.crops import PLANS, make_crops
from liqe_jax.synthetic.matching import distance

from .conftest import photograph


def floating(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return photograph(232, 300)


def test_what_nobody_sees_is_less_than_the_mildest_damage(picture):
    jpeg, noise = (distance(distort(floating(picture), kind, 1, 0), floating(picture)) for kind in (10, 11))
    moved = []
    for seed in range(150):
        after = stored.stored(picture, np.random.default_rng(seed))
        assert after.shape == picture.shape
        assert after.dtype == np.uint8
        moved.append(distance(floating(after), floating(picture)))
    moved = np.array(moved)
    assert (moved > 0).mean() == pytest.approx(stored.SHARE, abs=0.1)
    assert moved.max() < min(jpeg, noise)


@pytest.mark.parametrize("way", [stored.as_jpeg, stored._twice, stored._webp, stored._noisy, stored._noisy_jpeg])
def test_every_way_changes_a_picture_and_is_repeatable(way, picture):
    one, again, other = (way(picture, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert (one != picture).any()
    assert (one != other).any()


def test_the_first_of_two_jpegs_has_its_blocks_elsewhere(picture, monkeypatch):
    sizes: list[tuple[int, ...]] = []
    monkeypatch.setattr(stored, "as_jpeg", lambda pixels, rng, qualities: sizes.append(pixels.shape) or pixels)
    for seed in range(200):
        np.testing.assert_array_equal(stored._twice(picture, np.random.default_rng(seed)), picture)
    height, width = picture.shape[:2]
    assert {h - height for h, _, _ in sizes[::2]} == {w - width for _, w, _ in sizes[::2]} == set(range(8))
    assert set(sizes[1::2]) == {picture.shape}


@pytest.mark.parametrize("plan", PLANS)
def test_all_parts_are_stored_if_asked(plan, few_crops, monkeypatch):
    monkeypatch.setattr("liqe_jax.synthetic.stored.SHARE", 1.0)
    monkeypatch.setattr("liqe_jax.synthetic.views.FINISHED_SHARE", 0.0)
    for stored_too in (False, True):
        make_crops(few_crops, few_crops / str(stored_too), rounds=1, plan=plan, stored=stored_too)
    plain, other = (crops_set(few_crops / str(stored_too)) for stored_too in (False, True))
    np.testing.assert_array_equal(plain.mos, other.mos)
    first, second = (crop_pixels(few_crops / str(stored_too)) for stored_too in (False, True))
    assert (first != second).any((1, 2, 3)).all()
