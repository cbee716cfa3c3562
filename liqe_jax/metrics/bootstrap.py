"""Bootstrap confidence intervals of any figure, quick for the correlations.

Images are drawn with replacement, from an explicit seed. A correlation of a resample needs only how
often each image was drawn, which turns ranking into cumulative sums. Letters: N images, R resamples,
K different values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from liqe_jax.errors import UsageError
from liqe_jax.metrics.correlation import check_pair

RESAMPLES = 1000
CONFIDENCE = 0.95

# Numbers held at once while resampling, so that memory does not grow with the data set.
BLOCK = 1 << 22

# BCa asks how the figure changes without each image; beyond this many, without each group of images.
JACKKNIFE_GROUPS = 200

METHODS = ("percentile", "bca")


class Interval(NamedTuple):
    """A figure with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    method: str = "percentile",
    seed: int = 0,
) -> Interval:
    """Interval of `statistic(*arrays)`, whose arrays have the N images first.

    Args:
      statistic: must have a value on every resample, also where all images are the same one.
      arrays: resampled together.
      resamples: how many.
      confidence: between 0 and 1.
      method: "percentile", or "bca" (bias corrected and accelerated: Efron, JASA 1987).
      seed: of the draws, at least 0.

    Raises:
      UsageError: an argument is out of its range.
    """
    check_options(resamples, confidence, method, seed)
    arrays = tuple(np.asarray(array) for array in arrays)
    count = len(arrays[0])
    drawn = [
        statistic(*(array[index] for array in arrays)) for block in _draws(count, resamples, seed) for index in block
    ]
    without = None
    if method == "bca":
        groups = _groups(count)
        without = np.array([statistic(*(array[groups != g] for array in arrays)) for g in range(groups.max() + 1)])
    return _interval(float(statistic(*arrays)), np.array(drawn), without, confidence)


def srcc_interval(mos: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], **options: Any) -> Interval:
    """Interval of Spearman's correlation; options as in `bootstrap`. Constant resamples count as 0.

    Raises:
      DataError: see `metrics.check_pair`.
      UsageError: see `bootstrap`.
    """
    return _correlation_interval(mos, predicted, srcc_of_counts, **options)


def plcc_interval(mos: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], **options: Any) -> Interval:
    """Interval of Pearson's correlation, as `srcc_interval`.

    Give predictions that the logistic has mapped to get the interval for a curve that is held fixed.
    """
    return _correlation_interval(mos, predicted, plcc_of_counts, **options)


Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _correlation_interval(mos: np.ndarray, predicted: np.ndarray, figure: Figure, **options: Any) -> Interval:
    mos, predicted = check_pair(mos, predicted)
    return interval_of_counts(lambda counts: figure(mos, predicted, counts), len(mos), **options)[0]


def interval_of_counts(
    figure: Callable[[Int[np.ndarray, "R N"]], Float[np.ndarray, " R"]],
    count: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    method: str = "percentile",
    seed: int = 0,
) -> tuple[Interval, Float[np.ndarray, " R"]]:
    """Interval of a figure that needs only how often each image was drawn, and its values on the resamples.

    Args:
      figure: counts of R samples -> values of the figure.
      count: images, N.
      resamples, confidence, method, seed: as in `bootstrap`.

    Raises:
      UsageError: see `bootstrap`.
    """
    check_options(resamples, confidence, method, seed)
    drawn = np.concatenate([figure(counts) for counts in counts_of_draws(count, resamples, seed)])
    without = None
    if method == "bca":
        groups = _groups(count)
        without = figure((groups != np.arange(groups.max() + 1)[:, None]).astype(np.int64))
    whole = figure(np.ones((1, count), np.int64))
    return _interval(float(whole[0]), drawn, without, confidence), drawn


def counts_of_draws(count: int, resamples: int, seed: int) -> Iterator[Int[np.ndarray, "R N"]]:
    """How often each image is drawn in each resample, in blocks; the same draws as `bootstrap`'s."""
    for index in _draws(count, resamples, seed):
        rows = np.arange(len(index))[:, None] * count
        yield np.bincount((index + rows).ravel(), minlength=index.size).reshape(len(index), count)


def srcc_of_counts(
    mos: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], counts_RxN: Int[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Spearman's correlation of samples that hold each image so many times; 0 where a side is constant."""
    return _pearson(_ranks(mos, counts_RxN), _ranks(predicted, counts_RxN), counts_RxN)


def plcc_of_counts(
    mos: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], counts_RxN: Int[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Pearson's correlation of samples that hold each image so many times; 0 where a side is constant."""
    return _pearson(np.asarray(mos)[None], np.asarray(predicted)[None], counts_RxN)


def _ranks(values: np.ndarray, counts_RxN: np.ndarray) -> Float[np.ndarray, "R N"]:
    """Mean ranks of the images in each sample."""
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
    # Rounding leaves a constant side a spread that is not quite zero.
    constant = np.zeros(len(counts_RxN), bool)
    for values in (x, y):
        low = np.where(present, values, np.inf).min(1)
        constant |= low == np.where(present, values, -np.inf).max(1)
    return np.divide((counts_RxN * dx * dy).sum(1), spread, out=np.zeros(len(spread)), where=~constant & (spread > 0))


def _draws(count: int, resamples: int, seed: int) -> Iterator[Int[np.ndarray, "R N"]]:
    rng = np.random.default_rng(np.random.SeedSequence([seed, count]))
    rows = max(BLOCK // count, 1)
    for start in range(0, resamples, rows):
        yield rng.integers(0, count, (min(rows, resamples - start), count))


def _groups(count: int) -> Int[np.ndarray, " N"]:
    return np.arange(count) % min(count, JACKKNIFE_GROUPS)


def _interval(value: float, drawn: np.ndarray, without: np.ndarray | None, confidence: float) -> Interval:
    ends = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if without is not None:
        # Ties with the value itself count half; a value beyond all draws would give an infinite correction.
        below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
        bias = stats.norm.ppf(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn))))
        deviation = without.mean() - without
        squares = np.sum(deviation**2)
        acceleration = np.sum(deviation**3) / (6 * squares**1.5) if squares > 0 else 0.0
        shifted = bias + stats.norm.ppf(ends)
        ends = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(drawn, ends)
    return Interval(value, float(low), float(high))


def check_options(resamples: int, confidence: float, method: str = METHODS[0], seed: int = 0) -> None:
    """Refuses options of a bootstrap that make no sense.

    Raises:
      UsageError: an argument is out of its range.
    """
    if resamples < 1 or not 0 < confidence < 1 or method not in METHODS or seed < 0:
        raise UsageError(
            "Expected at least 1 resample, a confidence between 0 and 1 (0.95 is 95%), a method of "
            f"{', '.join(METHODS)} and a seed of at least 0; got {resamples}, {confidence}, {method!r}, {seed}."
        )
