"""Learning rates as functions of the step, and how the reference weighs its tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.imports import find_object, try_object

# train_unique_clip_weight.py:652: CosineAnnealingLR with T_max 5, for 80 epochs.
T_MAX = 5

# weight_methods.py:186: the temperature of dynamic weight averaging (Liu et al., CVPR 2019).
TEMPERATURE = 2.0


def reference_learning_rate(epoch: int, initial: float = 5e-6, t_max: int = T_MAX) -> float:
    """The learning rate of an epoch, as the reference trained.

    Its cosine rises again after `t_max` epochs instead of starting over, and an epoch whose rate would be zero is
    skipped (train_unique_clip_weight.py:180), so the period is 2 t_max - 1. Raises UsageError for a negative epoch or a
    period without length.
    """
    if epoch < 0 or t_max < 1:
        raise UsageError(f"epoch must be at least 0 and t_max at least 1; got {epoch} and {t_max}.")
    # Zeros are the steps t_max, 3 t_max, 5 t_max, ...; each one passed moves the rest up by one.
    skipped = (epoch + t_max - 1) // (2 * t_max - 1)
    phase = (epoch + skipped) % (2 * t_max)
    return initial * (1 + math.cos(math.pi * phase / t_max)) / 2


def dynamic_weights(
    losses: Sequence[Float[np.ndarray, " M"]], tasks: int, temperature: float = TEMPERATURE
) -> Float[np.ndarray, " M"]:
    """Weights of M = `tasks` tasks for the next epoch, whose sum is M: more for those whose loss falls more slowly.

    `losses` are the mean losses of each epoch so far, oldest first; until there are two, all weights are 1. A high
    `temperature` makes the weights more alike. A loss that is not positive, because it is learned (fidelity's are
    slightly negative then) or had no labels, counts as one that does not change. Raises UsageError if losses are
    missing or not finite.
    """
    if len(losses) < 2:
        return np.ones(tasks)
    before, last = (np.asarray(epoch, np.float64) for epoch in losses[-2:])
    for epoch in (before, last):
        if epoch.shape != (tasks,) or not np.isfinite(epoch).all():
            raise UsageError(f"Expected {tasks} finite mean losses per epoch; got {epoch}.")
    falls = (before > 0) & (last > 0)
    exponents = np.where(falls, last, 1) / np.where(falls, before, 1) / temperature
    weights = np.exp(exponents - exponents.max())
    return tasks * weights / weights.sum()


def cosine_learning_rate(step: int, steps: int, initial: float, warmup_steps: int = 0) -> float:
    """One clean half cosine from `initial` to zero over `steps`, after a linear rise.

    Raises UsageError if the rise is not shorter than the whole.
    """
    if not 0 <= warmup_steps < steps:
        raise UsageError(f"warmup_steps must lie between 0 and the {steps} steps of the run; got {warmup_steps}.")
    if step < warmup_steps:
        return initial * (step + 1) / warmup_steps
    return initial * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps))) / 2


Schedule = Callable[[int], float]  # step -> learning rate

# Name -> function of a run's configuration.
SCHEDULES: Mapping[str, Callable[[ConfigDict], Schedule]] = MappingProxyType(
    {
        "reference": lambda config: (
            lambda step: reference_learning_rate(step // config.steps_per_epoch, config.optimizer.learning_rate)
        ),
        "cosine": lambda config: (
            lambda step: cosine_learning_rate(
                step,
                config.epochs * config.steps_per_epoch,
                config.optimizer.learning_rate,
                config.optimizer.warmup_steps,
            )
        ),
        "constant": lambda config: lambda step: config.optimizer.learning_rate,
    }
)


def find_schedule(config: ConfigDict) -> Schedule:
    """The schedule that `config.optimizer.schedule` names: a key of `SCHEDULES`, or a function of the step.

    Raises UsageError if there is no such schedule, or the function returns no learning rate.
    """
    name, own = config.optimizer.schedule, "a function of the step alone that returns the learning rate"
    schedule = find_object(name, "config.optimizer.schedule", SCHEDULES, own)
    if name in SCHEDULES:
        return schedule(config)
    what = f"config.optimizer.schedule: {name}"
    rate = try_object(lambda: float(schedule(0)), what, "step 0", own)
    if not (math.isfinite(rate) and rate >= 0):
        raise UsageError(f"{what} must return a rate of at least 0; got {rate} for step 0.")
    return schedule
