"""Synthetic distortions: what every kind must keep, and what single ones must do."""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from liqe_jax.errors import ImageError, UsageError
from liqe_jax.synthetic import KINDS, LEVELS, distort
from liqe_jax.synthetic.blur import disk_kernel, line_kernel
from liqe_jax.synthetic.colour import edges
from liqe_jax.synthetic.distort import LARGEST
from liqe_jax.synthetic.noise import dct_matrix, dct_threshold
from liqe_jax.synthetic.quantization import least_variance
from liqe_jax.synthetic.spatial import JITTERS, jitter
from liqe_jax.taxonomy import DISTORTION

from .conftest import photograph

# Shifts and contrasts go both ways; their weakest levels stand in the middle.
BOTH_WAYS = (18, 25)
# Level 1 leaves the image alone, or nearly so.
FAINT = {(1, 1), (3, 1), (8, 1), (18, 3)}


@pytest.fixture(scope="module")
def image():
    return photograph(150, 201).astype(np.float32) / 255


@pytest.fixture(scope="module")
def grid(image):
    """Every kind at every level."""
    return {(kind, level): distort(image, kind, level, 0) for kind in KINDS for level in LEVELS}


def error(image, distorted):
    return float(np.square(distorted - image).mean())


def test_kinds_are_kadids():
    assert tuple(KINDS) == tuple(range(1, 26))
    labels = {number: kind.raw_label for number, kind in KINDS.items()}
    assert len(set(labels.values())) == 25
    assert [labels[number] for number in (1, 8, 15, 20, 25)] == [
        "gaussian blur",
        "desaturation",
        "white noise with denoise",
        "noneccentricity patch",
        "contrast",
    ]
    assert all(kind.number == number and kind.category in DISTORTION.labels for number, kind in KINDS.items())
    assert (str(KINDS[10]), KINDS[10].parameters, KINDS[10].category) == (
        "JPEG",
        (43, 36, 24, 7, 4),
        "jpeg compression",
    )
    assert [KINDS[1].at(level) for level in (1, 4, 4.5, 5)] == [0.1, 2, 3.5, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_form_range_and_change(kind, image, grid):
    before = image.copy()
    for level in LEVELS:
        distorted = grid[kind, level]
        assert (distorted.shape, distorted.dtype) == (image.shape, np.float32)
        assert distorted.min() >= 0
        assert distorted.max() <= 1
        if (kind, level) not in FAINT:
            assert error(image, distorted) > 1e-5
        else:
            assert error(image, distorted) < 1e-5
        np.testing.assert_array_equal(distort(image, kind, level, 0), distorted)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BOTH_WAYS])
def test_levels_grow(kind, image, grid):
    errors = [error(image, grid[kind, level]) for level in LEVELS]
    assert all(low < high for low, high in itertools.pairwise(errors)), errors
    between = error(image, distort(image, kind, 4.5, 0))
    assert errors[3] * 0.999 <= between <= errors[4] * 1.001


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_levels_that_go_both_ways(kind, image, grid):
    spread = [float(grid[kind, level].mean() if kind == 18 else grid[kind, level].std()) for level in LEVELS]
    assert all(high > low for high, low in itertools.pairwise(spread)), spread


RANDOM = (3, 5, 11, 12, 13, 14, 15, 19, 20, 23)


@pytest.mark.parametrize("kind", KINDS)
def test_only_random_kinds_follow_the_seed(kind, image, grid):
    same = np.array_equal(distort(image, kind, 5, 2), grid[kind, 5])
    assert same == (kind not in RANDOM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 64), (65, 131), (97, 64)])
def test_sizes(kind, shape):
    pixels = photograph(*shape).astype(np.float32) / 255
    for level in (1, 2.7, 5):
        distorted = distort(pixels, kind, level, 3)
        assert distorted.shape == pixels.shape
        assert np.isfinite(distorted).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_flat_images(kind, value):
    flat = np.full((70, 90, 3), value, np.float32)
    for level in LEVELS:
        distorted = distort(flat, kind, level, 0)
        assert np.isfinite(distorted).all()
        assert 0 <= distorted.min() <= distorted.max() <= 1
        if kind in (1, 2, 3, 4, 5, 7, 8, 9, 10, 19, 20, 21, 24):
            np.testing.assert_allclose(distorted, flat, atol=0.02)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (11, 12, 13, 14, 15, 23)])
