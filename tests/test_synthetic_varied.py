"""Varied copies of photographs: re-encoding, tones, and the cells that a photograph goes through."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from liqe_jax.synthetic import KINDS, augment, distort
from liqe_jax.synthetic.augment import other_tones
from liqe_jax.synthetic.matching import distance
from liqe_jax.synthetic.varied import LONGEST_SIDE, PRISTINE, Copy, copies_of, make_copy

from .conftest import photograph


def floating(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return photograph(232, 300)


def test_reencoding_changes_less_than_the_mildest_distortion(picture):
    jpeg, noise = (distance(distort(floating(picture), kind, 1, 0), floating(picture)) for kind in (10, 11))
    moved = []
    for seed in range(150):
        after = augment.reencoded(picture, np.random.default_rng(seed))
        assert after.shape == picture.shape
        assert after.dtype == np.uint8
        moved.append(distance(floating(after), floating(picture)))
    moved = np.array(moved)
    assert (moved > 0).mean() == pytest.approx(augment.SHARE, abs=0.1)
    assert moved.max() < min(jpeg, noise)


@pytest.mark.parametrize("way", [augment.as_jpeg, augment._twice, augment._webp, augment._noisy, augment._noisy_jpeg])
def test_every_way_changes_a_picture_and_is_repeatable(way, picture):
    one, again, other = (way(picture, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert (one != picture).any()
    assert (one != other).any()


def test_the_first_of_two_jpegs_has_its_blocks_elsewhere(picture, monkeypatch):
    sizes: list[tuple[int, ...]] = []
    monkeypatch.setattr(augment, "as_jpeg", lambda pixels, rng, qualities: sizes.append(pixels.shape) or pixels)
    for seed in range(200):
        np.testing.assert_array_equal(augment._twice(picture, np.random.default_rng(seed)), picture)
    height, width = picture.shape[:2]
    assert {h - height for h, _, _ in sizes[::2]} == {w - width for _, w, _ in sizes[::2]} == set(range(8))
    assert set(sizes[1::2]) == {picture.shape}


@pytest.mark.parametrize("seed", range(4))
def test_tones_change_mildly_and_repeatably(picture, seed):
    photo = Image.fromarray(picture)
    one, again = (np.asarray(other_tones(photo, np.random.default_rng(seed))) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    # Turned or not, the distribution of each channel moves, and by less than the strongest distortions of colour.
    moved = np.abs(np.sort(one.reshape(-1, 3), axis=0) - np.sort(picture.reshape(-1, 3), axis=0).astype(float)).mean()
    assert 0.5 < moved < 40


def test_copies_go_through_all_cells_in_turn():
    copies = [copy for seed in range(50) for copy in copies_of(125, np.random.SeedSequence(seed)) if copy.varied]
    assert len(copies) == 50 * 125
    pristine = np.mean([copy.kind == 0 for copy in copies])
    assert pristine == pytest.approx(PRISTINE, abs=0.02)
    kinds = np.bincount([copy.kind for copy in copies if copy.kind], minlength=26)[1:]
    assert set(KINDS) == set(range(1, 26))
    assert kinds.min() > 0.8 * kinds.mean()
    assert {copy.level for copy in copies if copy.kind} > {1.0, 2.0, 3.0, 4.0, 5.0}
    assert all(1 <= copy.level <= 5 for copy in copies if copy.kind)
    assert copies_of(5, np.random.SeedSequence(3)) == copies_of(5, np.random.SeedSequence(3))


def test_a_copy_is_repeatable_and_shows_its_distortion(picture):
    photo = Image.fromarray(picture)
    one, again = (make_copy(photo, Copy(1, 5.0), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    sharp = make_copy(photo, Copy(0, 0.0), np.random.default_rng(4))

    def detail(pixels):
        return np.abs(np.diff(pixels.astype(np.float32), axis=1)).mean()

    assert detail(one) < 0.6 * detail(sharp)


@pytest.mark.parametrize("size", [(900, 600), (500, 640), (400, 300)])
def test_the_photograph_itself_is_the_last_of_its_copies(size):
    photo = Image.fromarray(photograph(size[1], size[0]))
    own = copies_of(3, np.random.SeedSequence(0))[-1]
    assert own == Copy(0, 0.0, varied=False)
    pixels = make_copy(photo, own, np.random.default_rng(0))
    assert max(pixels.shape) == min(max(size), LONGEST_SIDE)
    np.testing.assert_array_equal(pixels, np.asarray(photo.resize(pixels.shape[1::-1], Image.Resampling.LANCZOS)))
