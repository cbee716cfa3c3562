"""The folder of a finished evaluation, as it is read again."""

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
    """Where the predictions of a model for a set are kept."""
    return folder / "predictions" / model / f"{set_slug}.jsonl"


class Kept:
    """An evaluation's folder, read when asked."""

    def __init__(self, folder: Path):
        """Reads what was evaluated.

        Raises:
          DataError: there is no evaluation, or it is damaged.
        """
        self.folder = folder
        try:
            content = read_json(folder / FILE)
            self.units = [Unit(**unit) for unit in content["units"]]
            self.models: dict[str, Any] = content["models"]
            self.settings: dict[str, Any] = content["settings"]
            self.skipped: dict[str, str] = content["skipped"]
        except OSError as error:
            raise DataError(f"{folder} holds no finished evaluation ({error}). Run eval.py with --weights.") from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{folder / FILE} is damaged ({printable(repr(error))}). Run eval.py with --weights again."
            ) from error
        self._read: dict[tuple[str, str], SetPredictions] = {}

    def predictions(self, unit: Unit) -> SetPredictions:
        """Of a unit's model for its set.

        Raises:
          DataError: the file is missing or damaged.
        """
        key = unit.model, slug(unit.dataset)
        if key not in self._read:
            self._read[key] = read_predictions(prediction_path(self.folder, *key))
        return self._read[key]

    def provenance(self, unit: Unit) -> Provenance:
        """Of a unit's model."""
        return Provenance.from_dict(self.models[unit.model]["provenance"])

    @property
    def name(self) -> str:
        """What the model is called."""
        first = next(iter(self.models.values()))["provenance"]["name"]
        several = f" and {len(self.models) - 1} more" if len(self.models) > 1 else ""
        return self.settings["name"] or f"{first}{several}"
