"""Measures whether the labels of several data sets share a scale: overlap, distance, order across sets."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.realign import HIGH, LOW
from liqe_jax.errors import UsageError
from liqe_jax.extras import require

BINS = 16  # a quarter of a quality level each
BLOCK = 1 << 22  # pairs that are compared at once; bounds memory


@dataclasses.dataclass(frozen=True)
class PairOverlap:
    """Comparison of two sets before and after realignment.

    Attributes:
      sets: names of the sets.
      overlap: overlap coefficient of the label distributions.
      wasserstein: Wasserstein distance of the label distributions, in quality levels.
      contradicted: share of pairs (one image of each set) whose labels have the opposite order of the
        model's scores; NaN if a set has no scores.
      order_changed: share of pairs whose labels change their order.
    """

    sets: tuple[str, str]
    overlap: tuple[float, float]
    wasserstein: tuple[float, float]
    contradicted: tuple[float, float]
    order_changed: float


def overlap_coefficient(a_N: Float[np.ndarray, " N"], b_M: Float[np.ndarray, " M"], bins: int = BINS) -> float:
    """Common area of two histograms over 1..5 with area 1: 0 (disjoint) to 1 (identical).

    Values outside the scale are counted in the outermost bins. Bins are closed on the left, the last
    one on both sides.
    """
    edges = np.linspace(LOW, HIGH, bins + 1)
    shares = [np.histogram(np.clip(values, LOW, HIGH), edges)[0] / len(values) for values in (a_N, b_M)]
    return float(np.minimum(*shares).sum())


def wasserstein(a_N: Float[np.ndarray, " N"], b_M: Float[np.ndarray, " M"]) -> float:
    """Wasserstein-1 distance of two empirical distributions."""
    return float(require("scipy.stats").wasserstein_distance(a_N, b_M))


def opposite_share(
    x_N: Float[np.ndarray, " N"],
    y_N: Float[np.ndarray, " N"],
    x_M: Float[np.ndarray, " M"],
    y_M: Float[np.ndarray, " M"],
) -> float:
    """Share of the N x M pairs that x and y order oppositely; equal values have no order.

    Raises:
      UsageError: a set is empty, or its x and y differ in length.
    """
    x_N, y_N, x_M, y_M = (np.asarray(values, np.float64) for values in (x_N, y_N, x_M, y_M))
    if x_N.shape != y_N.shape or x_M.shape != y_M.shape or not x_N.size or not x_M.size:
        raise UsageError(
            f"Expected two values for every image of both sets; got shapes {x_N.shape}, {y_N.shape}, {x_M.shape}, "
            f"{y_M.shape}."
        )
    rows = max(BLOCK // len(x_M), 1)
    opposite = 0
    for start in range(0, len(x_N), rows):
        x, y = x_N[start : start + rows, None], y_N[start : start + rows, None]
        opposite += int(np.count_nonzero(((x > x_M) & (y < y_M)) | ((x < x_M) & (y > y_M))))
    return opposite / (len(x_N) * len(x_M))


def compare_sets(
    before: Mapping[str, Float[np.ndarray, " N"]],
    after: Mapping[str, Float[np.ndarray, " N"]],
    scores: Mapping[str, Float[np.ndarray, " N"]],
) -> list[PairOverlap]:
    """Compares all pairs of sets; arrays by set name, `scores` with NaN for images without a score."""
    results = []
    for a, b in itertools.combinations(before, 2):
        scored_a, scored_b = np.isfinite(scores[a]), np.isfinite(scores[b])
        some = scored_a.any() and scored_b.any()
        contradicted = [
            opposite_share(labels[a][scored_a], scores[a][scored_a], labels[b][scored_b], scores[b][scored_b])
            if some
            else float("nan")
            for labels in (before, after)
        ]
        results.append(
            PairOverlap(
                (a, b),
                (overlap_coefficient(before[a], before[b]), overlap_coefficient(after[a], after[b])),
                (wasserstein(before[a], before[b]), wasserstein(after[a], after[b])),
                (contradicted[0], contradicted[1]),
                opposite_share(before[a], after[a], before[b], after[b]),
            )
        )
    return results


def srcc_and_rmse(label_N: Float[np.ndarray, " N"], score_N: Float[np.ndarray, " N"]) -> dict[str, float]:
    """SRCC and RMSE between labels and scores, over images with a score; SRCC is NaN if either is constant."""
    label_N, score_N = np.asarray(label_N, np.float64), np.asarray(score_N, np.float64)
    scored = np.isfinite(score_N)
    labels, scores = label_N[scored], score_N[scored]
    if not labels.size:
        return {"srcc": float("nan"), "rmse": float("nan")}
    rmse = float(np.sqrt(np.mean((labels - scores) ** 2)))
    if not (np.ptp(labels) and np.ptp(scores)):
        return {"srcc": float("nan"), "rmse": rmse}
    return {"srcc": float(require("scipy.stats").spearmanr(labels, scores).statistic), "rmse": rmse}
