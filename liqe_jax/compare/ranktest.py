"""Rank tests that need no human scores: D-test, L-test, P-test.

Ma et al., "Waterloo Exploration Database: new challenges for image quality assessment models", IEEE Transactions on
Image Processing 26(2), 2017. Higher scores are better; NaN stands for an image without a score and is ignored.
N images, K kinds of distortion, L levels.
"""

from __future__ import annotations

import bisect
import dataclasses
import math

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import DataError, UsageError
from liqe_jax.imports import require

# Pairs that differ by more than one grade of the five-grade scale are discriminable. Waterloo used
# several full-reference metrics to find such pairs; here the MOS of a kind and level of distortion is used.
MARGIN = 1.0


@dataclasses.dataclass(frozen=True)
class DTest:
    """Pristine/distorted discriminability test.

    Attributes:
      accuracy: balanced accuracy at the best threshold, 0.5 (chance) to 1.
      threshold: images with higher scores are classified as pristine; infinite if no threshold is better than chance.
      pristine, distorted: numbers of images.
    """

    accuracy: float
    threshold: float
    pristine: int
    distorted: int


@dataclasses.dataclass(frozen=True)
class LTest:
    """Listwise ranking consistency test: do scores decrease with the level of each kind of distortion?

    Attributes:
      srcc, krcc: means over all lists (one per photograph and kind), 1 if every list decreases; a list of
        equal scores counts as 0.
      srcc_by_kind: means over the photographs, [K]; NaN if no list of a kind is complete.
      lists: number of complete lists.
      incomplete: number of lists that are ignored because a level has no score.
    """

    srcc: float
    krcc: float
    srcc_by_kind: Float[np.ndarray, " K"]
    lists: int
    incomplete: int


@dataclasses.dataclass(frozen=True)
class PTest:
    """Pairwise preference consistency test: does the clearly better image of a pair score higher?

    Attributes:
      consistency: share of pairs in which the better image has a strictly higher score.
      pairs: number of pairs whose MOS differ by more than `margin`.
      tied: share of pairs with equal scores, which count as errors.
      margin: in MOS units.
    """

    consistency: float
    pairs: int
    tied: float
    margin: float


def d_test(pristine_N: Float[np.ndarray, " N"], distorted_M: Float[np.ndarray, " M"]) -> DTest:
    """The best balanced accuracy over all thresholds, of which the lowest wins; raises DataError for an empty class."""
    pristine, distorted = (np.asarray(values, np.float64).ravel() for values in (pristine_N, distorted_M))
    pristine, distorted = pristine[np.isfinite(pristine)], distorted[np.isfinite(distorted)]
    if not pristine.size or not distorted.size:
        raise DataError(
            f"The D-test needs scores of both classes; got {pristine.size} pristine and {distorted.size} distorted."
        )
    levels = np.unique(np.concatenate([pristine, distorted]))
    # Halfway between neighboring scores, so that rounding the threshold does not change the result.
    thresholds = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    above = 1 - np.searchsorted(np.sort(pristine), thresholds, side="right") / pristine.size
    below = np.searchsorted(np.sort(distorted), thresholds, side="right") / distorted.size
    accuracy = (above + below) / 2
    best = int(accuracy.argmax())
    return DTest(float(accuracy[best]), float(thresholds[best]), pristine.size, distorted.size)


