"""Where crops lie: the reference's grid against a plain unfold, and the even spread."""

from __future__ import annotations

import numpy as np
import pytest

from liqe_jax.images.grid import covered_share, cut, even_corners, every_sth, grid

# Height, width, stride, rows, columns, s = N // 15: counted by hand.
EXAMPLES = [
    (224, 224, 32, 1, 1, 1),
    (224, 255, 32, 1, 1, 1),
    (224, 256, 32, 1, 2, 1),
    (255, 256, 32, 1, 2, 1),
    (256, 256, 32, 2, 2, 1),
    (512, 768, 32, 10, 18, 12),  # LIVE
    (384, 512, 32, 6, 10, 4),  # KADID-10k
    (500, 500, 32, 9, 9, 5),  # CLIVE
    (768, 1024, 48, 12, 17, 13),  # KonIQ-10k
    (1024, 768, 48, 17, 12, 13),
    (768, 1023, 32, 18, 25, 30),  # one pixel less changes the whole grid
    (1023, 1023, 32, 25, 25, 41),
    (1024, 224, 48, 17, 1, 1),
    (1023, 224, 32, 25, 1, 1),
    (271, 1024, 48, 1, 17, 1),
    (272, 1024, 48, 2, 17, 2),
]


@pytest.mark.parametrize(("height", "width", "stride", "rows", "cols", "step"), EXAMPLES)
def test_reference_grid(height: int, width: int, stride: int, rows: int, cols: int, step: int):
    cells = grid(height, width)
    assert (cells.stride, cells.rows, cells.cols, len(cells)) == (stride, rows, cols, rows * cols)
    chosen = every_sth(cells, 15)
    np.testing.assert_array_equal(chosen, step * np.arange(min(15, rows * cols)))


def test_given_stride_overrides_the_size_rule():
    # pyiqa: always 32. KonIQ-10k is 18x26 there and every 31st crop is taken.
    cells = grid(768, 1024, stride=32)
    assert (cells.rows, cells.cols, cells.stride) == (18, 26, 32)
    assert every_sth(cells, 15)[1] == 31


@pytest.mark.parametrize("crop_size", [14, 224, 336, 384])
def test_crop_size(crop_size: int):
    cells = grid(crop_size + 63, crop_size + 64, crop_size=crop_size)
    assert (cells.rows, cells.cols) == (2, 3)
    assert grid(crop_size, crop_size, crop_size=crop_size).rows == 1


