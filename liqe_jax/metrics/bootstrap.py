"""Bootstrap confidence intervals of correlations: those of `scipy.stats.bootstrap`, but vectorized.

Images are drawn with replacement, from an explicit seed. The correlation of a resample depends only on how often each
image was drawn, so ranks become cumulative sums. Letters: N images, R resamples, K distinct values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from liqe_jax.errors import UsageError
from liqe_jax.metrics.correlation import Values, check_pair

# Numbers held at once while resampling, so that memory does not grow with the data set.
BLOCK = 1 << 22

# BCa recomputes the metric without each image; with more images than this, without each group of images.
JACKKNIFE_GROUPS = 200

METHODS = ("percentile", "bca")

# How often each of R resamples holds each image.
Counts = Int[np.ndarray, "R N"]


class Interval(NamedTuple):
    """A metric with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def srcc_interval(mos: Values, predicted: Values, **options: Any) -> Interval:
    """Confidence interval of Spearman's correlation; constant resamples count as 0.

    Options and errors are those of `interval_of_counts`; DataError as in `correlation.check_pair`.
    """
    mos, predicted = check_pair(mos, predicted)
    return interval_of_counts(lambda counts: srcc_of_counts(mos, predicted, counts), len(mos), **options)[0]


def plcc_interval(mos: Values, predicted: Values, **options: Any) -> Interval:
    """The same of Pearson's correlation; with predictions mapped by the logistic, the interval for a fixed curve."""
    mos, predicted = check_pair(mos, predicted)
    return interval_of_counts(lambda counts: plcc_of_counts(mos, predicted, counts), len(mos), **options)[0]


def interval_of_counts(
    metric: Callable[[Counts], Float[np.ndarray, " R"]],
    count: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    method: str = METHODS[0],
    seed: int = 0,
) -> tuple[Interval, Float[np.ndarray, " R"]]:
    """Confidence interval of a metric of draw counts, and its values on the resamples.

    Args:
      metric: maps counts to R values.
      count: number of images, N.
      resamples: number of resamples.
      confidence: between 0 and 1.
      method: "percentile", or "bca" (bias corrected and accelerated: Efron, JASA 1987).
      seed: seed of the draws, at least 0.

    Raises:
      UsageError: an argument is out of its range.
    """
    check_options(resamples, confidence, method, seed)
    drawn = np.concatenate([metric(counts) for counts in counts_of_draws(count, resamples, seed)])
    without = None
    if method == "bca":
        groups = np.arange(count) % min(count, JACKKNIFE_GROUPS)
        without = metric((groups != np.arange(groups.max() + 1)[:, None]).astype(np.int64))
    whole = float(metric(np.ones((1, count), np.int64))[0])
    return Interval(whole, *np.quantile(drawn, _ends(whole, drawn, without, confidence)).tolist()), drawn


def counts_of_draws(count: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yields the counts of resamples in blocks; the draws are those of SciPy for the same seed."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, count]))
    rows = max(BLOCK // count, 1)
    for start in range(0, resamples, rows):
        index = rng.integers(0, count, (min(rows, resamples - start), count))
        cells = index + np.arange(len(index))[:, None] * count
        yield np.bincount(cells.ravel(), minlength=index.size).reshape(len(index), count)


def srcc_of_counts(mos: Values, predicted: Values, counts_RxN: Counts) -> Float[np.ndarray, " R"]:
    """Spearman's correlation of resamples given by counts; 0 if either side is constant."""
    return _pearson(_ranks(mos, counts_RxN), _ranks(predicted, counts_RxN), counts_RxN)


def plcc_of_counts(mos: Values, predicted: Values, counts_RxN: Counts) -> Float[np.ndarray, " R"]:
    """Pearson's correlation of resamples given by counts; 0 if either side is constant."""
    return _pearson(np.asarray(mos)[None], np.asarray(predicted)[None], counts_RxN)


def _ranks(values: np.ndarray, counts_RxN: np.ndarray) -> Float[np.ndarray, "R N"]:
    """Average ranks of the images in each resample."""
    order = np.argsort(values, kind="stable")
    _, first, code = np.unique(np.asarray(values)[order], return_index=True, return_inverse=True)
    in_order = np.empty(len(order), np.int64)
    in_order[order] = code
    of_value_RxK = np.add.reduceat(counts_RxN[:, order], first, axis=1)
    last_RxK = np.cumsum(of_value_RxK, axis=1)
    return (last_RxK - (of_value_RxK - 1) / 2)[:, in_order]


def _pearson(x: np.ndarray, y: np.ndarray, counts_RxN: np.ndarray) -> Float[np.ndarray, " R"]:
    total = counts_RxN.sum(1, keepdims=True)
    present = counts_RxN > 0
    x, y = (np.broadcast_to(values, counts_RxN.shape) for values in (x, y))
    dx, dy = (values - (values * counts_RxN).sum(1, keepdims=True) / total for values in (x, y))
    spread = np.sqrt((counts_RxN * dx * dx).sum(1) * (counts_RxN * dy * dy).sum(1))
    # With rounding, the spread of a constant side is not exactly zero.
    varied = spread > 0
    for values in (x, y):
        varied &= np.where(present, values, np.inf).min(1) < np.where(present, values, -np.inf).max(1)
    return np.divide((counts_RxN * dx * dy).sum(1), spread, out=np.zeros(len(spread)), where=varied)


def _ends(value: float, drawn: np.ndarray, without: np.ndarray | None, confidence: float) -> np.ndarray:
    """Quantiles of the drawn values at the ends of the interval; jackknife values, if given, correct them."""
    ends = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if without is None:
        return ends
    # Ties with the value count half. Without the clip, a value beyond all draws gives an infinite correction.
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn))))
    deviation = without.mean() - without
    squares = np.sum(deviation**2)
    acceleration = np.sum(deviation**3) / (6 * squares**1.5) if squares > 0 else 0.0
    shifted = bias + stats.norm.ppf(ends)
    return stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))


def check_options(resamples: int, confidence: float, method: str, seed: int) -> None:
    """Checks the options of a bootstrap; UsageError where one is out of its range."""
    if resamples < 1 or not 0 < confidence < 1 or method not in METHODS or seed < 0:
        raise UsageError(
            "Expected at least 1 resample, a confidence between 0 and 1 (0.95 is 95%), one of the methods "
            f"{', '.join(METHODS)} and a seed of at least 0; got {resamples}, {confidence}, {method!r}, {seed}."
        )
