"""Accuracy, bootstrap and significance, as functions of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from liqe_jax import LiqeError
from liqe_jax.errors import DataError, UsageError
from liqe_jax.metrics import accuracy as counting
from liqe_jax.metrics.bootstrap import counts_of_draws, plcc_interval, srcc_interval, srcc_of_counts
from liqe_jax.metrics.correlation import plcc, srcc
from liqe_jax.metrics.significance import compare_models, paired_bootstrap, williams

METHODS = ("percentile", "bca")


def pair(count: int = 60, noise: float = 0.5, seed: int = 0, ties: bool = False):
    rng = np.random.default_rng(seed)
    mos = rng.normal(size=count)
    predicted = mos + noise * rng.normal(size=count)
    return (np.round(mos, 1), np.round(predicted, 1)) if ties else (mos, predicted)


# Accuracy


def test_top_k_recall_is_all_hits_over_all_labels():
    p = np.array([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    scenes = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]], bool)
    assert counting.top_k_recall(p, scenes) == pytest.approx((1 + 1 + 0) / 4)
    np.testing.assert_allclose(counting.recall_by_scene(p, scenes), [1, 0, 0, 1])


def test_top_k_recall_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    p, scenes = rng.dirichlet(np.ones(9), 50), rng.random((50, 9)) < 0.25
    scenes[np.arange(50), rng.integers(0, 9, 50)] = True
    hits = labels = 0
    for row, has in zip(p, scenes, strict=True):
        true = set(np.flatnonzero(has))
        hits += len(true & set(np.argsort(-row)[: len(true)]))
        labels += len(true)
    assert counting.top_k_recall(p, scenes) == pytest.approx(hits / labels, abs=1e-15)


def test_equal_probabilities_find_the_earlier_label():
    p = np.full((1, 4), 0.25)
    assert counting.top_k_recall(p, np.array([[True, True, False, False]])) == 1
    assert counting.top_k_recall(p, np.array([[False, False, True, True]])) == 0


def test_accuracy_leaves_unknown_labels_out():
    p = np.eye(3)[[0, 1, 2, 2, 0]]
    label = np.array([0, 1, 1, -1, -1])
    assert counting.accuracy(p, label) == pytest.approx(2 / 3)
    assert counting.confusion(p, label).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(counting.accuracy_by_label(p, label), [1, 0.5, np.nan])


def test_scene_confusion_counts_single_scenes_only():
    p = np.eye(3)[[0, 1, 2]]
    scenes = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], bool)
    assert counting.scene_confusion(p, scenes).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert counting.scene_confusion(p[2:], scenes[2:]).sum() == 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: counting.accuracy(np.eye(3), np.full(3, -1)), "None of the 3 images"),
        (lambda: counting.accuracy(np.eye(3), np.array([0, 1, 3])), "Label 3 is out of range"),
        (lambda: counting.accuracy(np.eye(3), np.array([0, 1])), "one label for each of 3"),
        (lambda: counting.accuracy(np.full((3, 3), np.nan), np.arange(3)), "NaN"),
        (lambda: counting.top_k_recall(np.eye(3), np.zeros((3, 3), bool)), "at least one scene"),
        (lambda: counting.top_k_recall(np.zeros((0, 3)), np.zeros((0, 3), bool)), "at least one image"),
        (lambda: counting.top_k_recall(np.eye(3), np.ones((3, 2), bool)), "same shape"),
    ],
)
def test_accuracies_that_make_no_sense(call, match):
    with pytest.raises(DataError, match=match):
        call()


# Bootstrap


def by_scipy(statistic, *arrays, resamples: int, method: str, seed: int, confidence: float = 0.95):
    """SciPy's interval, on the same draws."""
    found = stats.bootstrap(
        arrays,
        statistic,
        n_resamples=resamples,
        paired=True,
        vectorized=False,
        confidence_level=confidence,
        method="BCa" if method == "bca" else method,
        rng=np.random.default_rng(np.random.SeedSequence([seed, len(arrays[0])])),
    )
    return (statistic(*arrays), *found.confidence_interval)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("interval", "metric"), [(srcc_interval, srcc), (plcc_interval, plcc)])
