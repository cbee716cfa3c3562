"""Where a model comes from, what it was trained on, and images that it may have seen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """One data set that a model was trained on."""

    dataset: str  # a key of `DATASET_PATHS`, or any other name
    split: str = "unknown"  # or "session 1" (one of LIQE's ten random splits), "official", "all"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known of a model; unknown things say so.

    Attributes:
      name: for tables.
      source: file, repository or training run.
      source_sha256: of the file it was read from, hex; empty where there was more than one.
      licence: of the weights.
      trained_on: data sets whose images it has seen; None where nobody said.
      notes: anything else, in sentences.
    """

    name: str
    source: str = "unknown"
    source_sha256: str = ""
    licence: str = "unknown"
    trained_on: tuple[TrainingSet, ...] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Provenance:
        """The inverse of `to_dict`; ModelError where keys are missing or unknown."""
        try:
            sets, notes = description.get("trained_on"), tuple(description.get("notes", ()))
            trained_on = None if sets is None else tuple(TrainingSet(**entry) for entry in sets)
            return cls(**{**description, "trained_on": trained_on, "notes": notes})
        except TypeError as error:
            raise ModelError(
                f"Unreadable provenance with the keys {quoted(', '.join(map(str, description)))}: {printable(error)}."
            ) from error


# How the images of a data set are recognised: by their names and folders in the official
# layouts and LIQE's label files (zwx8981/LIQE, IQA_Database). Matched against the end of a path.
DATASET_PATHS: Mapping[str, str] = {
    "LIVE": r"(jp2k|jpeg|wn|gblur|fastfading)/img\d+\.bmp",
    "CSIQ": r"[\w.]+\.(AWGN|BLUR|contrast|fnoise|JPEG|jpeg2000)\.\d\.png",
    "KADID-10k": r"I\d\d_\d\d_\d\d\.png",
    "BID": r"DatabaseImage\d{4}\.JPG",
    "CLIVE": r"(ChallengeDB_release|Images)/(\d+\.bmp|\d+\.JPG)",
    "KonIQ-10k": r"(1024x768|512x384)/\d+\.jpg",
    "SPAQ": r"TestImage/\d{5}\.jpg",
    "TID2013": r"distorted_images/[iI]\d\d_\d\d_\d\.(bmp|BMP)",
    "PIPAL": r"A\d{4}_\d\d_\d\d\.bmp",
    "AGIQA-3K": r"(AttnGAN|glide|xl2\.2|sd1\.5|midjourney|DALLE2)_\w+_\d{3}\.jpg",
}


def seen_in_training(provenance: Provenance, path: str) -> str | None:
    """A warning if `path` looks like an image of a data set that the model was trained on, or None.

    The model may have seen it: a name does not tell the split.
    """
    posix = PurePath(path).as_posix()
    for entry in provenance.trained_on or ():
        pattern = DATASET_PATHS.get(entry.dataset)
        if pattern and re.search(rf"(^|/){pattern}$", posix):
            return (
                f"looks like {entry.dataset}, on which {provenance.name} was trained ({entry.split}): "
                "it may have seen this image, so the score is not a test result"
            )
    return None
