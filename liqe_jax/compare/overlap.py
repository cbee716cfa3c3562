"""Whether the labels of several data sets share a scale: overlap, distance, order across sets; report and figure."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from liqe_jax.compare.realign import HIGH, LOW, OtherValues, Values
from liqe_jax.errors import UsageError
from liqe_jax.imports import require
from liqe_jax.markup import markdown_table

# Numbers of the images of each set, by its name.
Sets = Mapping[str, Values]

BINS = 16  # a quarter of a quality level each
BLOCK = 1 << 22  # pairs that are compared at once; bounds memory
POINTS = 1500  # images shown per set

# Okabe and Ito's palette for color blindness; line styles distinguish more than eight sets.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A900")
LINES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True)
class PairOverlap:
    """Comparison of two sets before and after realignment.

    Attributes:
      overlap, wasserstein: overlap coefficient and Wasserstein distance (quality levels) of the label distributions.
      contradicted: share of pairs (one image of each set) whose labels have the opposite order of the
        model's scores; NaN if a set has no scores.
      order_changed: share of pairs whose labels change their order.
    """

    sets: tuple[str, str]
    overlap: Sequence[float]
    wasserstein: Sequence[float]
    contradicted: Sequence[float]
    order_changed: float


def overlap_coefficient(a_N: Values, b_M: OtherValues, bins: int = BINS) -> float:
    """Common area of two histograms over 1..5 with area 1: 0 (disjoint) to 1 (identical).

    Values outside the scale are counted in the outermost bins.
    """
    edges = np.linspace(LOW, HIGH, bins + 1)
    shares = [np.histogram(np.clip(values, LOW, HIGH), edges)[0] / len(values) for values in (a_N, b_M)]
    return float(np.minimum(*shares).sum())


def opposite_share(x_N: Values, y_N: Values, x_M: OtherValues, y_M: OtherValues) -> float:
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


def compare_sets(before: Sets, after: Sets, scores: Sets) -> list[PairOverlap]:
    """Compares all pairs of sets; `scores` has NaN for images without a score."""
    distance = require("scipy.stats").wasserstein_distance
    both = (before, after)
    results = []
    for a, b in itertools.combinations(before, 2):
        in_a, in_b = np.isfinite(scores[a]), np.isfinite(scores[b])
        contradicted = [float("nan")] * 2
        if in_a.any() and in_b.any():
            contradicted = [opposite_share(x[a][in_a], scores[a][in_a], x[b][in_b], scores[b][in_b]) for x in both]
        overlap = [overlap_coefficient(labels[a], labels[b]) for labels in both]
        wasserstein = [float(distance(labels[a], labels[b])) for labels in both]
        changed = opposite_share(before[a], after[a], before[b], after[b])
        results.append(PairOverlap((a, b), overlap, wasserstein, contradicted, changed))
    return results


def srcc_and_rmse(label_N: Values, score_N: Values) -> dict[str, float]:
    """SRCC and RMSE between labels and scores, over images with a score; SRCC is NaN if either is constant."""
    label_N, score_N = np.asarray(label_N, np.float64), np.asarray(score_N, np.float64)
    scored = np.isfinite(score_N)
    labels, scores = label_N[scored], score_N[scored]
    srcc = rmse = float("nan")
    if labels.size:
        rmse = float(np.sqrt(np.mean((labels - scores) ** 2)))
        if np.ptp(labels) and np.ptp(scores):
            srcc = float(require("scipy.stats").spearmanr(labels, scores).statistic)
    return {"srcc": srcc, "rmse": rmse}


def report_of(mos: Sets, before: Sets, after: Sets, scores: Sets, scorer: str) -> dict[str, Any]:
    """A JSON-ready object with metrics of each set (`sets`), of all together (`pooled`) and of `pairs` of sets.

    Labels are original (`mos`), rescaled linearly to 1..5 (`before`) and realigned (`after`); the scores are those of
    the model `scorer`, NaN for images without a score.
    """
    rows = [
        {
            "set": name,
            "images": len(labels),
            "scored": int(np.isfinite(scores[name]).sum()),
            "mos": [float(labels.min()), float(labels.max())],
            "realigned": [float(after[name].min()), float(after[name].max())],
            "before": srcc_and_rmse(before[name], scores[name]),
            "after": srcc_and_rmse(after[name], scores[name]),
        }
        for name, labels in mos.items()
    ]
    pooled = {
        when: srcc_and_rmse(np.concatenate(list(labels.values())), np.concatenate(list(scores.values())))
        for when, labels in (("before", before), ("after", after))
    }
    pairs = [dataclasses.asdict(pair) for pair in compare_sets(before, after, scores)]
    return {"scorer": scorer, "sets": rows, "pooled": pooled, "pairs": pairs}


def markdown_of(report: Mapping[str, Any], method: str) -> str:
    """The report as Markdown tables."""
    rows = [
        (
            row["set"],
            f"{row['scored']} of {row['images']}",
            f"{row['mos'][0]:.4g} to {row['mos'][1]:.4g}",
            f"{row['realigned'][0]:.3f} to {row['realigned'][1]:.3f}",
            *_change(row, "srcc"),
            *_change(row, "rmse"),
        )
        for row in report["sets"]
    ]
    rows.append(("all together", "", "", "", *_change(report["pooled"], "srcc"), *_change(report["pooled"], "rmse")))
    header = ("set", "scored", "MOS", "realigned", "SRCC before", "after", "RMSE before", "after")
    blocks = [
        f"# Labels on the scale of {report['scorer']} ({method} maps)",
        "Before: MOS rescaled linearly to 1..5. SRCC and RMSE: between labels and scores.",
        markdown_table(header, rows),
    ]
    if report["pairs"]:
        columns = ("sets", "overlap before", "after", "Wasserstein before", "after", "contradicted before", "after")
        body = [
            (
                " and ".join(pair["sets"]),
                *(f"{value:.3f}" for key in ("overlap", "wasserstein") for value in pair[key]),
                *(f"{value:.1%}" for value in pair["contradicted"]),
                f"{pair['order_changed']:.1%}",
            )
            for pair in report["pairs"]
        ]
        blocks += [
            "Contradicted: pairs with one image of each set whose labels have the opposite order of the scores.",
            markdown_table((*columns, "order changed"), body),
        ]
    return "\n\n".join(blocks) + "\n"


def _change(row: Mapping[str, Any], key: str) -> tuple[str, str]:
    return f"{row['before'][key]:.3f}", f"{row['after'][key]:.3f}"


def draw(path: str | os.PathLike, before: Sets, after: Sets, scores: Sets, scorer: str = "the model") -> None:
    """Writes the figure, PNG, PDF or SVG by the suffix: maps on the left, distributions on the right.

    The arguments are those of `report_of`. Raises UsageError if matplotlib is not installed.
    """
    figure = require("matplotlib.figure").Figure(figsize=(13, 4.4), layout="constrained")
    maps, left, right = figure.subplots(1, 3)
    edges = np.linspace(LOW, HIGH, BINS + 1)
    # Fixed, so that the same data give the same figure.
    rng = np.random.default_rng(0)
    for number, name in enumerate(before):
        colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
        shown = rng.permutation(len(before[name]))[:POINTS]
        maps.scatter(before[name][shown], scores[name][shown], s=4, alpha=0.15, color=colour, linewidths=0)
        order = np.argsort(before[name], kind="stable")
        maps.plot(before[name][order], after[name][order], line, color=colour, label=name, linewidth=2)
        for axes, labels in ((left, before[name]), (right, after[name])):
            counts, _ = np.histogram(np.clip(labels, LOW, HIGH), edges)
            axes.stairs(counts / len(labels), edges, color=colour, linestyle=line, label=name, linewidth=1.6)
    maps.set(xlabel="MOS, rescaled to 1..5", ylabel=f"score by {scorer}", title="Maps onto the common scale")
    left.set(xlabel="MOS, rescaled to 1..5", ylabel="share of images", title="Labels before")
    right.set(xlabel="realigned label", ylabel="share of images", title="Labels after")
    top = max(left.get_ylim()[1], right.get_ylim()[1])
    for axes in (left, right):
        axes.set(xlim=(LOW, HIGH), ylim=(0, top))
    maps.set(xlim=(LOW, HIGH))
    maps.legend(frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None} if str(path).endswith(".png") else None)
