"""Dead leaves: the same seed gives the same image, and its statistics are those of natural scenes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from liqe_jax.errors import UsageError
from liqe_jax.synthetic.leaves import LARGEST, SMALLEST, dead_leaves, radii


def test_one_seed_one_image() -> None:
    image = dead_leaves(3, 48, 80)
    assert image.shape == (48, 80, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, dead_leaves(3, 48, 80))
    assert (image != dead_leaves(4, 48, 80)).mean() > 0.5


def test_radii_follow_the_power_law() -> None:
    """With density r^-3, a quarter of all the radii beyond r lie beyond 2 r, far below the largest."""
    drawn = radii(np.random.default_rng(0), 200_000, 1000.0)
    assert drawn.min() >= SMALLEST
    assert drawn.max() <= 1000.0
    assert (drawn > 2 * SMALLEST).mean() == pytest.approx(0.25, abs=0.01)
    assert (drawn > 4 * SMALLEST).mean() == pytest.approx(1 / 16, abs=0.005)


def test_power_falls_as_in_photographs() -> None:
    """Photographs' power falls with frequency to about the power of -2; white noise's would not fall."""
    side = 256
    window = np.hanning(side)[:, None] * np.hanning(side)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    slopes = []
    for seed in range(6):
        grey = dead_leaves(seed, side, side).mean(axis=2)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        edges = np.geomspace(4 / side, 0.35, 12)
        bins = [(frequency >= low) & (frequency < high) for low, high in itertools.pairwise(edges)]
        means = [np.log(power[hit].mean()) for hit in bins]
        slopes.append(np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), means, 1)[0])
    assert -3.3 < np.mean(slopes) < -1.7


def test_every_scale_is_covered() -> None:
    """Discs cover the ground: no colour takes more than a largest disc and what the mean colour may keep."""
    image = dead_leaves(0, 128, 128)
    _, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    assert counts.max() <= np.pi * (LARGEST * 128) ** 2
    assert len(counts) > 100


@pytest.mark.parametrize(("seed", "height", "width"), [(-1, 32, 32), (0, 15, 32), (0, 32, 0)])
def test_bad_arguments_are_refused(seed: int, height: int, width: int) -> None:
    with pytest.raises(UsageError, match="dead leaves need"):
        dead_leaves(seed, height, width)
