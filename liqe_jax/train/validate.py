"""Validation, the models of a run (the best ones on validation, and the last one), and checkpoints while it goes on."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.encoders.base import encode_prompts
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.metrics.accuracy import accuracy, top_k_recall
from liqe_jax.metrics.correlation import plcc, srcc
from liqe_jax.model.head import Prediction
from liqe_jax.model.predict import predict_from_features
from liqe_jax.scoring.forward import Forward, Weights
from liqe_jax.scoring.predict_set import Predicted, check_finite, predict_set
from liqe_jax.train.checkpoints import Background, Checkpoints
from liqe_jax.train.checks import has_known_labels
from liqe_jax.train.plan import Plan, nested
from liqe_jax.train.report import Logs, Progress, scatter_picture
from liqe_jax.train.sources import HeldOut
from liqe_jax.train.step import TrainState, exported_params
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_text_features

LAST = "last"


@dataclasses.dataclass
class Validation:
    """Predicts the held-out images of a run with the parameters that would be exported, and keeps the best models.

    Attributes:
      start: what the run starts from: its tokenizer, and its preset where the configuration names none.
      devices: local ones.
      held: "val" and "test" -> held-out images.
      features: name of a set -> input of the trained part for all its images and their mirror images; None to run the
        whole encoder.
      folder: of the best models, which `background` writes.
      export: (state, step) -> the model to write.
    """

    config: ConfigDict
    plan: Plan
    start: Checkpoint
    devices: list[jax.Device]
    held: Mapping[str, HeldOut]
    features: Mapping[str, Float[np.ndarray, "N 2 r"]] | None
    folder: Path
    logs: Logs
    background: Background
    export: Callable[[TrainState, int], Checkpoint]

    def __post_init__(self) -> None:
        config, plan, start = self.config, self.plan, self.start
        preset = PRESETS[config.preprocess or start.preprocess]
        count = preset.count and min(preset.count, config.validation_crops)
        self._preset = dataclasses.replace(preset, count=count)
        self._forward = Forward(plan.encoder, plan.tasks, np.dtype(plan.dtype).name, self.devices)
        self._prompts = plan.encoder.prompts(plan.tasks.prompts, start.tokenizer)
        self._predict = jax.jit(functools.partial(_predict_features, plan=plan))

    def __call__(self, state: TrainState, best: dict[str, float], step: int, epoch: int) -> Iterator[None]:
        """Validates batch by batch, as the caller asks for the next one; at the end updates the `best` averages."""
        if not self.held["val"]:
            return
        params = nested(exported_params(state))
        weights = self._forward.place(params, encode_prompts(self.plan.encoder, params, self._prompts, self.plan.dtype))
        means = averages((yield from self._metrics(weights, "val", step, epoch)))
        self.logs.write(step, {"epoch": epoch, **{f"val/{name}": value for name, value in means.items()}})
        self.logs.say(f"epoch {epoch}  validation  " + "  ".join(f"{k} {v:.4f}" for k, v in means.items()))
        yield from self._metrics(weights, "test", step, epoch)
        better = {name: value for name, value in means.items() if value > best.get(name, float("-inf"))}
        best.update(better)
        if better and jax.process_index() == 0:
            self.background.submit(export_best, self.folder, better, lambda: self.export(state, step), epoch)

    def _metrics(
        self, weights: Weights, part: str, step: int, epoch: int
    ) -> Generator[None, None, dict[str, dict[str, float]]]:
        """Metrics of one part of every set that has it."""
        results = {}
        for dataset, indices in self.held[part]:
            found = []
            for batch in self._predicted(weights, dataset, indices):
                found.append(batch)
                yield
            predicted = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
            results[dataset.name] = metrics_of(dataset, predicted, self.plan)
            values = {f"{part}/{dataset.name}/{name}": value for name, value in results[dataset.name].items()}
            self.logs.write(step, {"epoch": epoch, **values})
            if jax.process_index() == 0:
                picture = scatter_picture(dataset.mos[predicted.indices], predicted.quality, dataset.name)
                self.logs.picture(f"{part}/{dataset.name}", picture, step)
        return results

    def _predicted(self, weights: Weights, dataset: LabelledSet, indices: Int[np.ndarray, " M"]) -> Iterator[Predicted]:
        """Predictions of some images, batch by batch; from features, which every host has, in one batch."""
        if self.features is None:
            yield from predict_set(
                self._forward,
                weights,
                dataset,
                indices,
                preset=self._preset,
                images_per_device=self.config.validation_batch,
                workers=self.config.data.workers,
            )
            return
        prediction = jax.device_get(self._predict(weights, self.features[dataset.name][indices, 0]))
        found = Predicted(indices, prediction.values["quality"], prediction.marginals)
        check_finite(found, dataset)
        yield found


def _predict_features(weights: Weights, features: Float[Array, "M r"], *, plan: Plan) -> Prediction:
    image_features = plan.encoder.image_features(weights.params, features[:, None], plan.dtype)
    return predict_from_features(
        weights.params, image_features, weights.text_features, encoder=plan.encoder, tasks=plan.tasks
    )


class Upkeep:
    """Validates and saves copies of the state; a validation advances by one batch in each training step.

    A checkpoint of a validated step is written after its validation, so that it holds the best values so far: what a
    resumed run finds does not depend on when the run was stopped.
    """

    def __init__(self, validation: Validation, checkpoints: Checkpoints, progress: Progress):
        self._validation, self._checkpoints, self._progress = validation, checkpoints, progress
        self._running: Iterator[None] | None = None
        self._unsaved: tuple[TrainState, dict[str, Any]] | None = None

    def validate(self, state: TrainState, step: int, epoch: int) -> None:
        """Begins a validation of a copy of the state, after so many steps and epochs."""
        self._running = self._validation(state, self._progress.best, step, epoch)
        self.advance()

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint with the counters as they are now, after the validation that is running."""
        self._unsaved = state, dataclasses.asdict(self._progress)
        self._save_if_validated()

    def advance(self) -> None:
        """One batch of a running validation."""
        if self._running is not None and next(self._running, self) is self:
            self._running = None
            self._save_if_validated()

    def finish(self) -> None:
        """Ends the validation, and waits until models and checkpoints are written."""
        while self._running is not None:
            self.advance()
        self._checkpoints.background.wait()

    def _save_if_validated(self) -> None:
        if self._unsaved is not None and self._running is None:
            (state, counters), self._unsaved = self._unsaved, None
            best = {"best": dict(self._progress.best)}
            self._checkpoints.save(counters["step"], state, counters | best)


