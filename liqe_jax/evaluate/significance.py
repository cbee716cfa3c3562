"""Is one model better than another on the same images? Williams' test and the paired bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from liqe_jax.errors import DataError, UsageError
from liqe_jax.evaluate.bootstrap import CONFIDENCE, RESAMPLES, counts_of_draws, plcc_of_counts, srcc_of_counts
from liqe_jax.evaluate.metrics import check_pair, plcc, srcc

# Williams' t has three degrees of freedom less than there are images.
FEWEST = 4

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
      t = 0 and p = 1 where the correlations are equal; infinite t and p = 0 where they differ
      although the three variables depend linearly on each other without an error.

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
    if difference == 0:
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
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """Difference of a figure between two models, both on the same resamples.

    p is twice the smaller share of resamples on either side of zero, one resample added to each so
    that it is never zero, and at most 1.

    Args:
      mos, first, second: opinion scores and each model's predictions.
      figure: "srcc" or "plcc".
      resamples, confidence, seed: as in `bootstrap.bootstrap`.

    Raises:
      DataError: see `metrics.check_pair`.
      UsageError: another figure.
    """
    mos, first, second = _three(mos, first, second)
    _, of_counts = _figure(figure)
    drawn = np.concatenate(
        [of_counts(mos, first, c) - of_counts(mos, second, c) for c in counts_of_draws(len(mos), resamples, seed)]
    )
    once = np.ones((1, len(mos)), np.int64)
    value = float((of_counts(mos, first, once) - of_counts(mos, second, once))[0])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    side = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return Difference(value, float(low), float(high), float(min(2 * (side + 1) / (resamples + 1), 1.0)))


def compare(
    mos: Float[np.ndarray, " N"],
    first: Float[np.ndarray, " N"],
    second: Float[np.ndarray, " N"],
    *,
    figure: str = "srcc",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Two models on the same images; Williams' test uses the figure's own correlations (ranks for SRCC).

    Raises:
      DataError: fewer than four images; see `metrics.check_pair`.
      UsageError: another figure.
    """
    mos, first, second = _three(mos, first, second)
    correlation, _ = _figure(figure)
    one, other = correlation(mos, first), correlation(mos, second)
    test = williams(one, other, correlation(first, second), len(mos))
    return Comparison(
        one, other, test, paired_bootstrap(mos, first, second, figure=figure, resamples=resamples, seed=seed)
    )


def _three(mos: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mos, first = check_pair(mos, first)
    return mos, first, check_pair(mos, second)[1]


def _figure(name: str):
    if name not in FIGURES:
        raise UsageError(f"A difference can be tested of {', '.join(FIGURES)}; got {name!r}.")
    return FIGURES[name]
