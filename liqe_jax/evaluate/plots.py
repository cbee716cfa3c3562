"""Plots of an evaluation as PNG: MOS against predictions, and confusion matrices."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from liqe_jax.imports import require
from liqe_jax.metrics.correlation import fit_logistic

BLUE, RED = "#0072B2", "#D55E00"

# With more points than this, they are drawn fainter.
MANY = 1000


def scatter(mos: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], title: str) -> bytes:
    """Plots MOS against predictions, with the fitted logistic.

    Raises:
      UsageError: matplotlib is not installed.
      DataError: see `correlation.check_pair`.
    """
    curve = fit_logistic(mos, predicted)
    figure = require("matplotlib.figure").Figure(figsize=(4.6, 3.9), layout="constrained")
    axes = figure.subplots()
    faint = 0.75 * min(1.0, (MANY / len(mos)) ** 0.5)
    axes.scatter(predicted, mos, s=12, alpha=faint, color=BLUE, linewidths=0)
    x = np.linspace(np.min(predicted), np.max(predicted), 200)
    axes.plot(x, curve(x), color=RED, linewidth=2, label="logistic" if curve.fitted else "straight line")
    axes.set(xlabel="predicted quality", ylabel="MOS", title=title)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def confusion_picture(counts: Int[np.ndarray, "L L"], labels: Sequence[str], title: str) -> bytes:
    """Plots a confusion matrix: counts, coloured by their share of the row; labels without images are left out.

    Raises:
      UsageError: matplotlib is not installed.
    """
    used = [i for i in range(len(labels)) if counts[i].sum() or counts[:, i].sum()]
    counts, labels = counts[np.ix_(used, used)], [labels[i] for i in used]
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    side = 1.9 + 0.52 * len(labels)
    figure = require("matplotlib.figure").Figure(figsize=(side, side - 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.55 else "#222"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.tick_params(length=0, labelsize=8)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # Without matplotlib's version, so that equal plots give equal bytes.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