def test_grey_stays_grey(kind, image):
    grey = np.repeat(image[..., :1], 3, axis=2)
    distorted = distort(grey, kind, 5, 0)
    # A shift of green alone gives colours, as it should.
    assert (np.ptp(distorted, axis=2).max() > 0.1) == (kind == 5)


def test_views_are_as_good_as_copies(image):
    view = image[::-1, ::2]
    for kind in (4, 9, 19):
        np.testing.assert_array_equal(distort(view, kind, 3, 0), distort(view.copy(), kind, 3, 0))


def test_edges_are_the_same_wherever_they_lie_in_memory(monkeypatch):
    sobel = cv2.Sobel
    view = np.random.default_rng(0).random((384, 512, 3)).astype(np.float32)

    def placed(*arguments, offset, **options):
        found = sobel(*arguments, **options)
        memory = np.zeros(found.size + 64, np.float32)
        start = -(memory.ctypes.data // 4) % 16 + offset
        memory[start : start + found.size] = found.ravel()
        return memory[start : start + found.size].reshape(found.shape)

    results = []
    for offset in range(16):
        monkeypatch.setattr(cv2, "Sobel", functools.partial(placed, offset=offset))
        results.append(edges(view))
    assert all((result == results[0]).all() for result in results)


def test_the_largest_image():
    """Type 19 has the narrowest limit, type 10 JPEG's."""
    image = np.full((64, LARGEST, 3), 0.5, np.float32)
    assert all(distort(image, kind, 3, 0).shape == image.shape for kind in (5, 10, 19))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: (x * 255).astype(np.uint8), "got uint8"),
        (lambda x: x.astype(np.float64), "got float64"),
        (lambda x: x.tolist(), "got list"),
        (lambda x: x[..., 0], "got shape"),
        (lambda x: np.concatenate([x, x[..., :1]], 2), "got shape"),
        (lambda x: x[:63], "got shape"),
        (lambda x: np.zeros((64, 32767, 3), np.float32), r"got shape \(64, 32767, 3\)\. Shrink it"),
        (lambda x: np.zeros((32767, 64, 3), np.float32), r"got shape \(32767, 64, 3\)\. Shrink it"),
        (lambda x: x * 255, "got values"),
        (lambda x: x - 0.5, "got values"),
        (lambda x: x * np.float32("nan"), "got values"),
    ],
)
def test_wrong_images(image, change, words):
    with pytest.raises(ImageError, match=words):
        distort(change(image), 1, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((kind, 1, 0), "a kind from 1 to 25") for kind in (0, 26, True, 1.0, "1")]
    + [((1, level, 0), "a level from 1 to 5") for level in (0, 5.1, float("nan"), True, "1")]
    + [((1, 1, seed), "as seed") for seed in (-1, 0.0, None)],
)
def test_wrong_arguments(image, arguments, words):
    with pytest.raises(UsageError, match=words):
        distort(image, *arguments)


def test_strengths_are_as_stated():
    """Noise has its variance and density, shift its amount, on an image that nothing is clipped on."""
    flat = np.full((256, 256, 3), 0.5, np.float32)
    assert np.var(distort(flat, 11, 5, 0)) == pytest.approx(0.01, rel=0.05)
    assert np.var(distort(flat, 14, 3, 0)) == pytest.approx(0.01 / 4, rel=0.05)
    impulses = distort(flat, 13, 5, 0)
    assert (impulses == 0).mean() == pytest.approx(0.015, rel=0.1)
    assert (impulses == 1).mean() == pytest.approx(0.015, rel=0.1)
    luma = distort(flat, 12, 5, 0) @ np.float32([0.299, 0.587, 0.114]) * 219 / 255
    assert np.var(luma) == pytest.approx(0.003, rel=0.05)
    np.testing.assert_allclose(distort(flat, 18, 1, 0), 0.65, atol=1e-6)
    np.testing.assert_allclose(distort(flat, 17, 3, 0), 0.4, atol=1e-6)
    np.testing.assert_allclose(distort(flat, 16, 1, 0), (2 * 0.55 + 0.55) / 3, atol=0.01)
    np.testing.assert_allclose(distort(flat * 0.6, 25, 1, 0), 0.25 - 0.3 / 4, atol=1e-5)
    assert len(np.unique(distort(photograph(150, 200).astype(np.float32) / 255, 22, 5, 0))) <= 8
    colours = distort(photograph(150, 200).astype(np.float32) / 255, 6, 5, 0).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) <= 8


