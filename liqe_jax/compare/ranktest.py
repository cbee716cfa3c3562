"""Rank tests that need no human scores: D-test, L-test, P-test.

Ma et al., "Waterloo Exploration Database: new challenges for image quality assessment models",
IEEE Transactions on Image Processing 26(2), 2017. Everything here is a function of scores, higher
is better; NaN stands for an image without a score and is left out. N images, K kinds of
distortion, L levels.
"""

from __future__ import annotations

import bisect
import dataclasses
import math

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import DataError, UsageError
from liqe_jax.extras import require

# Pairs count as clearly different from one whole grade of the five-grade scale on. Waterloo took
# the pairs on which several full-reference metrics agree by a margin; here the mean opinion of a
# kind and level of distortion takes their place.
MARGIN = 1.0


@dataclasses.dataclass(frozen=True)
class DTest:
    """Are pristine photographs told from distorted ones?

    Attributes:
      accuracy: the mean of both classes' shares of correct answers at the best threshold, 0.5
        (nothing is told apart) to 1.
      threshold: "pristine" is what scores above it; infinite where no threshold helps.
      pristine, distorted: numbers of images.
    """

    accuracy: float
    threshold: float
    pristine: int
    distorted: int


@dataclasses.dataclass(frozen=True)
class LTest:
    """Do scores fall as a distortion grows, for each photograph and kind by itself?

    Attributes:
      srcc, krcc: means over all lists, 1 where every list falls throughout; a list of equal
        scores counts 0.
      srcc_by_kind: means over the photographs, [K]; NaN where no list of a kind is complete.
      lists: number of lists that count.
      incomplete: lists left out, since a level has no score.
    """

    srcc: float
    krcc: float
    srcc_by_kind: Float[np.ndarray, " K"]
    lists: int
    incomplete: int


@dataclasses.dataclass(frozen=True)
class PTest:
    """Of two images that clearly differ, does the better one score higher?

    Attributes:
      consistency: share of pairs with strictly higher score for the better image.
      pairs: number of pairs that differ by more than `margin`.
      tied: share of pairs with equal scores, which count as wrong.
      margin: in the unit of the opinions.
    """

    consistency: float
    pairs: int
    tied: float
    margin: float


def d_test(pristine_N: Float[np.ndarray, " N"], distorted_M: Float[np.ndarray, " M"]) -> DTest:
    """Best balanced accuracy over all thresholds; of equally good ones the lowest.

    Raises:
      DataError: one class has no score.
    """
    pristine, distorted = (_finite(values) for values in (pristine_N, distorted_M))
    if not pristine.size or not distorted.size:
        raise DataError(
            f"The D-test needs scores of both classes; got {pristine.size} pristine and {distorted.size} distorted."
        )
    levels = np.unique(np.concatenate([pristine, distorted]))
    # Halfway between neighbours, so that rounding of the threshold changes nothing.
    thresholds = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    above = 1 - np.searchsorted(np.sort(pristine), thresholds, side="right") / pristine.size
    below = np.searchsorted(np.sort(distorted), thresholds, side="right") / distorted.size
    accuracy = (above + below) / 2
    best = int(accuracy.argmax())
    return DTest(float(accuracy[best]), float(thresholds[best]), pristine.size, distorted.size)


