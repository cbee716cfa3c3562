"""Comparison of an evaluation with another one: pairs their models and images, and tests the differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from liqe_jax.errors import DataError
from liqe_jax.evaluate.finished import FinishedEvaluation
from liqe_jax.evaluate.guard import SeenCheck, check_seen, slug
from liqe_jax.evaluate.protocol import Unit, datasets_of, stated
from liqe_jax.evaluate.results import Result
from liqe_jax.metrics.significance import FEWEST, Comparison, compare_models


@dataclasses.dataclass(frozen=True)
class Against:
    """The comparison of SRCC with a unit of the other evaluation, and whether that one's model has seen the images."""

    unit: Unit
    seen: SeenCheck
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        found = self.comparison
        return {
            "first": found.first,
            "second": found.second,
            "second_model": self.unit.model,
            "second_status": self.seen.status,
            "second_reason": self.seen.reason,
            "difference_interval": [found.bootstrap.low, found.bootstrap.high],
            "williams_p": found.williams.p,
            "bootstrap_p": found.bootstrap.p,
        }


def differences_of(
    finished: FinishedEvaluation, results: Sequence[Result], other: FinishedEvaluation, bootstrap: Mapping[str, Any]
) -> dict[int, Against]:
    """Compares the SRCC of each result with that of another evaluation, on the images that both have predicted.

    Each model is compared with the other evaluation's model of the same key ("session-3"), or with its first model
    if it does not have that key.

    Returns:
      Position of a result -> its comparison.

    Raises:
      DataError: the two have no unit in common, or have different MOS for the same images.
    """
    theirs: dict[tuple[str, ...], Unit] = {}
    for unit in other.units:
        theirs.setdefault(_images_of(unit), unit)
        theirs[(*_images_of(unit), unit.model)] = unit
    found = {}
    for position, result in enumerate(results):
        key = _images_of(result.unit)
        match = theirs.get((*key, result.unit.model)) or theirs.get(key)
        if match and (against := _against(finished, result.unit, other, match, bootstrap)):
            found[position] = against
    if not found:
        raise DataError(
            f"{other.folder} has no evaluation in common with {finished.folder}: expected a split of a data set "
            f"of which both have predicted at least {FEWEST} images. Evaluate both on the same sets."
        )
    return found


def _images_of(unit: Unit) -> tuple[str, ...]:
    return unit.protocol, slug(unit.dataset), unit.session, unit.split


def _against(
    finished: FinishedEvaluation, unit: Unit, other: FinishedEvaluation, match: Unit, bootstrap: Mapping[str, Any]
) -> Against | None:
    """None if the two have too few images in common for a test."""
    mine, yours = finished.predictions(unit), other.predictions(match)
    here, there = (p.indices(unit.session, unit.split) for p in (mine, yours))
    place = {yours.names[i]: i for i in there}
    pairs = np.array([(i, place[mine.names[i]]) for i in here if mine.names[i] in place], np.int64).reshape(-1, 2)
    if len(pairs) < FEWEST:
        return None
    mos = mine.mos[pairs[:, 0]]
    if not np.array_equal(mos, yours.mos[pairs[:, 1]]):
        raise DataError(
            f"{other.folder} and {finished.folder} have different MOS for {unit.dataset}. Evaluate the same set."
        )
    trained_on = stated(other.settings["trained_on"], match.model, other.provenance(match))
    seen = check_seen(trained_on, yours.dataset, yours.splits, pairs[:, 1], datasets_of(other.units))
    comparison = compare_models(mos, mine.quality[pairs[:, 0]], yours.quality[pairs[:, 1]], **bootstrap)
    return Against(match, seen, comparison)
