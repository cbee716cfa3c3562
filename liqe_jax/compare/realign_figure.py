"""Figure of the maps of several sets onto one scale, and of their labels before and after."""

from __future__ import annotations

import os

import numpy as np

from liqe_jax.compare.overlap import BINS, Sets
from liqe_jax.compare.realign import HIGH, LOW
from liqe_jax.extras import require

POINTS = 1500  # images shown per set

# Okabe and Ito's palette for color blindness; line styles distinguish more than eight sets.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A900")
LINES = ("-", "--", ":", "-.")


def draw(path: str | os.PathLike, before: Sets, after: Sets, scores: Sets, scorer: str = "the model") -> None:
    """Writes the figure, PNG, PDF or SVG by the suffix: maps on the left, distributions on the right.

    The arguments are those of `overlap.report_of`.

    Raises:
      UsageError: matplotlib is not installed.
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