def test_intervals_are_those_of_scipy(interval, metric, method, ties):
    mos, predicted = pair(40, ties=ties)
    options = {"resamples": 60, "method": method, "seed": 3}
    expected = by_scipy(metric, mos, predicted, **options)
    np.testing.assert_allclose(interval(mos, predicted, **options), expected, atol=1e-12)
    assert expected[1] < expected[0] < expected[2]


@pytest.mark.parametrize(("interval", "metric"), [(srcc_interval, srcc), (plcc_interval, plcc)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_bca_corrects_bias_and_acceleration(interval, metric, confidence):
    """Two heavy-tailed samples, on which both corrections matter."""
    mos = np.log(1 - (np.arange(30) + 0.5) / 30) ** 3
    predicted = 4 * np.cos(5.0 * np.arange(30) ** 2) - mos
    options = {"resamples": 999, "confidence": confidence, "seed": 4}
    found = interval(mos, predicted, method="bca", **options)
    np.testing.assert_allclose(found, by_scipy(metric, mos, predicted, method="bca", **options), rtol=1e-9)
    plain = interval(mos, predicted, **options)
    assert np.abs(np.subtract(plain[1:], found[1:])).max() > 0.04 * (plain.high - plain.low)


@pytest.mark.parametrize("method", METHODS)
def test_intervals_cover_the_truth_as_often_as_they_say(method):
    rho, hits = 0.8, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's correlation of a bivariate normal distribution
    for seed in range(200):
        draw = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 80)
        interval = srcc_interval(draw[:, 0], draw[:, 1], resamples=300, confidence=0.9, method=method, seed=seed)
        hits += interval.low <= truth <= interval.high
    assert 0.83 <= hits / 200 <= 0.96


@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_extremes(method):
    mos = np.arange(10.0)
    options = {"resamples": 50, "method": method}
    assert srcc_interval(mos, mos**3, **options) == pytest.approx((1, 1, 1))
    assert srcc_interval(mos, -mos, **options) == pytest.approx((-1, -1, -1))
    assert srcc_interval(mos, np.full(10, 0.1), **options) == (0, 0, 0)
    assert np.isfinite(srcc_interval(mos[:3], mos[:3] ** 2, **options)).all()


def test_a_constant_resample_counts_as_zero():
    counts = np.array([[3, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(srcc_of_counts(np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.4, 0.5]), counts), [0, 1])


def test_draws_depend_on_the_seed_alone():
    mos, predicted = pair()
    assert srcc_interval(mos, predicted, seed=1) == srcc_interval(mos, predicted, seed=1)
    assert srcc_interval(mos, predicted, seed=1) != srcc_interval(mos, predicted, seed=2)
    (counts,) = counts_of_draws(60, 7, 0)
    assert (counts.sum(1) == 60).all()
    assert len(counts) == 7


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 1.0}, {"method": "exact"}, {"seed": -1}])
def test_intervals_that_make_no_sense(options):
    with pytest.raises(UsageError, match="Expected at least 1 resample"):
        srcc_interval(*pair(), **options)


@pytest.mark.parametrize("bad", [np.array([1.0, 2.0]), np.array([1.0, np.nan, 2.0]), np.ones((3, 3))])
def test_intervals_of_what_has_no_correlation(bad):
    for call in (srcc_interval, plcc_interval):
        with pytest.raises(DataError):
            call(bad, bad)


# Significance


def test_williams_by_hand():
    # Worked through on paper: |R| = 1 - .16 - .04 - .25 + 2 * .04 = .63, mean .3.
    expected = 0.2 * np.sqrt(102 * 1.5 / (2 * 102 / 100 * 0.63 + 0.09 * 0.125))
    result = williams(0.4, 0.2, 0.5, 103)
    assert result.t == pytest.approx(expected, rel=1e-12)
    assert result.p == pytest.approx(2 * stats.t.sf(expected, 100))
    assert williams(0.2, 0.4, 0.5, 103).t == pytest.approx(-expected)


