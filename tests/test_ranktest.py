"""D-, L- and P-test with scorers of known answers, and `liqe ranktest` as a user runs it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from liqe_jax.compare.ranktest import d_test, expected_consistency, l_test, p_test
from liqe_jax.compare.ranktest_run import (
    LEVELS,
    Rendering,
    renderings,
    run_rank_tests,
    score_renderings,
    scorer_of,
)
from liqe_jax.errors import DataError, UsageError
from liqe_jax.images.decode import decode_upright

from .conftest import photograph

KINDS = (1, 2, 3)


def test_d_test_by_hand():
    result = d_test(np.array([3, 4, 5.0]), np.array([1, 2, 3.5, 1.0]))
    # Above 2.5: all three pristine; at most 2.5: three of four distorted.
    assert (result.accuracy, result.threshold) == ((1 + 3 / 4) / 2, 2.5)
    assert (result.pristine, result.distorted) == (3, 4)


def test_d_test_against_every_threshold():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pristine, distorted = rng.integers(0, 6, 15) + 1.0, rng.integers(0, 6, 40) + 0.0
        cuts = np.arange(-1, 9) + 0.5
        expected = max(((pristine > t).mean() + (distorted <= t).mean()) / 2 for t in cuts)
        result = d_test(pristine, distorted)
        assert result.accuracy == pytest.approx(expected, abs=1e-12)
        at = ((pristine > result.threshold).mean() + (distorted <= result.threshold).mean()) / 2
        assert at == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("pristine", "distorted", "accuracy"),
    [([5, 5], [1, 4], 1), ([1, 2], [3, 4], 0.5), ([3, 3], [3, 3], 0.5), ([5, np.nan], [np.nan, 1], 1)],
)
def test_d_test_of_an_oracle_its_reverse_and_a_constant(pristine, distorted, accuracy):
    assert d_test(np.array(pristine, float), np.array(distorted, float)).accuracy == accuracy


def test_d_test_needs_both_classes():
    with pytest.raises(DataError, match="0 pristine and 1 distorted"):
        d_test(np.array([np.nan]), np.array([1.0]))


def test_l_test_of_known_answers():
    falling = np.broadcast_to(-np.array(LEVELS, float), (4, 3, 5))
    oracle, reverse, constant = l_test(falling), l_test(-falling), l_test(falling * 0)
    assert (oracle.srcc, oracle.krcc, oracle.lists, oracle.incomplete) == (pytest.approx(1), pytest.approx(1), 12, 0)
    assert (reverse.srcc, reverse.krcc) == (pytest.approx(-1), pytest.approx(-1))
    assert (constant.srcc, constant.krcc) == (0, 0)
    np.testing.assert_allclose(oracle.srcc_by_kind, [1, 1, 1])
    noise = l_test(np.random.default_rng(0).normal(size=(2000, 5, 5)))
    # The mean of 10,000 lists of variance 1/4.
    assert abs(noise.srcc) < 4 * 0.5 / 100


def test_l_test_against_scipy_with_ties():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, (5, 2, 5)).astype(float)
    scores[0, 0] = [4, 3, 2, 2, 1]
    fall = -np.arange(5)
    expected = [
        [0 if np.ptp(row) == 0 else correlate(row, fall).statistic for row in scores.reshape(-1, 5)]
        for correlate in (stats.spearmanr, stats.kendalltau)
    ]
    result = l_test(scores)
    assert result.srcc == pytest.approx(np.mean(expected[0]), abs=1e-12)
    assert result.krcc == pytest.approx(np.mean(expected[1]), abs=1e-12)
    np.testing.assert_allclose(result.srcc_by_kind, np.reshape(expected[0], (5, 2)).mean(0), atol=1e-12)


def test_l_test_leaves_incomplete_lists_out():
    scores = np.broadcast_to(-np.array(LEVELS, float), (2, 2, 5)).copy()
    scores[:, 1, 3] = np.nan
    result = l_test(scores)
    assert (result.srcc, result.lists, result.incomplete) == (pytest.approx(1), 2, 2)
    np.testing.assert_array_equal(np.isnan(result.srcc_by_kind), [False, True])
    with pytest.raises(DataError, match="scores at all 5 levels"):
        l_test(scores * np.nan)
    with pytest.raises(UsageError, match="got shape"):
        l_test(scores[0])


def test_p_test_of_known_answers():
    mos = np.random.default_rng(2).uniform(1, 5, 300)
    pairs = sum(abs(a - b) > 1 for a, b in itertools.combinations(mos, 2))
    oracle, reverse, constant = p_test(mos, mos), p_test(-mos, mos), p_test(mos * 0, mos)
    assert (oracle.consistency, oracle.tied, oracle.pairs) == (1, 0, pairs)
    assert (reverse.consistency, reverse.tied, reverse.pairs) == (0, 0, pairs)
    assert (constant.consistency, constant.tied, constant.pairs) == (0, 1, pairs)
    assert p_test(np.random.default_rng(3).normal(size=300), mos).consistency == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("margin", [0, 1, 2.5])
def test_p_test_against_loops(margin):
    rng = np.random.default_rng(4)
    mos, scores = rng.integers(0, 9, 60) / 2, rng.integers(0, 12, 60).astype(float)
    scores[7] = np.nan
    pairs = [(i, j) for i in range(60) for j in range(60) if 7 not in (i, j) and mos[i] - mos[j] > margin]
    result = p_test(scores, mos, margin)
    assert result.pairs == len(pairs)
    assert result.consistency == sum(scores[i] > scores[j] for i, j in pairs) / len(pairs)
    assert result.tied == sum(scores[i] == scores[j] for i, j in pairs) / len(pairs)


def test_p_test_wrong_use():
    with pytest.raises(DataError, match="lower the margin"):
        p_test(np.arange(3.0), np.array([1, 1.5, 2]))
    for mos in ([1, 2], [1, np.nan, 2]):
        with pytest.raises(UsageError, match="a finite MOS for every score"):
            p_test(np.arange(3.0), np.array(mos, float))
    for margin in (-1, np.nan, np.inf):
        with pytest.raises(UsageError, match="margin must be a number of at least 0"):
            p_test(np.arange(3.0), np.arange(3.0), margin)


def test_expected_consistency_is_what_single_images_would_give():
    means, sds = np.repeat([4.5, 3.0, 2.8, 1.2], 500), np.repeat([0.3, 0.9, 0.6, 0.5], 500)
    drawn = np.random.default_rng(5).normal(means, sds)
    assert expected_consistency(means, sds) == pytest.approx(p_test(drawn, means).consistency, abs=0.01)
    assert expected_consistency(means, sds * 0) == 1
    with pytest.raises(DataError, match="lower the margin"):
        expected_consistency(means, sds, margin=4)


def darken(image, kind, level, seed):
    """A distortion whose kind, level and seed can be read from the picture."""
    image = image * 0 + 0.5
    image[0, 0] = kind / 255, level / 255, seed % 251 / 255
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("pristine")
    for number in range(3):
        Image.fromarray(photograph(230, 300, number)).save(root / f"{number}.png")
    return root


NAMES = ["0.png", "1.png", "2.png"]


def read(rendering):
    """(kind, level) as a scorer finds them in the pixels; (0, 0) for a photograph."""
    pixels = np.asarray(rendering)
    assert pixels.dtype == np.uint8
    grey = (pixels[1:] == 128).all()
    return tuple(int(value) for value in pixels[0, 0, :2]) if grey else (0, 0)


def mos_of(kind, level):
    return 5 - 0.8 * level + 0.01 * kind, 0.5


SCORERS = {
    "oracle": lambda r: 5.0 if read(r) == (0, 0) else mos_of(*read(r))[0],
    "reverse": lambda r: -5.0 if read(r) == (0, 0) else -mos_of(*read(r))[0],
    "constant": lambda r: 3.0,
}


@pytest.mark.parametrize(
    ("scorer", "d", "rank", "p"), [("oracle", 1, 1, 1), ("reverse", 0.5, -1, 0), ("constant", 0.5, 0, 0)]
)
def test_all_tests_with_scorers_of_known_answers(photos, scorer, d, rank, p):
    wanted = list(renderings(photos, NAMES, KINDS, darken))
    rows = list(score_renderings(lambda images: map(SCORERS[scorer], images), wanted))
    assert len(rows) == 3 * (1 + 3 * 5)
    assert rows[0].keys() == {"image", "kind", "level", "quality"}
    tests = run_rank_tests(rows, mos_of)
    assert (tests.d.accuracy, tests.p.consistency) == (d, p)
    assert (tests.l.srcc, tests.l.krcc) == (pytest.approx(rank), pytest.approx(rank))
    assert (tests.photographs, tests.kinds, tests.failed) == (3, KINDS, 0)
    np.testing.assert_allclose(tests.d_by_kind, [d] * 3)
    assert (tests.d.pristine, tests.d.distorted, tests.l.lists) == (3, 45, 9)
    # Levels are 0.8 apart, so pairs need two levels between them.
    assert tests.p.pairs == sum((a - b) >= 2 for a in range(6) for b in range(1, 6) if a) * 81
    assert 0.85 < tests.people < 1


def test_levels_that_are_not_degrees_are_ordered_by_mos(photos):
    """Mean shift is brightest at level 1 and darkest at level 5; people mind neither at level 3."""

    def both_ways(kind, level):
        return 4.5 - abs(level - 3) + 0.1 * level, 0.3

    wanted = list(renderings(photos, NAMES, KINDS, darken))
    rows = list(score_renderings(lambda images: (both_ways(*read(r))[0] for r in images), wanted))
    tests = run_rank_tests(rows, both_ways)
    assert tests.l_by_mos.srcc == pytest.approx(1)
    assert tests.l.srcc == pytest.approx(-0.3)  # scores 2.6, 3.7, 4.8, 3.9, 3.0 against falling levels
    assert tests.l_by_mos.lists == 9


def test_images_without_a_score_are_left_out(photos):
    wanted = list(renderings(photos, NAMES, KINDS, darken))

    def score(images):
        for image in images:
            quality = SCORERS["oracle"](image)
            yield np.nan if image.key == ("1.png", 2, 3) else quality

    rows = list(score_renderings(score, wanted))
    assert [row["error"] for row in rows if "error" in row] == ["The score is nan."]
    tests = run_rank_tests(reversed(rows), mos_of)
    assert (tests.failed, tests.l.incomplete, tests.l.lists, tests.d.distorted) == (1, 1, 8, 44)
    assert (tests.d.accuracy, tests.l.srcc, tests.p.consistency) == (1, pytest.approx(1), 1)


def test_renderings_follow_seed_and_name_only(photos):
    def seeds(names, **options):
        wanted = renderings(photos, names, KINDS, darken, **options)
        return {r.key: np.asarray(r)[0, 0, 2] for r in wanted if r.level}

    alone, together, other = seeds(["1.png"]), seeds(NAMES), seeds(["1.png"], seed=1)
    assert all(together[key] == value for key, value in alone.items())
    assert len(set(alone.values())) == 1  # the same noise at every level of a kind, as far as it can be
    assert set(other.values()) != set(alone.values())


def test_photographs_are_shrunk_never_enlarged(photos):
    assert decode_upright(photos / "0.png", 150).shape == (115, 150, 3)
    assert decode_upright(photos / "0.png", 512).shape == (230, 300, 3)
    assert decode_upright(photos / "0.png", 0).shape == (230, 300, 3)
    rendering = Rendering("0.png", 0, 0, lambda: decode_upright(photos / "0.png", 0), darken, 0)
    np.testing.assert_array_equal(np.asarray(rendering), photograph(230, 300, 0))


@pytest.mark.parametrize(
    ("change", "words"), [(lambda s: s[:-1], "fewer scores than"), (lambda s: [*s, 1.0], "more scores than")]
)
def test_a_scorer_that_loses_count(photos, change, words):
    wanted = list(renderings(photos, ["0.png"], (1,), darken))
    with pytest.raises(DataError, match=words):
        list(score_renderings(lambda images: change([1.0 for _ in images]), wanted))


def test_too_little_to_test():
    with pytest.raises(DataError, match="Expected distorted images"):
        run_rank_tests([{"image": "a", "kind": 0, "level": 0, "quality": 1}], mos_of)


def test_without_clear_differences_there_is_no_p_test(photos):
    wanted = list(renderings(photos, NAMES, KINDS, darken))
    rows = list(score_renderings(lambda images: map(SCORERS["oracle"], images), wanted))
    tests = run_rank_tests(rows, mos_of, margin=4.5)
    assert (tests.p, tests.people) == (None, None)
    assert "No two of the 45 scored images differ by more than 4.5" in tests.without_p
    assert (tests.d.accuracy, tests.l.srcc) == (1, pytest.approx(1))
    assert run_rank_tests(rows, mos_of).without_p == ""
    with pytest.raises(UsageError, match="margin must be"):
        run_rank_tests(rows, mos_of, margin=-1)


def test_no_distortion_takes_a_negative_seed(photos):
    with pytest.raises(UsageError, match="seed must be at least 0; got -1"):
        next(renderings(photos, NAMES, KINDS, darken, seed=-1))


def test_a_model_is_a_scorer(photos, model):
    """The same scores as for arrays, and a photograph that cannot be read is a row."""
    wanted = list(renderings(photos, ["0.png", "absent.png"], (1,), darken))
    rows = list(score_renderings(scorer_of(model), wanted))
    assert rows[0]["quality"] == pytest.approx(model.score(photograph(230, 300, 0)).quality, abs=1e-5)
    assert rows[3]["quality"] == pytest.approx(model.score(np.asarray(wanted[3])).quality, abs=1e-5)
    assert [("error" in row) for row in rows] == [False] * 6 + [True] * 6
    assert "No such file" in rows[6]["error"]