def l_test(score_NxKxL: Float[np.ndarray, "N K L"]) -> LTest:
    """Runs the L-test: rank correlation of scores with decreasing level, averaged over photographs and kinds.

    Raises:
      UsageError: the array does not have three axes, or has fewer than two levels.
      DataError: no list is complete.
    """
    scores = np.asarray(score_NxKxL, np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise UsageError(f"Expected scores [photographs, kinds, levels >= 2]; got shape {scores.shape}.")
    complete = np.isfinite(scores).all(-1)
    if not complete.any():
        raise DataError(f"No photograph and kind has scores at all {scores.shape[2]} levels; expected at least one.")
    lists, levels = scores[complete], scores.shape[2]
    # Spearman's correlation with -level, and Kendall's tau-b from the signs of all pairs of levels.
    middle = (levels + 1) / 2
    srcc = _agreement(require("scipy.stats").rankdata(lists, axis=-1) - middle, middle - np.arange(1, levels + 1))
    weaker, stronger = np.triu_indices(levels, 1)
    krcc = _agreement(np.sign(lists[:, weaker] - lists[:, stronger]), np.ones(len(weaker)))
    of_kind = np.nonzero(complete)[1]
    counts, sums = (np.bincount(of_kind, weights, scores.shape[1]) for weights in (None, srcc))
    by_kind = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return LTest(float(srcc.mean()), float(krcc.mean()), by_kind, len(lists), complete.size - len(lists))


def check_margin(margin: float) -> None:
    """Raises UsageError if the margin of the P-test is negative or not finite; call it before scoring images."""
    if not (margin >= 0 and math.isfinite(margin)):
        raise UsageError(f"margin must be a number of at least 0, in MOS units; got {margin}.")


def p_test(score_N: Float[np.ndarray, " N"], mos_N: Float[np.ndarray, " N"], margin: float = MARGIN) -> PTest:
    """Runs the P-test: share of pairs with clearly different MOS that the scores order correctly.

    All pairs whose expected MOS (higher is better) differ by more than `margin` count, also those of different
    photographs. The time is O(N log N).

    Raises:
      UsageError: lengths differ, a MOS is not finite, or the margin is invalid.
      DataError: no pair differs by more than the margin.
    """
    scores, mos = np.asarray(score_N, np.float64), np.asarray(mos_N, np.float64)
    check_margin(margin)
    if scores.shape != mos.shape or scores.ndim != 1 or not np.isfinite(mos).all():
        raise UsageError(
            f"Expected a finite MOS for every score; got shapes {mos.shape} and {scores.shape}, with "
            f"{np.isfinite(mos).sum()} finite MOS."
        )
    scored = np.isfinite(scores)
    order = np.argsort(mos[scored], kind="stable")
    scores, ascending = scores[scored][order].tolist(), mos[scored][order].tolist()
    # Images are visited in ascending order of MOS; `worse` has the sorted scores of all clearly worse images.
    worse: list[float] = []
    pairs = correct = tied = 0
    for score, own in zip(scores, ascending, strict=True):
        while own - ascending[len(worse)] > margin:
            bisect.insort(worse, scores[len(worse)])
        lower = bisect.bisect_left(worse, score)
        correct += lower
        tied += bisect.bisect_right(worse, score) - lower
        pairs += len(worse)
    if not pairs:
        raise DataError(f"No two of the {len(scores)} scored images differ by more than {margin:g}; lower the margin.")
    return PTest(correct / pairs, pairs, tied / pairs, margin)


def expected_consistency(
    mean_N: Float[np.ndarray, " N"], sd_N: Float[np.ndarray, " N"], margin: float = MARGIN
) -> float:
    """Expected P-test result of the true MOS of every image, an estimate of the highest possible result.

    `mean_N` is the mean of the MOS over images of a kind and level, and `sd_N` their standard deviation. Two
    normal variables keep the order of their means with probability Phi(difference / combined sd).

    Raises:
      DataError: no pair differs by more than the margin.
    """
    ndtr = require("scipy.special").ndtr
    means, sds = np.asarray(mean_N, np.float64), np.asarray(sd_N, np.float64)
    values, place = np.unique(np.stack([means, sds], -1), axis=0, return_inverse=True)
    counts = np.bincount(place.ravel())
    gap = values[:, None, 0] - values[None, :, 0]
    pairs = np.where(gap > margin, counts[:, None] * counts, 0)
    if not pairs.any():
        raise DataError(f"No two of the {len(means)} images differ by more than {margin:g}; lower the margin.")
    combined = np.hypot(values[:, None, 1], values[None, :, 1])
    # With zero standard deviations the order is certain.
    right = np.where(combined > 0, ndtr(gap / np.where(combined > 0, combined, 1)), 1.0)
    return float((pairs * right).sum() / pairs.sum())


def _agreement(x_MxD: Float[np.ndarray, "M D"], y_D: Float[np.ndarray, " D"]) -> Float[np.ndarray, " M"]:
    """Cosines of the angles between rows and a vector; 0 for rows of zeros."""
    norms = np.sqrt((x_MxD**2).sum(-1) * (y_D**2).sum())
    return np.divide(x_MxD @ y_D, norms, out=np.zeros(len(x_MxD)), where=norms > 0)
