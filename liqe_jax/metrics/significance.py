"""Significance of the difference between two models on the same images: Williams' test, paired bootstrap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from liqe_jax.errors import DataError, UsageError
from liqe_jax.metrics.bootstrap import interval_of_counts, plcc_of_counts, srcc_of_counts
from liqe_jax.metrics.correlation import Values, check_pair, plcc, srcc

# Williams' t has three fewer degrees of freedom than there are images.
FEWEST = 4

# Correlations that differ by less than this count as equal. Rounding alone changes the correlation of rescaled
# scores by about 1e-16, which a test would otherwise report as a certain difference.
EQUAL = 1e-12

# A metric, and the same metric of resamples.
METRICS = {"srcc": (srcc, srcc_of_counts), "plcc": (plcc, plcc_of_counts)}


class Williams(NamedTuple):
    """Williams' t with `degrees` of freedom, and the two-sided p; both signs as first minus second."""

    t: float
    p: float
    degrees: int


class Difference(NamedTuple):
    """First minus second: the difference of a metric, its confidence interval, and a two-sided p."""

    value: float
    low: float
    high: float
    p: float


class Comparison(NamedTuple):
    """The metric of each model, and both tests of their difference."""

    first: float
    second: float
    williams: Williams
    bootstrap: Difference


def williams(r_first: float, r_second: float, r_between: float, count: int) -> Williams:
    """Tests whether two correlations with the same variable differ (Williams 1959; Steiger 1980, eq. 7).

    Args:
      r_first, r_second: correlations of the MOS with each model's predictions.
      r_between: correlation of the two models' predictions.
      count: number of images.

    Returns:
      t = 0 and p = 1 if the correlations are equal up to rounding (`EQUAL`); infinite t and p = 0 if they differ
      while the three variables are exactly linearly dependent.

    Raises:
      DataError: fewer than four images, or a correlation outside -1..1.
    """
    correlations = np.array([r_first, r_second, r_between], np.float64)
    # NaN fails this comparison too.
    if not (np.abs(correlations) <= 1 + 1e-12).all():
        raise DataError(f"Correlations lie from -1 to 1; got {correlations.tolist()}.")
    if count < FEWEST:
        raise DataError(f"Williams' test needs at least {FEWEST} images; got {count}.")
    degrees, difference = count - 3, r_first - r_second
    if abs(difference) < EQUAL:
        return Williams(0.0, 1.0, degrees)
    determinant = max(1 - np.sum(correlations**2) + 2 * np.prod(correlations), 0.0)
    mean = (r_first + r_second) / 2
    below = 2 * (count - 1) / degrees * determinant + mean**2 * (1 - r_between) ** 3
    above = (count - 1) * (1 + r_between)
    # With three linearly dependent variables both are zero up to rounding.
    if below < 1e-12:
        return Williams(float(np.copysign(np.inf, difference)), 0.0, degrees)
    t = float(difference * np.sqrt(max(above, 0.0) / below))
    return Williams(t, float(2 * stats.t.sf(abs(t), degrees)), degrees)


def paired_bootstrap(mos: Values, first: Values, second: Values, *, metric: str = "srcc", **options: Any) -> Difference:
    """Difference of a metric between two models, both on the same resamples.

    p is twice the smaller share of resamples on either side of zero, at most 1. One resample is added to each
    side, so p is never zero. It does not depend on the interval's method.
    The metric is "srcc" or "plcc"; options are those of `bootstrap.interval_of_counts`.
    DataError as in `correlation.check_pair`; UsageError: unknown metric, or an option out of its range.
    """
    (mos, first), (_, second) = check_pair(mos, first), check_pair(mos, second)
    _, of_counts = _functions(metric)

    def difference(counts_RxN: np.ndarray) -> np.ndarray:
        found = of_counts(mos, first, counts_RxN) - of_counts(mos, second, counts_RxN)
        return np.where(np.abs(found) < EQUAL, 0.0, found)

    interval, drawn = interval_of_counts(difference, len(mos), **options)
    side = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return Difference(*interval, float(min(2 * (side + 1) / (len(drawn) + 1), 1.0)))


def compare_models(mos: Values, first: Values, second: Values, *, metric: str = "srcc", **options: Any) -> Comparison:
    """Compares two models on the same images; for SRCC, Williams' test uses rank correlations.

    Arguments and errors are those of `paired_bootstrap`; DataError also for fewer than four images.
    """
    (mos, first), (_, second) = check_pair(mos, first), check_pair(mos, second)
    correlation, _ = _functions(metric)
    one, other = correlation(mos, first), correlation(mos, second)
    test = williams(one, other, correlation(first, second), len(mos))
    return Comparison(one, other, test, paired_bootstrap(mos, first, second, metric=metric, **options))


def _functions(name: str):
    if name not in METRICS:
        raise UsageError(f"Expected a metric of {', '.join(METRICS)}; got {name!r}.")
    return METRICS[name]