def test_williams_rejects_as_often_as_it_says():
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(1000):
        mos = rng.normal(size=50)
        first, second = (mos + rng.normal(size=50) for _ in range(2))
        rejected += williams(plcc(mos, first), plcc(mos, second), plcc(first, second), 50).p < 0.05
    assert 0.03 <= rejected / 1000 <= 0.075


def test_williams_where_nothing_is_left_to_chance():
    assert williams(0.7, 0.7, 1.0, 10)[:2] == (0.0, 1.0)
    assert williams(1.0, -1.0, -1.0, 10)[:2] == (np.inf, 0.0)
    assert williams(-1.0, 1.0, -1.0, 10)[:2] == (-np.inf, 0.0)
    for arguments in ((0.5, 0.4, 0.3, 3), (0.5, np.nan, 0.3, 30), (1.5, 0.2, 0.3, 30)):
        with pytest.raises(DataError):
            williams(*arguments)


@pytest.mark.parametrize("metric", ["srcc", "plcc"])
def test_a_better_model_is_significantly_better(metric):
    mos, good = pair(200, 0.3)
    bad = mos + np.random.default_rng(9).normal(0, 1.5, 200)
    result = compare_models(mos, good, bad, metric=metric)
    assert result.first > result.second
    assert result.williams.p < 1e-6
    assert result.bootstrap.p == pytest.approx(2 / 1001)
    assert 0 < result.bootstrap.low < result.bootstrap.value < result.bootstrap.high
    assert result.bootstrap.value == pytest.approx(result.first - result.second, abs=1e-12)
    swapped = compare_models(mos, bad, good, metric=metric)
    assert swapped.bootstrap.value == pytest.approx(-result.bootstrap.value)


def test_a_model_is_no_better_than_itself():
    mos, predicted = pair()
    result = compare_models(mos, predicted, predicted)
    assert result.williams[:2] == (0.0, 1.0)
    assert result.bootstrap == (0, 0, 0, 1)
    assert compare_models(mos, np.ones(60), predicted).second == pytest.approx(srcc(mos, predicted))


@pytest.mark.parametrize("scale", [0.1, 3.7, 1 / 3])
def test_a_model_on_another_scale_is_the_same_model(scale):
    mos, predicted = pair()
    result = compare_models(mos, predicted, scale * predicted + 0.3, metric="plcc")
    assert result.williams[:2] == (0.0, 1.0)
    assert result.bootstrap == (0, 0, 0, 1)


def test_rounding_is_no_difference():
    """Whatever the processor: correlations of copies differ by a few units of the last place."""
    assert williams(0.7, 0.7 + 4e-16, 1.0, 50)[:2] == (0.0, 1.0)
    assert williams(0.7, 0.7 + 1e-9, 1.0 - 1e-15, 50).p < 1  # a true one, however small


@pytest.mark.parametrize("metric", ["srcc", "plcc"])
@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_differences_equal_plain_ones(metric, method):
    mos, first = pair(40)
    second = mos + np.random.default_rng(4).normal(size=40)
    options = {"resamples": 80, "confidence": 0.8, "method": method, "seed": 2}
    correlation = {"srcc": srcc, "plcc": plcc}[metric]
    slow = by_scipy(lambda m, a, b: correlation(m, a) - correlation(m, b), mos, first, second, **options)
    found = compare_models(mos, first, second, metric=metric, **options).bootstrap
    np.testing.assert_allclose(found[:3], slow, atol=1e-12)


def test_differences_that_make_no_sense():
    mos, predicted = pair()
    with pytest.raises(UsageError, match="srcc, plcc"):
        paired_bootstrap(mos, predicted, predicted, metric="rmse")
    for options in ({"resamples": 0}, {"confidence": 2}, {"method": "exact"}, {"seed": -1}):
        for call in (paired_bootstrap, compare_models):
            with pytest.raises(UsageError, match="Expected at least 1 resample"):
                call(mos, predicted, predicted, **options)
    for wrong in (predicted[:5], np.full(60, np.nan)):
        with pytest.raises(LiqeError):
            compare_models(mos, predicted, wrong)