@pytest.mark.parametrize(("factor", "level"), [(0.4, 1), (0, 4)])
def test_hsv_saturation_against_colorsys(factor, level, image):
    import colorsys

    for pixel in image[::50, ::50].reshape(-1, 3):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        expected = colorsys.hsv_to_rgb(hue, saturation * factor, value)
        block = np.broadcast_to(pixel, (64, 64, 3)).copy()
        np.testing.assert_allclose(distort(block, 7, level, 0)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("radius", [1, 1.3, 4, 8])
def test_disk(radius):
    kernel = disk_kernel(radius)
    np.testing.assert_allclose(kernel, kernel.T)
    assert kernel.sum() == pytest.approx(1)
    # Pixels in the middle are covered entirely, by 1 / area.
    assert kernel[len(kernel) // 2, len(kernel) // 2] == pytest.approx(1 / (np.pi * radius**2), rel=0.03)


def test_lines():
    np.testing.assert_array_equal(line_kernel(1, 1.0), [[1]])
    np.testing.assert_allclose(line_kernel(5, 0), np.eye(5)[[2]].T @ np.full((1, 5), 0.2), atol=1e-12)
    for angle in (0.3, 1.2, 2.9):
        kernel = line_kernel(10, angle)
        y, x = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
        # The long axis of its second moments points along the angle; rows count downwards.
        covariance = np.array([[(kernel * a * b).sum() for a in (x, -y)] for b in (x, -y)])
        long_axis = np.linalg.eigh(covariance)[1][:, 1]
        assert abs(long_axis @ (np.cos(angle), np.sin(angle))) == pytest.approx(1, abs=1e-3)


def test_dct_blocks():
    matrix = dct_matrix()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(8), atol=1e-6)
    picture = photograph(75, 93).astype(np.float32) / 255
    np.testing.assert_allclose(dct_threshold(picture, 0), picture, atol=1e-5)
    noisy = picture + np.random.default_rng(0).normal(0, 0.1, picture.shape).astype(np.float32)
    assert error(picture, dct_threshold(noisy, 0.27)) < error(picture, noisy) / 2


def test_thresholds_of_least_variance():
    counts = np.zeros(256)
    counts[[10, 12, 100, 104, 200]] = 5, 5, 3, 3, 1
    np.testing.assert_allclose(least_variance(counts, 2) * 255, [(11 + 102) / 2, (102 + 200) / 2])


def test_the_page_states_the_parameters():
    page = (Path(__file__).parent.parent / "docs" / "synthetic.md").read_text("utf-8")
    for kind in KINDS.values():
        values = ", ".join(f"{value:g}" for value in kind.parameters)
        row = (kind.number, kind.name, kind.raw_label, kind.category, kind.parameter, values)
        assert f"| {' | '.join(map(str, row))} |" in page


@pytest.mark.parametrize("level", LEVELS)
def test_pixelation_takes_the_nearest_pixels(image, level):
    """In exact arithmetic, which no version of OpenCV so far agrees with."""

    def nearest(side: int, scale: Fraction) -> list[int]:
        small = math.ceil(side * float(scale))
        shrunk = [math.floor((place + Fraction(1, 2)) * side / small) for place in range(small)]
        return [shrunk[math.floor((place + Fraction(1, 2)) * small / side)] for place in range(side)]

    scale = Fraction(0.95 - KINDS[21].at(level) ** 0.6)
    rows, columns = (nearest(side, scale) for side in image.shape[:2])
    np.testing.assert_array_equal(distort(image, 21, level, 0), image[rows][:, columns])


def test_jitter_interpolates_between_pixels(image):
    """As OpenCV does since 5.0; before, it rounded places to a 32nd of a pixel."""
    height, width = image.shape[:2]
    rng, expected = np.random.default_rng(3), image
    for _ in range(JITTERS):
        shift = rng.standard_normal((2, height, width), np.float32)
        x = np.clip(np.arange(width) + np.float64(shift[0]), 0, width - 1)[..., None]
        y = np.clip(np.arange(height)[:, None] + np.float64(shift[1]), 0, height - 1)[..., None]
        left, top = np.floor(x).astype(int)[..., 0], np.floor(y).astype(int)[..., 0]
        right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        above = expected[top, left] * (1 - x % 1) + expected[top, right] * (x % 1)
        under = expected[below, left] * (1 - x % 1) + expected[below, right] * (x % 1)
        expected = above * (1 - y % 1) + under * (y % 1)
    np.testing.assert_allclose(jitter(image, 1, np.random.default_rng(3)), expected, atol=2e-5)
