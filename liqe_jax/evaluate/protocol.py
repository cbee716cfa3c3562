"""The units of an evaluation: ten sessions of six sets, official splits, whole sets for cross-database tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from liqe_jax.weights.provenance import Provenance, TrainingSet

# The data sets of LIQE's Table 1, in the order of its columns.
SIX_SETS = ("LIVE", "CSIQ", "KADID-10k", "BID", "CLIVE", "KonIQ-10k")
WHOLE_SETS = ("TID2013", "SPAQ", "PIPAL", "AGIQA-3K", "FLIVE", "KADID-10k", "CSIQ", "KonIQ-10k")

SESSION_PROTOCOL, OFFICIAL_PROTOCOL, WHOLE_PROTOCOL = "sessions", "official", "whole"

# In --weights, replaced by the number of the session; there is then one model per session.
PLACEHOLDER = "{session}"


@dataclasses.dataclass(frozen=True)
class Unit:
    """The images of a data set that one result is computed from, predicted by one model.

    Attributes:
      protocol: "sessions", "official" or "whole".
      session: "1" to "10", "official" or another session of the set; "all" is the whole set.
      split: "train", "val" or "test"; "" for the whole set.
      model: key of the model, "model" or "session-3"; the name of its folder of predictions.
    """

    protocol: str
    dataset: str
    session: str
    split: str
    model: str


def model_keys(weights: str, sessions: Sequence[str]) -> dict[str, str]:
    """Key -> weights: one model, or one per session if `weights` contains the placeholder."""
    if PLACEHOLDER not in weights:
        return {"model": weights}
    return {f"session-{session}": weights.replace(PLACEHOLDER, session) for session in sessions}


def units(config: Any, keys: Sequence[str]) -> list[Unit]:
    """The units of a configuration, in the order of the tables."""
    several = list(keys) != ["model"]
    whole = list(keys) if config.whole_models == "all" else list(keys)[:1]
    if config.set and config.split == "all":
        return [Unit(WHOLE_PROTOCOL, config.set, "all", "", key) for key in whole]
    if config.set:
        return [Unit(OFFICIAL_PROTOCOL, config.set, config.session, config.split, key) for key in whole]
    found = [
        Unit(SESSION_PROTOCOL, dataset, str(session), config.split, f"session-{session}" if several else "model")
        for dataset in config.sets
        for session in config.sessions
    ]
    found += [
        Unit(OFFICIAL_PROTOCOL, dataset, session, config.split, key)
        for dataset, session in config.official
        for key in whole
    ]
    return found + [Unit(WHOLE_PROTOCOL, dataset, "all", "", key) for dataset in config.whole for key in whole]


def datasets_of(wanted: Sequence[Unit]) -> list[str]:
    """The data sets of units, without repetitions, in order."""
    return list(dict.fromkeys(unit.dataset for unit in wanted))


def describe(unit: Unit) -> str:
    """Describes a unit, for tables and errors."""
    where = {"all": "whole set", "official": f"official {unit.split} split"}.get(
        unit.session, f"session {unit.session}, {unit.split} split"
    )
    return f"{unit.dataset}, {where}"


def stated(pairs: Sequence[Sequence[str]], key: str, provenance: Provenance) -> tuple[TrainingSet, ...] | None:
    """The training data of a model: as stated in the configuration, or else in its provenance."""
    if not pairs:
        return provenance.trained_on
    session = key.removeprefix("session-")
    return tuple(TrainingSet(name, trained.replace(PLACEHOLDER, session)) for name, trained in pairs)