def metrics_of(dataset: LabelledSet, predicted: Predicted, plan: Plan) -> dict[str, float]:
    """SRCC and PLCC with the MOS, and accuracies of the labels that are known."""
    mos = dataset.mos[predicted.indices]
    result = {"srcc": srcc(mos, predicted.quality), "plcc": plcc(mos, predicted.quality)}
    marginals = {a.name: predicted.probabilities[a.name] for a in plan.tasks.attributes if has_known_labels(a)}
    distortion = dataset.distortion[predicted.indices]
    if "distortion" in marginals and (distortion >= 0).any():
        result["distortion_accuracy"] = accuracy(marginals["distortion"], distortion)
    scenes = dataset.scenes[predicted.indices]
    if "scene" in marginals and (known := scenes.any(-1)).any():
        result["scene_accuracy"] = top_k_recall(marginals["scene"][known], scenes[known])
    return {name: float(value) for name, value in result.items()}


def averages(by_set: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Unweighted means over the sets of what decides which model is best.

    `quality`, `scene`, `distortion`, and `average`, the mean of those that exist.
    """
    names = {"quality": "srcc", "scene": "scene_accuracy", "distortion": "distortion_accuracy"}
    means = {}
    for name, metric in names.items():
        if values := [row[metric] for row in by_set.values() if metric in row]:
            means[name] = float(np.mean(values))
    return {**means, "average": float(np.mean(list(means.values())))}


def export_folder(workdir: str, name: str) -> Path:
    """Where a run's models go, which is local: a local working directory, or NAME/RUN here for gs://BUCKET/.../RUN."""
    if "://" not in workdir:
        return Path(workdir)
    return Path.cwd() / name / workdir.rstrip("/").rpartition("/")[2]


def lost(folder: Path, best: Mapping[str, float]) -> list[str]:
    """Names of `best` whose model is not in the folder (any more): with gs:// it may lie on another machine."""
    return [name for name in best if not (folder / f"best_{name}").is_dir()]


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
