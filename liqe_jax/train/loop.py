"""A whole training run: data, steps, validation, checkpoints, logs.

Checkpoints hold all that a run remembers, and a step's batch depends on seed and step alone, so a killed run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.training import TrainingBatch, training_batches
from liqe_jax.errors import UsageError
from liqe_jax.locks import in_use
from liqe_jax.train.checkpoints import Checkpoints
from liqe_jax.train.checks import check_run, set_weights
from liqe_jax.train.frozen import fitted, on_features, pooled_features, projected
from liqe_jax.train.hosts import Stop, on_first
from liqe_jax.train.losses import Labels, Loss
from liqe_jax.train.mapped import Mapped, compiled_ahead, spread
from liqe_jax.train.plan import Plan, nested
from liqe_jax.train.report import Logs, NotFinite, Progress, Report
from liqe_jax.train.schedule import find_schedule
from liqe_jax.train.settings import check_config
from liqe_jax.train.sources import check_split, held_out, training_sets
from liqe_jax.train.start import as_checkpoint, make_plan, starting_checkpoint
from liqe_jax.train.step import Batch, TrainState, exported_params, initial_state
from liqe_jax.train.validate import Upkeep, Validation, export_folder, export_last, lost
from liqe_jax.train.workdir import check_workdir
from liqe_jax.weights.checkpoint import Checkpoint


def train_and_evaluate(
    config: ConfigDict, workdir: str, losses: dict[str, Loss] | None = None, sets: Sequence[LabelledSet] | None = None
) -> dict[str, float]:
    """Trains, or goes on where an interrupted run in the same folder stopped.

    Args:
      config: as of `settings.default_config`.
      workdir: local folder or gs:// for checkpoints and logs; exported models are local (`validate.export_folder`).
      losses: functions of your own, by name; default those that the configuration names.
      sets: data sets in memory, in place of prepared ones in `config.data.folder`; names in `config` refer to them.

    Returns the best validation averages.

    Raises:
      UsageError: the configuration is not valid, or another process trains in that folder.
      ModelError, DataError: weights or data sets are missing.
      NotFinite: a loss was NaN or Inf, with `on_nan` "stop".
    """
    check_config(config)
    if config.devices and jax.process_count() > 1:
        raise UsageError(
            f"config.devices is {config.devices}, but a run of {jax.process_count()} processes uses all devices. "
            "Set it to 0."
        )
    with contextlib.ExitStack() as stack:
        if "://" not in workdir:
            on_first(lambda: stack.enter_context(in_use(Path(workdir) / "run")))
        return _run(config, workdir, losses, sets)


def _run(
    config: ConfigDict, workdir: str, losses: dict[str, Loss] | None, sets: Sequence[LabelledSet] | None
) -> dict[str, float]:
    """The run in a folder that no other process writes."""
    devices = jax.local_devices()[: config.devices or None]
    start = starting_checkpoint(config)
    plan, rows = make_plan(config, start, len(devices), losses)
    check_workdir(workdir, config, tuple(plan.losses))
    trained_on = training_sets(config, sets)
    notes = check_split(trained_on, config.data.split)
    # Before the first step, so that a part that is too small costs no epoch.
    parts = {"val": config.data.validate, "test": config.data.test}
    held = {part: held_out(names, trained_on, config, part, sets) for part, names in parts.items()}
    check_run(config, plan, trained_on, held["val"])
    pooled = None
    if config.data.frozen_features:
        pooled = pooled_features(
            config, start, [*trained_on, *(dataset for part in held.values() for dataset, _ in part)]
        )
        start = fitted(config, start, trained_on, [pooled[dataset.name] for dataset in trained_on])

    checkpoints = Checkpoints(f"{workdir}/checkpoints", config.checkpoint.keep)
    folder = export_folder(workdir, config.name)
    state, progress, gone = _restored(checkpoints, start, plan, folder)
    features = None
    if pooled is not None:
        features = projected(plan.encoder, nested(state.params), pooled)
        noise = config.data.feature_noise
        trained_on = [on_features(dataset, features[dataset.name], noise) for dataset in trained_on]
    logs = Logs(workdir, jax.process_index() == 0, progress.step)
    try:
        for note in [*notes, *gone]:
            logs.say(note)
        if not held["val"]:
            logs.say("Nothing is held out for validation, so the last model is exported, not the best.")

        # Without the parameters, which would be a second copy: 0.6 GB of a ViT-B/32.
        origin = dataclasses.replace(start, flat={})

        def export(state: TrainState, step: int) -> Checkpoint:
            return as_checkpoint(config, plan, origin, trained_on, exported_params(state), step)

        del start
        validation = Validation(
            config, plan, origin, devices, held, features, folder, logs, checkpoints.background, export
        )
        upkeep = Upkeep(validation, checkpoints, progress)
        batches = training_batches(
            trained_on,
            [count for _, count in config.data.sets],
            session=config.data.split,
            seed=config.seed,
            start_step=progress.step,
            steps=config.epochs * config.steps_per_epoch - progress.step,
            crops=config.data.crops,
            pairs=config.data.pairs,
            mixup=config.data.mixup,
            image_size=plan.encoder.image_size,
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=config.data.workers,
        )
        mapped = Mapped(devices, config.mapping)
        state, rows = mapped.cut(mapped.replicate(state), plan), mapped.place(rows)
        finished = _train(config, plan, mapped, rows, batches, state, progress, logs, upkeep)
        if finished is not None and jax.process_index() == 0:
            last = export_last(folder, export(finished, progress.step))
            best = ", ".join(f"{name} {value:.4f}" for name, value in progress.best.items())
            found = f"Best on validation: {best}. Models: {folder}/best_*, {last}" if best else f"Model: {last}"
            logs.say(f"Done. {found}")
    except NotFinite as error:
        raise NotFinite(
            f"{error}. The last good checkpoint, {workdir}/checkpoints, is of step "
            f"{max(checkpoints.steps(), default=0)}. Look at those images, lower the learning rate, or set "
            "config.on_nan = 'skip'."
        ) from None
    finally:
        checkpoints.close()
        logs.close()
    return progress.best


def _train(
    config: ConfigDict,
    plan: Plan,
    mapped: Mapped,
    rows: object,
    batches: Iterator[TrainingBatch],
    state: TrainState,
    progress: Progress,
    logs: Logs,
    upkeep: Upkeep,
) -> TrainState | None:
    """The loop; returns a copy of the last state, or None where the process was told to stop."""
    number, steps, stopping = progress.step, config.epochs * config.steps_per_epoch, False
    rate_of, stop = find_schedule(config), Stop()
    report = Report(config, progress, logs)
    if number:
        logs.say(f"Going on after step {number} of {steps}.")
    step, copy, weights = None, None, _epoch_weights(config, plan, progress)
    copied = mapped.whole(plan)
    with stop:
        for names, batch in _placed(batches, set_weights(config, plan), mapped):
            rate = rate_of(number)
            arguments = (batch, rows, np.float32(rate), weights)
            step = step or compiled_ahead(mapped.step(plan), state, *arguments)
            state, metrics = step(state, *arguments)
            number += 1
            try:
                report.add(number, rate, names, metrics)
                stopping = stop.everywhere(number)
                ended = number % config.steps_per_epoch == 0
                saves = stopping or number % config.checkpoint.every_steps == 0 or number == steps
                if not (ended or saves):
                    upkeep.advance()
                    continue
                upkeep.finish()  # so that there is one copy at a time
                copy, epoch = copied(state), number // config.steps_per_epoch
                if ended and (epoch % config.validate_every_epochs == 0 or number == steps):
                    upkeep.validate(copy, number, epoch)
                report.fetch()  # what the next weights and the checkpoint need; other steps are not waited for
            except NotFinite:
                upkeep.finish()
                raise
            if ended:
                progress.end_epoch()
                weights = _epoch_weights(config, plan, progress)
            if saves:
                upkeep.save(copy)
            if stopping:
                break
    upkeep.finish()
    if stopping:
        logs.say(f"Told to stop: saved after step {number}. Start again to go on.")
        return None
    return copied(state) if copy is None else copy


def _placed(
    batches: Iterator[TrainingBatch], weights: np.ndarray | None, mapped: Mapped
) -> Iterator[tuple[list[str], Batch]]:
    """Names of the images and what is on the devices, one batch ahead: it travels while a step runs."""

    def place(batch: TrainingBatch) -> tuple[list[str], Batch]:
        return batch.names, mapped.place(spread(_labelled(batch, weights), len(mapped.devices)))

    # `pairwise` takes the next batch before it gives this one.
    return (this for this, _ in itertools.pairwise(itertools.chain(map(place, batches), [None])) if this is not None)


def _restored(
    checkpoints: Checkpoints, start: Checkpoint, plan: Plan, folder: Path
) -> tuple[TrainState, Progress, list[str]]:
    """The state and the counters to begin with, and what to say of models that are gone."""
    state = jax.device_get(initial_state(start.params, plan))
    found = checkpoints.restore(state)
    if found is None:
        return state, Progress(list(plan.losses)), []
    state, progress = found[0], Progress(**found[1])
    notes = []
    for name in on_first(lambda: lost(folder, progress.best)):  # else no later model would be good enough
        value = progress.best.pop(name)
        notes.append(f"The best model by {name} so far ({value:.4f}), {folder}/best_{name}, is gone.")
    return state, progress, notes


def _epoch_weights(config: ConfigDict, plan: Plan, progress: Progress) -> np.ndarray:
    """Weights of the losses in the next epoch, where they do not depend on the step."""
    means = [np.asarray(row) for row in progress.epoch_means]
    weights = plan.weighting.epoch(means, len(plan.losses), config.temperature)
    return (weights * (config.loss_weights or 1.0)).astype(np.float32)


def _labelled(batch: TrainingBatch, weights: Float[np.ndarray, "sets losses"] | None) -> Batch:
    weight = None if weights is None else weights[batch.dataset]
    labels = Labels(batch.mos, batch.group, batch.distortion, batch.scenes, weight)
    return Batch(batch.crops, labels)
