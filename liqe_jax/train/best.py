"""The models of a run, ready for `liqe score`: the best ones on validation, and the last one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_text_features

LAST = "last"


def export_folder(workdir: str, name: str) -> Path:
    """Where a run's models go, which is local: a local working directory, or NAME/RUN here for gs://BUCKET/.../RUN."""
    if "://" not in workdir:
        return Path(workdir)
    return Path.cwd() / name / workdir.rstrip("/").rpartition("/")[2]


def lost(folder: Path, best: Mapping[str, float]) -> list[str]:
    """Names of `best` whose model is not in the folder (any more): with gs:// it may lie on another machine."""
    return [name for name in best if not (folder / f"best_{name}").is_dir()]


def improved(averages: Mapping[str, float], best: dict[str, float]) -> dict[str, float]:
    """The averages of a validation (`validate.averages`) that are better than before; updates `best`."""
    better = {name: value for name, value in averages.items() if value > best.get(name, float("-inf"))}
    best.update(better)
    return better


def export_best(folder: Path, better: Mapping[str, float], make: Callable[[], Checkpoint], epoch: int) -> None:
    """Writes `folder/best_NAME` for every average of `better`; `make` gives the model that was validated."""
    checkpoint = make()
    checkpoint = with_text_features(checkpoint, checkpoint.tasks)
    for name, value in better.items():
        note = f"best by {name} on validation: {value:.4f} after epoch {epoch}"
        provenance = dataclasses.replace(checkpoint.provenance, notes=(*checkpoint.provenance.notes, note))
        replace_native(folder / f"best_{name}", dataclasses.replace(checkpoint, provenance=provenance))


def export_last(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes `folder/last`; returns where it is."""
    replace_native(folder / LAST, with_text_features(checkpoint, checkpoint.tasks))
    return folder / LAST


def replace_native(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes a model folder in place of an older one, which stays until the new one is complete."""
    fresh, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write_native(fresh, checkpoint)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
