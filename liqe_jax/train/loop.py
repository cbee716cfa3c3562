"""A whole training run: data, steps, validation, checkpoints, logs.

Everything that a run remembers is in its checkpoints, and the batch of a step depends on the seed
and the number of the step alone; so a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from liqe_jax.data.sampling import share
from liqe_jax.data.training import TrainingBatch, training_batches
from liqe_jax.errors import LiqeError, UsageError
from liqe_jax.locks import in_use
from liqe_jax.taxonomy import DISTORTION
from liqe_jax.train.best import export_best, export_folder, export_last, lost
from liqe_jax.train.checkpoints import Checkpoints, Progress
from liqe_jax.train.checks import check_run
from liqe_jax.train.dropout import kept_squares
from liqe_jax.train.hosts import on_first, which
from liqe_jax.train.logs import Clock, Logs, scatter_picture
from liqe_jax.train.mapped import pmapped_step, replicated
from liqe_jax.train.memory import compiled_ahead
from liqe_jax.train.objective import Labels, Term
from liqe_jax.train.same_run import settle_in
from liqe_jax.train.schedule import cosine_learning_rate, dynamic_weights, reference_learning_rate
from liqe_jax.train.settings import check_config
from liqe_jax.train.sources import check_split, held_out, training_sets
from liqe_jax.train.start import make_plan, starting_checkpoint, trained
from liqe_jax.train.step import Batch, TrainState, initial_state
from liqe_jax.train.validate import averages, figures, make_predictor
from liqe_jax.train.weighting import fixed_weights
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance, TrainingSet


class NotFinite(LiqeError):
    """A loss or gradient became NaN or Inf, and the run was told to stop."""


def train_and_evaluate(config: ConfigDict, workdir: str, terms: dict[str, Term] | None = None) -> dict[str, float]:
    """Trains, or goes on where an interrupted run in the same folder stopped.

    Args:
      config: see `settings.default_config`.
      workdir: local folder or gs:// for checkpoints and logs; exported models are local (`best.export_folder`).
      terms: losses of one's own, name -> function; default those that the configuration names.

    Returns:
      The best validation averages.

    Raises:
      UsageError: the configuration makes no sense, or another process trains in that folder.
      ModelError, DataError: weights or data sets are missing.
      NotFinite: a loss was NaN or Inf, with `on_nan` "stop".
    """
    check_config(config)
    with contextlib.ExitStack() as stack:
        if "://" not in workdir:
            on_first(lambda: stack.enter_context(in_use(Path(workdir) / "run")))
        run = _Run(config, workdir, terms)
        stack.callback(run.close)
        run.go()
    return run.best


class _Run:
    """The state of the loop on this process."""

    def __init__(self, config: ConfigDict, workdir: str, terms: dict[str, Term] | None):
        self.config, self.workdir = config, workdir
        if config.devices and jax.process_count() > 1:
            raise UsageError(
                f"config.devices is {config.devices}, but a run of {jax.process_count()} processes uses all devices. "
                "Set it to 0."
            )
        self.devices = jax.local_devices()[: config.devices or None]
        self.first_process = jax.process_index() == 0
        self.start = starting_checkpoint(config)
        self.plan, self.rows = make_plan(config, self.start, len(self.devices), terms)
        settle_in(workdir, config, tuple(self.plan.terms))
        self.sets = training_sets(config, self.start.config)
        self.notes = check_split(self.sets, config.data.split)
        asked = {"val": config.data.validate, "test": config.data.test}
        # Before the first step, so that a part that is too small costs no epoch.
        self.held_out = {
            part: held_out(names, self.sets, config.data.split, part, config) for part, names in asked.items()
        }
        check_run(config, self.plan, self.sets, self.held_out["val"])
        self.steps = config.epochs * config.steps_per_epoch
        self.best: dict[str, float] = {}
        self.epoch_means: list[list[float]] = []
        self.sums, self.counted, self.skipped = np.zeros(len(self.plan.terms)), 0, 0
        self.checkpoints = Checkpoints(f"{workdir}/checkpoints", config.checkpoint.keep)
        self.step, state = self._restored()
        self.state = replicated(state, self.devices)
        # What is exported takes the state's numbers: those of the start would be 0.6 GB of a ViT-B/32.
        self.start = dataclasses.replace(self.start, flat={})
        self.logs = Logs(workdir, self.first_process, self.step)
        self.preprocess = config.preprocess or self.start.preprocess
        self.predict = make_predictor(
            self.plan, self.devices, config.validation_batch, config.validation_patches, self.preprocess
        )
        self.told_to_stop = False

    def _restored(self) -> tuple[int, TrainState]:
        state = jax.device_get(initial_state(self.start.params, self.plan))
        found = self.checkpoints.restore(state)
        if found is None:
            return 0, state
        state, progress = found
        self.best = dict(progress["best"])
        for name in on_first(lambda: lost(self._folder(), self.best)):  # else no later model would be good enough
            value = self.best.pop(name)
            self.notes.append(f"The best model by {name} so far ({value:.4f}), {self._folder()}/best_{name}, is gone.")
        self.epoch_means = [list(row) for row in progress["epoch_means"]]
        self.sums = np.asarray(progress["sums"], np.float64)
        self.counted, self.skipped = progress["counted"], progress["skipped"]
        return progress["step"], state

    def _save(self) -> None:
        progress: Progress = {
            "step": self.step,
            "best": self.best,
            "epoch_means": self.epoch_means,
            "sums": self.sums.tolist(),
            "counted": self.counted,
            "skipped": self.skipped,
        }
        self.checkpoints.save(self.step, self._host_state(), progress)

    def _host_state(self) -> TrainState:
        return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], self.state)

    def go(self) -> None:
        """Trains to the end, or until the process is told to stop."""
        config = self.config
        before = _on_sigterm(self._stop)
        clock = Clock(self.step, self.steps, sum(count for _, count in config.data.sets))
        step = None
        for note in self.notes:
            self.logs.say(note)
        if not self.held_out["val"]:
            self.logs.say("Nothing is held out for validation, so the last model is exported, not the best.")
        if self.step:
            self.logs.say(f"Going on after step {self.step} of {self.steps}.")
        weights = self._weights()
        try:
            for batch in self._batches():
                rate = self._rate()
                spread = _spread(batch, len(self.devices), self._kept())
                arguments = (spread, self.rows, np.float32(rate), weights)
                step = step or compiled_ahead(pmapped_step(self.plan, self.devices), self.state, *arguments)
                self.state, metrics = step(self.state, *arguments)
                self.step += 1
                self._count(_first(metrics), batch.names, rate, clock)
                if self.step % config.steps_per_epoch == 0:
                    self._end_epoch()
                    weights = self._weights()
                if self.step % config.checkpoint.every_steps == 0 or self.step == self.steps:
                    self._save()
                if self._must_stop():
                    self._save()
                    self.logs.say(f"Told to stop: saved after step {self.step}. Start again to go on.")
                    return
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.first_process:
            last = export_last(self._folder(), self._export())
            best = ", ".join(f"{name} {value:.4f}" for name, value in self.best.items())
            found = f"Best on validation: {best}. Models: {self._folder()}/best_*, {last}" if best else f"Model: {last}"
            self.logs.say(f"Done. {found}")

    def _folder(self) -> Path:
        """Where exported models go, which is local."""
        return export_folder(self.workdir, self.config.name)

    def _stop(self, *_: Any) -> None:
        self.told_to_stop = True

    def _must_stop(self) -> bool:
        return bool(which(self.told_to_stop))  # all processes have to stop after the same step

    def _batches(self) -> Iterator[TrainingBatch]:
        data = self.config.data
        return training_batches(
            self.sets,
            [count for _, count in data.sets],
            split=data.split,
            seed=self.config.seed,
            start_step=self.step,
            steps=self.steps - self.step,
            patches=data.patches,
            patch=self.plan.config.image_size,
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=data.workers,
        )

    def _kept(self) -> np.ndarray | None:
        """The squares that the next step is shown of this process's images; None where all are."""
        config = self.config
        if not config.square_dropout:
            return None
        images = sum(count for _, count in config.data.sets)
        return kept_squares(
            config.seed,
            self.step,
            images=images,
            mine=share(images, jax.process_index(), jax.process_count()),
            patches=config.data.patches,
            squares=self.plan.config.vision_tokens - 1,
            dropout=config.square_dropout,
        )

    def _rate(self) -> float:
        """The learning rate of the next step."""
        settings = self.config.optimizer
        if settings.schedule == "reference":
            return reference_learning_rate(self.step // self.config.steps_per_epoch, settings.learning_rate)
        if settings.schedule == "cosine":
            return cosine_learning_rate(self.step, self.steps, settings.learning_rate, settings.warmup_steps)
        return settings.learning_rate

    def _weights(self) -> np.ndarray:
        """The weights of this epoch, where they do not depend on the step."""
        if self.plan.weighting == "dwa":
            means = [np.asarray(row) for row in self.epoch_means]
            weights = dynamic_weights(means, len(self.plan.terms), self.config.temperature)
        else:
            weights = np.asarray(fixed_weights(self.plan.weighting, tuple(self.plan.terms)))
        return (weights * (self.config.loss_weights or 1.0)).astype(np.float32)

    def _count(self, metrics: Any, names: Sequence[str], rate: float, clock: Clock) -> None:
        if not metrics.finite:
            losses = dict(zip(self.plan.terms, np.asarray(metrics.losses).tolist(), strict=True))
            message = f"step {self.step} is not finite: losses {losses}, images {', '.join(names)}"
            if self.config.on_nan == "stop":
                raise NotFinite(
                    f"{message}. The last good checkpoint is of step {max(self.checkpoints.steps(), default=0)} in "
                    f"{self.workdir}/checkpoints. Look at those images, lower the learning rate, or set "
                    "config.on_nan = 'skip'."
                )
            self.skipped += 1
            self.logs.say(f"Skipped: {message} ({self.skipped} so far)")
            self.logs.write(self.step, {"skipped": self.skipped, "images": ", ".join(names)})
            return
        self.sums += np.asarray(metrics.losses, np.float64)
        self.counted += 1
        if self.step % self.config.log_every_steps and self.step != self.steps:
            return
        speed, left = clock.describe(self.step)
        losses = dict(zip(self.plan.terms, np.asarray(metrics.losses).tolist(), strict=True))
        weights = dict(zip(self.plan.terms, np.asarray(metrics.weights).tolist(), strict=True))
        self.logs.write(
            self.step,
            {
                **{f"loss/{name}": value for name, value in losses.items()},
                **{f"weight/{name}": value for name, value in weights.items()},
                "learning_rate": rate,
                "gradient_norm": float(metrics.grad_norm),
                "images_per_second": speed,
            },
        )
        told = "  ".join(f"{name} {value:.4f} (x{weights[name]:.2f})" for name, value in losses.items())
        self.logs.say(f"step {self.step}/{self.steps}  {told}  lr {rate:.3g}  {speed:.1f} images/s  {left} left")

    def _end_epoch(self) -> None:
        epoch = self.step // self.config.steps_per_epoch
        if self.counted:
            # Steps that were skipped do not count, unlike in the reference (B15 of its faults).
            self.epoch_means.append((self.sums / self.counted).tolist())
        self.sums, self.counted = np.zeros(len(self.plan.terms)), 0
        if epoch % self.config.validate_every_epochs and self.step != self.steps:
            return
        validation = self._figures("val", epoch)
        if not validation:
            return
        means = averages(validation)
        self.logs.write(self.step, {"epoch": epoch, **{f"val/{name}": value for name, value in means.items()}})
        self.logs.say(f"epoch {epoch}  validation  " + "  ".join(f"{k} {v:.4f}" for k, v in means.items()))
        self._figures("test", epoch)
        if self.first_process:
            export_best(self._folder(), means, self.best, self._export, epoch)

    def _figures(self, part: str, epoch: int) -> dict[str, dict[str, float]]:
        """Figures of one part of every set that has it."""
        results = {}
        for dataset, indices in self.held_out[part]:
            predictions = self.predict((self.state.params, self.rows), dataset, indices)
            results[dataset.name] = figures(dataset, predictions)
            values = {f"{part}/{dataset.name}/{name}": value for name, value in results[dataset.name].items()}
            self.logs.write(self.step, {"epoch": epoch, **values})
            if self.first_process:
                picture = scatter_picture(dataset.mos[predictions.indices], predictions.quality, dataset.name)
                self.logs.picture(f"{part}/{dataset.name}", picture, self.step)
        return results

    def _export(self) -> Checkpoint:
        split = self.config.data.split
        named = f"session {split}" if split.isdigit() else split
        # A plain CLIP, which comes with config.json and words, has learnt from no opinion scores. Of a model that
        # judges quality what is not stated stays unknown, and a bare file may be LIQE.pt.
        plain = self.start.tasks is None and self.start.tokenizer is not None
        before = () if plain else self.start.provenance.trained_on
        now = [TrainingSet(dataset.name, named if split in dataset.parts else "all") for dataset in self.sets]
        provenance = Provenance(
            self.config.name,
            source=f"liqe_jax train.py from {self.config.init}",
            licence=self.config.licence or self.start.provenance.licence,
            trained_on=None if before is None else tuple(dict.fromkeys([*before, *now])),
            notes=(f"step {self.step} of {self.steps}, seed {self.config.seed}, weighting {self.config.weighting}",),
        )
        checkpoint = trained(self.start, self._host_state().params, self.plan.tasks, provenance)
        return dataclasses.replace(checkpoint, preprocess=self.preprocess)

    def close(self) -> None:
        """Waits for files to be complete."""
        self.checkpoints.close()
        self.logs.close()


def _first(tree: Any) -> Any:
    """The first local device's copy, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)


def _spread(batch: TrainingBatch, devices: int, kept: np.ndarray | None = None) -> Batch:
    """A host's share of a batch, cut for its devices.

    Raises:
      UsageError: the images do not divide among the devices.
    """
    images = len(batch.mos)
    if images % devices:
        raise UsageError(
            f"A step's {images} images per process do not divide among its {devices} devices. Change config.data.sets, "
            "or use fewer devices (config.devices)."
        )
    one_hot = np.eye(len(DISTORTION.labels), dtype=np.float32)
    known = (batch.distortion >= 0)[:, None]
    labels = Labels(batch.mos, batch.group, one_hot[batch.distortion] * known, batch.scenes)
    whole = Batch(batch.patches, labels, kept)
    return jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), whole)


def _on_sigterm(handler: Any) -> Any:
    """Installs a handler for SIGTERM, which is how machines announce that they will be taken away."""

    def handle(signum: int, frame: FrameType | None) -> None:
        handler(signum, frame)

    return signal.signal(signal.SIGTERM, handle)
