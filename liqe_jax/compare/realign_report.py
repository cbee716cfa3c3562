"""Metrics of realigned labels: SRCC and RMSE against the scores, and overlap of the sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.overlap import compare_sets, srcc_and_rmse
from liqe_jax.markup import markdown_table


def report_of(
    mos: Mapping[str, Float[np.ndarray, " N"]],
    before: Mapping[str, Float[np.ndarray, " N"]],
    after: Mapping[str, Float[np.ndarray, " N"]],
    scores: Mapping[str, Float[np.ndarray, " N"]],
    scorer: str,
) -> dict[str, Any]:
    """A JSON-ready object with metrics of each set (`sets`), of all together (`pooled`) and of `pairs` of sets.

    Args:
      mos: set name -> original labels.
      before: labels rescaled linearly to 1..5.
      after: realigned labels.
      scores: scores of the model, NaN for images without a score.
      scorer: name of the model.
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
