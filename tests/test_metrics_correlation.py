"""SRCC, KRCC, PLCC and RMSE: the reference's results, SciPy's, and degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from liqe_jax.errors import DataError
from liqe_jax.metrics import correlation
from liqe_jax.metrics.correlation import compute_metrics, fit_logistic, krcc, plcc, srcc


def pair(seed: int = 0, count: int = 60, noise: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(1, 5, count)
    mos = 100 / (1 + np.exp(-(predicted - 3) / 0.6)) + rng.normal(0, 10 * noise, count)
    return mos, predicted


@pytest.mark.goldens
def test_metrics_are_the_reference_s(golden):
    for case in golden("metrics.json"):
        got = compute_metrics(np.asarray(case["mos"]), np.asarray(case["prediction"]))
        assert got.srcc == pytest.approx(case["srcc"], abs=1e-6)
        assert got.krcc == pytest.approx(case["krcc"], abs=1e-6)
        assert got.plcc == pytest.approx(case["plcc"], abs=1e-4)
        assert got.rmse == pytest.approx(case["rmse"], abs=1e-4)


def test_an_s_curve_is_straightened():
    mos, predicted = pair(noise=0)
    got = compute_metrics(mos, predicted)
    assert got.srcc == got.krcc == pytest.approx(1)
    assert got.plcc == pytest.approx(1, abs=1e-9)
    assert got.rmse == pytest.approx(0, abs=1e-4)
    assert got.plcc_raw < 0.99
    assert got.images == 60


def test_a_falling_relation_is_fitted_too():
    mos, predicted = pair()
    rising, falling = compute_metrics(mos, predicted), compute_metrics(mos, -predicted)
    assert falling.srcc == pytest.approx(-rising.srcc)
    assert falling.plcc == pytest.approx(rising.plcc, abs=1e-6)  # after the fit, larger means better again
    assert falling.plcc_raw == pytest.approx(-rising.plcc_raw)


@pytest.mark.parametrize("middle", [1.0, 2.5, 4.0])
def test_a_steep_fall_is_found_as_a_steep_rise_is(middle):
    """From the reference's start, which rises, the search ends where the curve explains nothing of it."""
    predicted = -1.5 * np.log(1 - (np.arange(10) + 0.5) / 10)
    mos = 100 / (1 + np.exp((predicted - middle) / 0.02))
    assert compute_metrics(mos, -predicted).plcc == pytest.approx(1, abs=1e-3)
    assert compute_metrics(mos, predicted).plcc == pytest.approx(1, abs=1e-3)


def test_ties_share_their_rank():
    mos, predicted = np.array([1.0, 2, 2, 3, 4, 4]), np.array([1.0, 1, 2, 3, 3, 5])
    ranks = [stats.rankdata(values) for values in (mos, predicted)]
    assert srcc(mos, predicted) == pytest.approx(np.corrcoef(ranks)[0, 1])
    concordant = sum(
        np.sign(mos[i] - mos[j]) * np.sign(predicted[i] - predicted[j]) for i in range(6) for j in range(i)
    )
    untied = [sum(values[i] != values[j] for i in range(6) for j in range(i)) for values in (mos, predicted)]
    assert krcc(mos, predicted) == pytest.approx(concordant / np.sqrt(untied[0] * untied[1]))


@pytest.mark.parametrize("side", ["mos", "predicted", "both"])
def test_a_constant_agrees_with_nothing(side):
    mos, predicted = pair(count=10)
    mos = np.full(10, 3.0) if side in ("mos", "both") else mos
    predicted = np.full(10, 2.0) if side in ("predicted", "both") else predicted
    got = compute_metrics(mos, predicted)
    assert got[:3] == (0, 0, 0)
    assert got.plcc_raw == 0
    assert got.rmse == pytest.approx(mos.std())


def test_three_images_are_enough_and_two_are_not():
    # Four parameters cannot be fitted to three points; the straight line of least squares stands in.
    got = compute_metrics(np.array([1.0, 2, 4]), np.array([1.0, 2, 3]))
    assert got.srcc == pytest.approx(1)
    assert np.isfinite(got).all()
    assert not fit_logistic(np.array([1.0, 2, 4]), np.array([1.0, 2, 3])).fitted
    with pytest.raises(DataError, match="at least 3 images; got 2"):
        compute_metrics(np.array([1.0, 2]), np.array([1.0, 2]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_named(value):
    mos, predicted = pair(count=9)
    predicted[4] = value
    for function in (srcc, krcc, plcc, compute_metrics):
        with pytest.raises(DataError, match="1 values of the predictions are NaN or Inf, the first at position 4"):
            function(mos, predicted)
        with pytest.raises(DataError, match="1 values of the MOS are NaN or Inf, the first at position 4"):
            function(predicted, mos)


@pytest.mark.parametrize("shapes", [((5,), (6,)), ((5, 1), (5, 1)), ((5,), (5, 1))])
def test_two_vectors_of_one_length(shapes):
    with pytest.raises(DataError, match="two vectors of the same length"):
        srcc(np.ones(shapes[0]), np.ones(shapes[1]))


def test_order_scale_and_type_change_nothing():
    mos, predicted = pair(3)
    order = np.random.default_rng(1).permutation(len(mos))
    one, other = compute_metrics(mos, predicted), compute_metrics(10 * mos[order] - 3, predicted[order])
    np.testing.assert_allclose(one[:3], other[:3], atol=1e-6)
    assert other.rmse == pytest.approx(10 * one.rmse, rel=1e-4)
    single = compute_metrics(mos.astype(np.float32), predicted.astype(np.float32))
    np.testing.assert_allclose(single, one, rtol=1e-4)


def test_the_logistic_starts_where_the_reference_does(monkeypatch):
    """BIQA_benchmark.py:241; where the search ends can depend on it."""
    starts = []
    search = correlation.scipy.optimize.curve_fit

    def watched(*arguments, p0, **options):
        starts.append(p0)
        return search(*arguments, p0=p0, **options)

    monkeypatch.setattr(correlation.scipy.optimize, "curve_fit", watched)
    rng = np.random.default_rng(3)
    predicted = rng.uniform(1, 5, 40)
    mos = predicted + rng.normal(0, 0.3, 40)
    correlation.fit_logistic(mos, predicted)
    assert starts == [pytest.approx((mos.max(), mos.min(), predicted.mean(), predicted.std()))]
