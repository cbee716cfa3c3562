"""The reference's learning rates, and how it weighs its tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import UsageError

# train_unique_clip_weight.py:652: CosineAnnealingLR with T_max 5, for 80 epochs.
T_MAX = 5

# weight_methods.py:186: the temperature of dynamic weight averaging (Liu et al., CVPR 2019).
TEMPERATURE = 2.0


def reference_learning_rate(epoch: int, initial: float = 5e-6, t_max: int = T_MAX) -> float:
    """The learning rate of an epoch, as the reference trained.

    Its cosine rises again after `t_max` epochs instead of starting over, and an epoch whose rate
    would be zero is skipped (train_unique_clip_weight.py:180), so the period is 2 t_max - 1.

    Raises:
      UsageError: a negative epoch or a period without length.
    """
    if epoch < 0 or t_max < 1:
        raise UsageError(f"epoch must be at least 0 and t_max at least 1; got {epoch} and {t_max}.")
    # Zeros are the steps t_max, 3 t_max, 5 t_max, ...; each one passed moves the rest up by one.
    skipped = (epoch + t_max - 1) // (2 * t_max - 1)
    phase = (epoch + skipped) % (2 * t_max)
    return initial * (1 + math.cos(math.pi * phase / t_max)) / 2


def dynamic_weights(
    losses: Sequence[Float[np.ndarray, " K"]], tasks: int, temperature: float = TEMPERATURE
) -> Float[np.ndarray, " K"]:
    """Weights of K tasks for the next epoch: more for those whose loss falls more slowly.

    Args:
      losses: mean loss of every task in each epoch so far, oldest first.
      tasks: K.
      temperature: large values make the weights more alike.

    Returns:
      Weights that sum to K; all one until two epochs are over. A loss that is not positive, because it is learnt
      (fidelity's are slightly negative then) or had no labels, counts as one that stays as it is.

    Raises:
      UsageError: losses are missing or not finite.
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

    Raises:
      UsageError: the rise is not shorter than the whole.
    """
    if not 0 <= warmup_steps < steps:
        raise UsageError(f"warmup_steps must lie between 0 and the {steps} steps of the run; got {warmup_steps}.")
    if step < warmup_steps:
        return initial * (step + 1) / warmup_steps
    return initial * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps))) / 2
