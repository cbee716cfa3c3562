"""What is evaluated: the ten sessions of six sets, official splits, whole sets across data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from liqe_jax.weights.provenance import Provenance, TrainingSet

# Of LIQE's Table 1, in the order of its columns.
SIX_SETS = ("LIVE", "CSIQ", "KADID-10k", "BID", "CLIVE", "KonIQ-10k")
SESSIONS = tuple(str(session) for session in range(1, 11))
WHOLE_SETS = ("TID2013", "SPAQ", "PIPAL", "AGIQA-3K", "FLIVE", "KADID-10k", "CSIQ", "KonIQ-10k")

SESSION_PROTOCOL, OFFICIAL_PROTOCOL, WHOLE_PROTOCOL = "sessions", "official", "whole"

# In --weights: replaced by the number of a session, for ten models.
PLACEHOLDER = "{session}"


@dataclasses.dataclass(frozen=True)
class Unit:
    """One figure's worth of images: a part of a split of a data set, judged by one model.

    Attributes:
      protocol: "sessions", "official" or "whole".
      dataset, split, part: which images; split "all" is the whole set.
      model: key of the model, "model" or "session-3"; the name of its folder of predictions.
    """

    protocol: str
    dataset: str
    split: str
    part: str
    model: str


def model_keys(weights: str, sessions: Sequence[str]) -> dict[str, str]:
    """Key -> weights: one model, or one for each session where `weights` has the placeholder."""
    if PLACEHOLDER not in weights:
        return {"model": weights}
    return {f"session-{session}": weights.replace(PLACEHOLDER, session) for session in sessions}


def units(config: Any, keys: Sequence[str]) -> list[Unit]:
    """Everything that a configuration asks for, in the order of the tables."""
    several = list(keys) != ["model"]
    whole = list(keys) if config.whole_models == "all" else list(keys)[:1]
    found = [
        Unit(SESSION_PROTOCOL, dataset, str(session), config.part, f"session-{session}" if several else "model")
        for dataset in config.sets
        for session in config.sessions
    ]
    found += [
        Unit(OFFICIAL_PROTOCOL, dataset, split, config.part, key) for dataset, split in config.official for key in whole
    ]
    return found + [Unit(WHOLE_PROTOCOL, dataset, "all", "", key) for dataset in config.whole for key in whole]


def datasets_of(wanted: Sequence[Unit]) -> list[str]:
    """The data sets of some units, each once, in order."""
    return list(dict.fromkeys(unit.dataset for unit in wanted))


def describe(unit: Unit) -> str:
    """A unit in words, for tables and errors."""
    kind = "session" if unit.split.isdigit() else "split"
    where = {"all": "whole set", "official": f"official {unit.part} part"}.get(
        unit.split, f"{kind} {unit.split}, {unit.part} part"
    )
    return f"{unit.dataset}, {where}"


def stated(pairs: Sequence[Sequence[str]], key: str, provenance: Provenance) -> tuple[TrainingSet, ...] | None:
    """What a model was trained on: as the configuration says, else as its provenance does."""
    if not pairs:
        return provenance.trained_on
    session = key.removeprefix("session-")
    return tuple(TrainingSet(name, split.replace(PLACEHOLDER, session)) for name, split in pairs)
