"""Two photographs against each other: their difference, and their distributions side by side.

The numbers of either wait in the visitor's browser for the other's, so what comes back is not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liqe_jax.app import markup
from liqe_jax.app.judge import Judgement
from liqe_jax.tasks import TaskSet


def numbers(judgement: Judgement) -> dict[str, Any]:
    """What `compare` needs of a judgement, ready for JSON."""
    return {"name": judgement.name, "probabilities": judgement.probabilities}


def compare(both: Sequence[Any], tasks: TaskSet) -> str:
    """HTML; nothing as long as there are not two of `numbers`.

    Args:
      both: results of `numbers`, or anything else.
      tasks: those of the model.
    """
    sides = [_trusted(side, tasks) for side in both]
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


def _trusted(side: Any, tasks: TaskSet) -> tuple[str, Mapping[str, Mapping[str, float]]] | None:
    """Name and probabilities, if `side` holds one for each label of the task set."""
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