def l_test(score_NxKxL: Float[np.ndarray, "N K L"]) -> LTest:
    """Rank correlation of scores with falling level, averaged over photographs and kinds.

    Args:
      score_NxKxL: scores, levels from the weakest to the strongest.

    Raises:
      UsageError: not three axes, or fewer than two levels.
      DataError: no list is complete.
    """
    scores = np.asarray(score_NxKxL, np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise UsageError(f"Expected scores [photographs, kinds, levels >= 2]; got shape {scores.shape}.")
    complete = np.isfinite(scores).all(-1)
    if not complete.any():
        raise DataError(f"No list of {scores.shape[2]} levels has all its scores; there is nothing to rank.")
    srcc, krcc = np.full((2, *complete.shape), np.nan)
    lists = scores[complete]
    srcc[complete], krcc[complete] = _spearman_with_fall(lists), _kendall_with_fall(lists)
    counts = complete.sum(0)
    by_kind = np.divide(np.nansum(srcc, 0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return LTest(
        float(srcc[complete].mean()),
        float(krcc[complete].mean()),
        by_kind,
        int(complete.sum()),
        int(complete.size - complete.sum()),
    )


def check_margin(margin: float) -> None:
    """Refuses a margin that makes no sense; for callers who score first, before they do.

    Raises:
      UsageError: negative, or no number.
    """
    if not (margin >= 0 and math.isfinite(margin)):
        raise UsageError(f"margin must be a number of at least 0, in the unit of the opinions; got {margin}.")


def p_test(score_N: Float[np.ndarray, " N"], opinion_N: Float[np.ndarray, " N"], margin: float = MARGIN) -> PTest:
    """Share of clearly different pairs whose order the scores tell.

    A pair is clearly different where the opinions differ by more than `margin`. All pairs
    count, whatever their contents; the time grows with N log N, not with their number.

    Args:
      score_N: scores.
      opinion_N: expected opinion of each image, higher is better.
      margin: at least 0.

    Raises:
      UsageError: lengths differ, an opinion is not finite, or see `check_margin`.
      DataError: no pair differs by more than the margin.
    """
    scores, opinions = np.asarray(score_N, np.float64), np.asarray(opinion_N, np.float64)
    check_margin(margin)
    if scores.shape != opinions.shape or scores.ndim != 1 or not np.isfinite(opinions).all():
        raise UsageError(
            f"Expected a finite opinion for every score; got shapes {opinions.shape} and {scores.shape}, with "
            f"{np.isfinite(opinions).sum()} finite opinions."
        )
    scored = np.isfinite(scores)
    order = np.argsort(opinions[scored], kind="stable")
    scores, opinions = scores[scored][order].tolist(), opinions[scored][order].tolist()
    # Images come in by rising opinion; `worse` holds the sorted scores of all that are clearly worse.
    worse: list[float] = []
    pairs = correct = tied = 0
    for score, opinion in zip(scores, opinions, strict=True):
        while opinion - opinions[len(worse)] > margin:
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
    """What the P-test would give for people's true opinions of each single image.

    `mean_N` says what images of a kind and level get on average, and single images scatter
    about it by `sd_N`; two normal variables keep the order of their means with probability
    Phi(difference / combined sd). No scorer that agrees with people gets far above this.

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
    # Without any scatter the order is certain.
    right = np.where(combined > 0, ndtr(gap / np.where(combined > 0, combined, 1)), 1.0)
    return float((pairs * right).sum() / pairs.sum())


def _finite(values: Float[np.ndarray, ...]) -> Float[np.ndarray, " M"]:
    values = np.asarray(values, np.float64).ravel()
    return values[np.isfinite(values)]


def _spearman_with_fall(lists_MxL: Float[np.ndarray, "M L"]) -> Float[np.ndarray, " M"]:
    ranks = require("scipy.stats").rankdata(lists_MxL, axis=-1)
    ranks = ranks - ranks.mean(-1, keepdims=True)
    fall = -np.arange(lists_MxL.shape[1], dtype=np.float64)
    fall -= fall.mean()
    norms = np.sqrt((ranks**2).sum(-1) * (fall**2).sum())
    return np.divide(ranks @ fall, norms, out=np.zeros(len(ranks)), where=norms > 0)


def _kendall_with_fall(lists_MxL: Float[np.ndarray, "M L"]) -> Float[np.ndarray, " M"]:
    """Kendall's tau-b."""
    weaker, stronger = np.triu_indices(lists_MxL.shape[1], 1)
    signs = np.sign(lists_MxL[:, weaker] - lists_MxL[:, stronger])
    untied = np.abs(signs).sum(-1)
    norms = np.sqrt(untied * math.comb(lists_MxL.shape[1], 2))
    return np.divide(signs.sum(-1), norms, out=np.zeros(len(signs)), where=norms > 0)
