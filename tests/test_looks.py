"""Other looks of a photograph: small changes, and of training photographs only."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from liqe_jax.data.crops import SPLIT, crop_pixels, crops_set
from liqe_jax.synthetic import distort
from liqe_jax.synthetic.crops import PLANS, make_crops
from liqe_jax.synthetic.implementations import IMPLEMENTATIONS
from liqe_jax.synthetic.looks import TURNED, _colours, look
from liqe_jax.synthetic.matching import distance
from liqe_jax.synthetic.views import SQUEEZED, _scaled

from .conftest import photograph


def pixels(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo).astype(np.float32) / 255


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(photograph(120, 160))


@pytest.fixture(scope="module")
def looks(photo) -> list[Image.Image]:
    return [look(photo, np.random.default_rng(seed)) for seed in range(200)]


def test_a_look_changes_less_than_damage_that_people_see(looks, photo):
    upright = [distance(pixels(one), pixels(photo)) for one in looks if one.size == photo.size]
    darkened, desaturated = (distance(distort(pixels(photo), kind, 4, 0), pixels(photo)) for kind in (17, 7))
    assert 0.01 < np.median(upright) < 0.5 * min(darkened, desaturated)
    assert max(upright) < max(darkened, desaturated)


def test_some_looks_are_turned_by_a_quarter(looks, photo):
    turned = [one for one in looks if one.size == photo.size[::-1]]
    assert len(turned) / len(looks) == pytest.approx(TURNED, abs=0.1)
    left, right = (pixels(photo.rotate(angle, expand=True)) for angle in (90, 270))
    nearer_left = np.array([distance(pixels(one), left) < distance(pixels(one), right) for one in turned])
    assert 0.2 < nearer_left.mean() < 0.8
    assert min(distance(pixels(turned[0]), side) for side in (left, right)) < 0.5 * distance(left, right)


def test_black_and_white_stay(photo):
    ends = np.zeros((2, 2, 3), np.uint8)
    ends[0] = 255
    for seed in range(20):
        values = np.sort(np.asarray(look(Image.fromarray(ends), np.random.default_rng(seed))).ravel())
        np.testing.assert_array_equal(values, [0] * 6 + [255] * 6)


@pytest.mark.parametrize(("turn", "factor"), [(0.0, 1.0), (0.2, 0.7), (-0.2, 1.3)])
def test_colours_keep_greys_and_lightness(turn, factor):
    colours, luma = _colours(turn, factor), np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(colours.sum(1), 1)
    np.testing.assert_allclose(luma @ colours, luma, atol=1e-12)
    # The rest is stretched by the factor, whatever the turn.
    chroma = (np.eye(3) - np.ones((3, 1)) * luma) @ colours
    assert abs(np.linalg.eigvals(chroma)).max() == pytest.approx(factor, rel=0.05)
    np.testing.assert_array_equal(np.isclose(colours, np.eye(3)).all(), turn == 0)


def test_same_seed_same_look(looks, photo):
    again = look(photo, np.random.default_rng(3))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(looks[3]))
    assert len({one.tobytes() for one in looks}) == len(looks)


def test_proportions_change_with_looks_only(photo):
    ratios = {True: set(), False: set()}
    for looks, found in ratios.items():
        for seed in range(60):
            scaled = _scaled(photo, (100, 120), np.random.default_rng(seed), looks)
            found.add(max(scaled.size) / min(scaled.size))
    assert max(ratios[False]) - min(ratios[False]) < 0.02
    assert SQUEEZED * 160 / 120 - 0.01 < min(ratios[True]) < 1.15
    assert 1.25 < max(ratios[True]) < 1.34


@pytest.mark.parametrize("plan", PLANS)
def test_photographs_of_validation_stay_as_they_are(plan, few_crops):
    for looks in (False, True):
        make_crops(few_crops, few_crops / str(looks), rounds=1, plan=plan, looks=looks)
    plain, other = (crops_set(few_crops / str(looks)) for looks in (False, True))
    held_out = plain.indices(SPLIT, "val")
    np.testing.assert_array_equal(plain.mos[held_out], other.mos[held_out])
    changed = (crop_pixels(few_crops / "False") != crop_pixels(few_crops / "True")).any((1, 2, 3))
    assert not changed[held_out].any()
    assert changed[plain.indices(SPLIT, "train")].all()


@pytest.mark.parametrize(("kind", "sign"), [(16, 1), (17, -1)])
def test_a_drawn_curve_goes_one_way_and_keeps_the_order(kind, sign):
    ramp = np.linspace(0, 1, 200, dtype=np.float32)[None, :, None] * np.ones((2, 1, 3), np.float32)
    (curve,) = (make for make in IMPLEMENTATIONS[kind] if make.__name__.startswith("_curve"))
    for seed in range(300):
        for strength in (0.1, 1.0):
            bent = curve(ramp, strength, np.random.default_rng(seed))
            assert (sign * (bent - ramp)).min() > -0.001  # half a step of its table
            assert np.diff(bent, axis=1).min() >= -1e-6
            assert 0 <= bent.min() <= bent.max() <= 1
