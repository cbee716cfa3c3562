"""Reads the folder of a finished evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liqe_jax.bounded_io import read_json
from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import slug
from liqe_jax.evaluate.predictions import SetPredictions, read_predictions
from liqe_jax.evaluate.protocol import Unit
from liqe_jax.messages import printable
from liqe_jax.weights.provenance import Provenance

FILE = "evaluation.json"


def prediction_path(folder: Path, model: str, set_slug: str) -> Path:
    """The file with the predictions of a model for a set."""
    return folder / "predictions" / model / f"{set_slug}.jsonl"


def _unit(content: dict[str, str]) -> Unit:
    """A unit; files of earlier versions call its session `split` and its split `part`."""
    if "part" in content:
        content["session"], content["split"] = content["split"], content.pop("part")
    return Unit(**content)


class FinishedEvaluation:
    """The folder of a finished evaluation; predictions are read when needed."""

    def __init__(self, folder: Path):
        """Reads the list of units and models; raises DataError if there is none, or its file is corrupt."""
        self.folder = folder
        try:
            content = read_json(folder / FILE)
            self.units = [_unit(unit) for unit in content["units"]]
            self.models: dict[str, Any] = content["models"]
            self.settings: dict[str, Any] = content["settings"]
            self.skipped: dict[str, str] = content["skipped"]
        except OSError as error:
            raise DataError(
                f"{folder} does not contain a finished evaluation ({error}). Run eval.py with --weights."
            ) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{folder / FILE} is corrupt ({printable(repr(error))}). Run eval.py with --weights again."
            ) from error
        self._read: dict[tuple[str, str], SetPredictions] = {}

    def predictions(self, unit: Unit) -> SetPredictions:
        """The predictions of a unit's model for its set; raises DataError if their file is missing or corrupt."""
        key = unit.model, slug(unit.dataset)
        if key not in self._read:
            self._read[key] = read_predictions(prediction_path(self.folder, *key))
        return self._read[key]

    def provenance(self, unit: Unit) -> Provenance:
        """The provenance of a unit's model."""
        return Provenance.from_dict(self.models[unit.model]["provenance"])

    @property
    def name(self) -> str:
        """The name of the model in tables."""
        first = next(iter(self.models.values()))["provenance"]["name"]
        several = f" and {len(self.models) - 1} more" if len(self.models) > 1 else ""
        return self.settings["name"] or f"{first}{several}"
