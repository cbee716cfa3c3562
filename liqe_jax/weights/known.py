"""Models that have a name: the one inside the package, and those whose files are on the Hugging Face hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from liqe_jax import assets
from liqe_jax.tasks import TaskSet
from liqe_jax.taxonomy import JOINT, QUALITY_ONLY
from liqe_jax.weights.provenance import TrainingSet

EMBEDDED = "liqe_nano"

# What a user of the embedded model should know, in a line.
ABOUT = (
    "liqe_nano, the small model inside the package: trained on 1,162 photographs with MOS and on synthetic "
    "distortions. LIQE's own weights are a larger model, trained on six data sets (--model liqe_mix fetches them)."
)


@dataclasses.dataclass(frozen=True)
class KnownModel:
    """A file on the Hugging Face hub and what is known of it; the last three fields are those of `Provenance`."""

    repository: str
    file: str
    tasks: TaskSet  # what it predicts
    licence: str
    trained_on: tuple[TrainingSet, ...]
    notes: tuple[str, ...]


_LICENCE = (
    "LIQE's repository is MIT; the copy in chaofengc/IQA-PyTorch-Weights is stated to be CC BY-NC-SA 4.0 "
    "(non-commercial). Ask the authors before commercial use."
)

# `liqe_mix` was trained on session 1 of LIQE's ten random splits, not on official splits: the
# author says so in zwx8981/LIQE issues 28 and 30.
KNOWN_MODELS: Mapping[str, KnownModel] = {
    "liqe_mix": KnownModel(
        "chaofengc/IQA-PyTorch-Weights",
        "liqe_mix.pt",
        JOINT,
        _LICENCE,
        tuple(
            TrainingSet(name, "session 1 of LIQE's splits")
            for name in ("LIVE", "CSIQ", "KADID-10k", "BID", "CLIVE", "KonIQ-10k")
        ),
        ("Session 1 of LIQE's random splits, so KonIQ-10k's official test images are partly training images.",),
    ),
    "liqe_koniq": KnownModel(
        "chaofengc/IQA-PyTorch-Weights",
        "liqe_koniq.pt",
        QUALITY_ONLY,
        _LICENCE,
        (TrainingSet("KonIQ-10k", "unknown split"),),
        ("Quality only: no scenes, no distortions.",),
    ),
}


def embedded_folder() -> Path:
    """Where the embedded model lies, in our own format."""
    return Path(str(assets.__path__[0])) / EMBEDDED
