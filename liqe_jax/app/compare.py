"""Compares two photographs: the difference of their values, and their distributions side by side.

The numbers of each photograph are stored in the visitor's browser, so they are validated when they come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liqe_jax.app import markup
from liqe_jax.app.photograph import ScoredPhotograph
from liqe_jax.tasks import TaskSet


def numbers(scored: ScoredPhotograph) -> dict[str, Any]:
    """The JSON-ready input of `compare` for one photograph."""
    return {"name": scored.name, "probabilities": scored.probabilities}


def compare(both: Sequence[Any], tasks: TaskSet) -> str:
    """The comparison as HTML; "" if one of the photographs is missing or invalid.

    Args:
      both: results of `numbers`, or untrusted values.
      tasks: task set of the model.
    """
    sides = [_validated(side, tasks) for side in both]
    known = [side for side in sides if side is not None]
    if len(known) < len(sides):
        return ""
    values = [
        {
            a.name: sum(p * value for p, value in zip(probabilities[a.name].values(), a.values, strict=True))
            for a in tasks.attributes
            if a.values is not None
        }
        for _, probabilities in known
    ]
    return markup.difference([name for name, _ in known], values, [probabilities for _, probabilities in known])


def _validated(side: Any, tasks: TaskSet) -> tuple[str, Mapping[str, Mapping[str, float]]] | None:
    """Name and probabilities; None unless `side` has a probability for every label of the task set."""
    try:
        return str(side["name"]), {
            attribute.name: {
                label: min(max(float(side["probabilities"][attribute.name][label]), 0.0), 1.0)
                for label in attribute.labels
            }
            for attribute in tasks.attributes
        }
    except (KeyError, TypeError, ValueError):
        return None