def unfold(image: np.ndarray, stride: int, crop_size: int) -> np.ndarray:
    """All crops in row order, as the reference gets them from torch's unfold: [N, crop, crop, 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (crop_size, crop_size), axis=(0, 1))[::stride, ::stride]
    return windows.transpose(0, 1, 3, 4, 2).reshape(-1, crop_size, crop_size, image.shape[-1])


@pytest.mark.parametrize("count", [1, 3, 15, 30])
@pytest.mark.parametrize("crop_size", [24, 31])
def test_chosen_crops_equal_a_plain_unfold(crop_size: int, count: int):
    # Small crops, or the unfolded array would take gigabytes; the rule does not depend on them.
    rng = np.random.default_rng(0)
    for height, width in [
        (crop_size, crop_size),
        (crop_size, crop_size + 1),
        (60, 90),
        (90, 60),
        (73, 128),
        (128, 31),
        (150, 200),
    ]:
        for stride in (1, 4, 7):
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            every = unfold(image, stride, crop_size)
            step = len(every) // count
            expected = every[[i * step for i in range(count)]] if step else every
            cells = grid(height, width, stride, crop_size)
            assert len(cells) == len(every)
            np.testing.assert_array_equal(cut(image, cells.corners(every_sth(cells, count)), crop_size), expected)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (300, 257), (768, 1024), (1030, 224)])
def test_corners_of_the_reference_grid_in_full(height: int, width: int):
    cells = grid(height, width)
    tops, lefts = range(0, height - 223, cells.stride), range(0, width - 223, cells.stride)
    expected = [(top, left) for top in tops for left in lefts]
    np.testing.assert_array_equal(cells.corners(np.arange(len(cells))), expected)


@pytest.mark.parametrize(("height", "width", "stride"), [(1662, 768, None), (1706, 768, None), (675, 1200, 32)])
def test_step_that_is_a_multiple_of_the_columns_stays_in_the_left_one(height: int, width: int, stride: int | None):
    # Phones held upright in the reference, 672 to 703 rows in pyiqa: kept, for parity.
    cells = grid(height, width, stride)
    corners = cells.corners(every_sth(cells, 15))
    assert (corners[:, 1] == 0).all()
    assert covered_share(corners, height, width)[1] == 224 / width


@pytest.mark.parametrize("count", range(1, 16))
def test_grid_smaller_than_the_count_is_taken_whole_without_repeats(count: int):
    cells = grid(224, 224 + 32 * (count - 1))
    np.testing.assert_array_equal(every_sth(cells, 15), np.arange(count))


# Covered share.


def test_covered_share_by_hand():
    corners = np.array([[0, 0], [10, 50], [10, 52]])
    # Rows 0..9 and 10..19 of 40; columns 0..9 and 50..61 of 100.
    assert covered_share(corners, 40, 100, crop_size=10) == (20 / 40, 22 / 100)


def test_covered_share_of_one_crop_that_fills_the_image():
    assert covered_share(np.array([[0, 0]]), 224, 224) == (1, 1)


# Even spread.

SIZES = [
    (224, 224),
    (225, 300),
    (240, 1024),
    (384, 512),
    (512, 768),
    (768, 1024),
    (1024, 768),
    (1662, 768),
    (4096, 224),
]


@pytest.mark.parametrize("count", range(1, 41))
def test_even_gives_exactly_the_count_inside_the_image(count: int):
    for height, width in SIZES:
        corners = even_corners(height, width, count)
        assert corners.shape == (count, 2)
        assert (corners >= 0).all()
        assert (corners[:, 0] <= height - 224).all()
        assert (corners[:, 1] <= width - 224).all()


@pytest.mark.parametrize("count", [4, 5, 7, 9, 15, 16, 30, 40])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_even_reaches_all_four_corners(height: int, width: int, count: int):
    corners = set(map(tuple, even_corners(height, width, count).tolist()))
    assert {(top, left) for top in (0, height - 224) for left in (0, width - 224)} <= corners


@pytest.mark.parametrize("count", [2, 3])
def test_even_reaches_two_opposite_edges_with_fewer(count: int):
    # Two or three crops side by side lie in the middle of the other axis.
    np.testing.assert_array_equal(even_corners(324, 624, 2), [[50, 0], [50, 400]])
    for height, width in SIZES:
        corners = even_corners(height, width, count)
        spans = np.ptp(corners, axis=0)
        assert (spans == (height - 224, width - 224)).any()


@pytest.mark.parametrize(("height", "width"), [(1662, 768), (1664, 768), (1706, 768), (768, 1662), (1024, 768)])
def test_even_spreads_over_both_axes_of_phone_shapes(height: int, width: int):
    corners = even_corners(height, width, 15)
    down, across = covered_share(corners, height, width)
    # Fifteen crops cannot cover a long image; below 0.6 results carry a warning.
    assert down > 0.6
    assert across > 0.6
    assert len(np.unique(corners[:, 0])) >= 3
    assert len(np.unique(corners[:, 1])) >= 3


def test_even_is_ordered_and_repeatable():
    for height, width in SIZES:
        corners = even_corners(height, width, 15)
        np.testing.assert_array_equal(corners, even_corners(height, width, 15))
        assert corners.tolist() == sorted(corners.tolist())


@pytest.mark.parametrize("count", [1, 2, 3, 7, 15, 16, 30, 40])
def test_even_positions_are_distinct_where_there_is_room(count: int):
    # Room: along each axis either none at all, or a pixel for every step between `count` crops,
    # and along one of them the latter. A narrower margin, such as 230 pixels, can give repeats.
    frees = [0, count - 1, count, 2 * count, 100, 544, 1438]
    for free_y in frees:
        for free_x in frees:
            if max(free_y, free_x) < count - 1 or 0 < min(free_y, free_x) < count - 1:
                continue
            corners = even_corners(224 + free_y, 224 + free_x, count)
            assert len(np.unique(corners, axis=0)) == count, (free_y, free_x)


def test_even_repeats_where_the_image_is_one_crop():
    np.testing.assert_array_equal(even_corners(224, 224, 15), np.zeros((15, 2)))


def test_even_single_crop_is_in_the_middle():
    np.testing.assert_array_equal(even_corners(424, 624, 1), [[100, 200]])


def test_even_nine_on_a_square_is_three_by_three():
    expected = [(top, left) for top in (0, 100, 200) for left in (0, 100, 200)]
    np.testing.assert_array_equal(even_corners(424, 424, 9), expected)


def test_even_with_another_crop_size():
    corners = even_corners(500, 600, 15, crop_size=336)
    assert corners[:, 0].max() == 500 - 336
    assert corners[:, 1].max() == 600 - 336


# Cutting.


def test_cut_copies_the_pixels_at_the_corners():
    image = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3)
    crops = cut(image, np.array([[0, 0], [3, 5], [12, 22]]), crop_size=8)
    assert crops.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(crops[1], image[3:11, 5:13])
    np.testing.assert_array_equal(crops[2], image[12:, 22:])
    crops[:] = 0
    assert image[0, 0, 1] == 1


# Parity.


@pytest.mark.goldens
def test_grid_matches_the_reference(golden):
    for name, image in golden("scores_tiny.json")["images"].items():
        for preprocessing, expected in image.items():
            cells = grid(expected["height"], expected["width"], 32 if preprocessing == "pyiqa" else None)
            assert cells.stride == expected["stride"], name
            for key in ("rows", "cols"):
                assert getattr(cells, key) == expected.get(key, getattr(cells, key)), name
            chosen = every_sth(cells, 15)
            np.testing.assert_array_equal(chosen, expected["selected"])
            if "top_left" in expected:
                np.testing.assert_array_equal(cells.corners(chosen), expected["top_left"])
