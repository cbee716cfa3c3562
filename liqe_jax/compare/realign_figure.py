"""The maps of several sets onto one scale, and their labels before and after, in one figure."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.overlap import BINS
from liqe_jax.compare.realign import HIGH, LOW
from liqe_jax.extras import require

POINTS = 1500  # images shown per set; more would hide each other

# Okabe and Ito's colours, told apart with any colour vision; with line styles for more than eight sets.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A900")
LINES = ("-", "--", ":", "-.")


def draw(
    path: str | os.PathLike,
    before: Mapping[str, Float[np.ndarray, " N"]],
    after: Mapping[str, Float[np.ndarray, " N"]],
    scores: Mapping[str, Float[np.ndarray, " N"]],
    scorer: str = "the model",
) -> None:
    """Writes the figure, PNG, PDF or SVG by the suffix: maps on the left, distributions on the right.

    Args:
      path: where to.
      before: set name -> labels stretched linearly to 1..5.
      after: set name -> realigned labels.
      scores: set name -> the model's scores, NaN where there is none.
      scorer: what the model is called.

    Raises:
      UsageError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure").Figure(figsize=(13, 4.4), layout="constrained")
    maps, left, right = figure.subplots(1, 3)
    edges = np.linspace(LOW, HIGH, BINS + 1)
    # Fixed, so that the same data give the same picture.
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
    maps.set(xlabel="MOS, stretched to 1..5", ylabel=f"score by {scorer}", title="Maps onto the common scale")
    left.set(xlabel="MOS, stretched to 1..5", ylabel="share of images", title="Labels before")
    right.set(xlabel="realigned label", ylabel="share of images", title="Labels after")
    top = max(left.get_ylim()[1], right.get_ylim()[1])
    for axes in (left, right):
        axes.set(xlim=(LOW, HIGH), ylim=(0, top))
    maps.set(xlim=(LOW, HIGH))
    maps.legend(frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None} if str(path).endswith(".png") else None)
