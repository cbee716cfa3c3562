"""Is one model better than another on the same images? Williams' test and the paired bootstrap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from liqe_jax.errors import DataError, UsageError
from liqe_jax.metrics.bootstrap import interval_of_counts, plcc_of_counts, srcc_of_counts
from liqe_jax.metrics.correlation import check_pair, plcc, srcc

# Williams' t has three degrees of freedom less than there are images.
FEWEST = 4

# Correlations that differ by less are equal. Rounding alone makes those of a model and of its scores
# on another scale differ by some 1e-16, and a test of that would find it certain.
EQUAL = 1e-12

FIGURES = {"srcc": (srcc, srcc_of_counts), "plcc": (plcc, plcc_of_counts)}


class Williams(NamedTuple):
    """Williams' t with `degrees` of freedom, and the two-sided p; both signs as first minus second."""

    t: float
    p: float
    degrees: int


class Difference(NamedTuple):
    """First minus second: the difference of a figure, its interval, and a two-sided p."""

    value: float
    low: float
    high: float
    p: float


class Comparison(NamedTuple):
    """Both tests of the same question."""

    first: float
    second: float
    williams: Williams
    bootstrap: Difference


def williams(r_first: float, r_second: float, r_between: float, count: int) -> Williams:
    """Tests whether two correlations with the same variable differ (Williams 1959; Steiger 1980, eq. 7).

    Args:
      r_first, r_second: correlations of the opinion scores with each model's predictions.
      r_between: of the predictions with each other.
      count: images.

    Returns:
      t = 0 and p = 1 where the correlations are equal but for rounding (`EQUAL`); infinite t and p = 0
      where they differ although the three variables depend linearly on each other without an error.

    Raises:
      DataError: fewer than four images, or a correlation outside -1..1.
    """
    correlations = np.array([r_first, r_second, r_between], np.float64)
    # Also NaN fails this comparison.
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
    # With all three in one line both vanish, and what is left of them is rounding.
    if below < 1e-12:
        return Williams(float(np.copysign(np.inf, difference)), 0.0, degrees)
    t = float(difference * np.sqrt(max(above, 0.0) / below))
    return Williams(t, float(2 * stats.t.sf(abs(t), degrees)), degrees)


def paired_bootstrap(
    mos: Float[np.ndarray, " N"],
    first: Float[np.ndarray, " N"],
    second: Float[np.ndarray, " N"],
    *,
    figure: str = "srcc",
    **options: Any,
) -> Difference:
    """Difference of a figure between two models, both on the same resamples.

    p is twice the smaller share of resamples on either side of zero, one resample added to each so
    that it is never zero, and at most 1. It does not depend on the interval's method.

    Args:
      mos, first, second: opinion scores and each model's predictions.
      figure: "srcc" or "plcc".
      options: resamples, confidence, method and seed, as in `bootstrap.bootstrap`.

    Raises:
      DataError: see `metrics.check_pair`.
      UsageError: another figure, or an option out of its range.
    """
    mos, first, second = _three(mos, first, second)
    _, of_counts = _figure(figure)

    def difference(counts_RxN: np.ndarray) -> np.ndarray:
        found = of_counts(mos, first, counts_RxN) - of_counts(mos, second, counts_RxN)
        return np.where(np.abs(found) < EQUAL, 0.0, found)

    interval, drawn = interval_of_counts(difference, len(mos), **options)
    side = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return Difference(*interval, float(min(2 * (side + 1) / (len(drawn) + 1), 1.0)))


def compare(
    mos: Float[np.ndarray, " N"],
    first: Float[np.ndarray, " N"],
    second: Float[np.ndarray, " N"],
    *,
    figure: str = "srcc",
    **options: Any,
) -> Comparison:
    """Two models on the same images; Williams' test uses the figure's own correlations (ranks for SRCC).

    Args:
      mos, first, second, figure, options: as in `paired_bootstrap`.

    Raises:
      DataError: fewer than four images; see `metrics.check_pair`.
      UsageError: another figure, or an option out of its range.
    """
    mos, first, second = _three(mos, first, second)
    correlation, _ = _figure(figure)
    one, other = correlation(mos, first), correlation(mos, second)
    test = williams(one, other, correlation(first, second), len(mos))
    return Comparison(one, other, test, paired_bootstrap(mos, first, second, figure=figure, **options))


def _three(mos: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mos, first = check_pair(mos, first)
    return mos, first, check_pair(mos, second)[1]


def _figure(name: str):
    if name not in FIGURES:
        raise UsageError(f"A difference can be tested of {', '.join(FIGURES)}; got {name!r}.")
    return FIGURES[name]
