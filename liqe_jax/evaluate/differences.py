"""An evaluation against another one: which of its models and images stand against which."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import Verdict, judge, slug
from liqe_jax.evaluate.kept import Kept
from liqe_jax.evaluate.protocol import Unit, datasets_of, stated
from liqe_jax.evaluate.results import Result
from liqe_jax.metrics.significance import FEWEST, Comparison, compare


@dataclasses.dataclass(frozen=True)
class Against:
    """A unit against the other evaluation's.

    Attributes:
      unit: the other evaluation's.
      verdict: whether the images of both are a test for the other's model.
      comparison: of SRCC; first is ours.
    """

    unit: Unit
    verdict: Verdict
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        found = self.comparison
        return {
            "first": found.first,
            "second": found.second,
            "second_model": self.unit.model,
            "second_standing": self.verdict.standing,
            "second_reason": self.verdict.reason,
            "difference_interval": [found.bootstrap.low, found.bootstrap.high],
            "williams_p": found.williams.p,
            "bootstrap_p": found.bootstrap.p,
        }


def differences_of(
    kept: Kept, results: Sequence[Result], other: Kept, bootstrap: Mapping[str, Any]
) -> dict[int, Against]:
    """Position of a result -> its SRCC against that of another evaluation, on the images of both.

    Each model stands against the other evaluation's model of the same key ("session-3"); where that has none, against
    its first one.

    Args:
      kept, results: this evaluation.
      other: the other one; its own settings say what its models were trained on where they do not.
      bootstrap: options of `bootstrap.bootstrap`.

    Raises:
      DataError: the two have no unit in common, or judged it against other opinion scores.
      UsageError: an option of the bootstrap is out of its range.
    """
    theirs: dict[tuple[str, ...], Unit] = {}
    for unit in other.units:
        theirs.setdefault(_images_of(unit), unit)
        theirs[(*_images_of(unit), unit.model)] = unit
    found = {}
    for position, result in enumerate(results):
        key = _images_of(result.unit)
        match = theirs.get((*key, result.unit.model)) or theirs.get(key)
        if match and (against := _against(kept, result.unit, other, match, bootstrap)):
            found[position] = against
    if not found:
        raise DataError(
            f"{other.folder} has no evaluation in common with {kept.folder}: no part of a data set of which both have "
            f"predicted the same {FEWEST} images or more. Evaluate both on the same sets."
        )
    return found


def _images_of(unit: Unit) -> tuple[str, ...]:
    return unit.protocol, slug(unit.dataset), unit.split, unit.part


def _against(kept: Kept, unit: Unit, other: Kept, match: Unit, bootstrap: Mapping[str, Any]) -> Against | None:
    """None where the two have fewer images in common than can be tested."""
    mine, yours = kept.predictions(unit), other.predictions(match)
    here, there = (p.indices(unit.split, unit.part) for p in (mine, yours))
    place = {yours.names[i]: i for i in there}
    pairs = np.array([(i, place[mine.names[i]]) for i in here if mine.names[i] in place], np.int64).reshape(-1, 2)
    if len(pairs) < FEWEST:
        return None
    mos = mine.mos[pairs[:, 0]]
    if not np.array_equal(mos, yours.mos[pairs[:, 1]]):
        raise DataError(f"{other.folder} holds other opinion scores for {unit.dataset}. Evaluate both on the same.")
    trained_on = stated(other.settings["trained_on"], match.model, other.provenance(match))
    verdict = judge(trained_on, yours.dataset, yours.parts, pairs[:, 1], datasets_of(other.units))
    return Against(match, verdict, compare(mos, mine.quality[pairs[:, 0]], yours.quality[pairs[:, 1]], **bootstrap))
