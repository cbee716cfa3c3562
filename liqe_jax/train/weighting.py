"""How the losses of several tasks become one: the reference's choices (weight_methods.py).

`equal`, one task by its name, and `dwa` fix the weights before a step; dynamic weight
averaging lives in `schedule.py`, since it looks at whole epochs. The others look at the step:

- `uncertainty`: weights exp(-s) with learnt s, and s / 2 added (Kendall et al., CVPR 2018).
- `gradnorm`: weights that make the tasks' gradients alike, more for the task that lags (Chen et al.,
  ICML 2018).
- `cosine`: an auxiliary task counts by the cosine of its gradient with that of the first task, and not
  at all if they disagree (Du et al., arXiv 1812.02224).

The last two compare gradients of tasks. They take the gradients with respect to the features of
both towers, which all tasks share: exact backward passes through the head alone, where those with
respect to the parameters would cost one through both towers for each task (the argument of Sener
and Koltun, NeurIPS 2018, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from liqe_jax.errors import UsageError

FIXED = ("equal", "dwa")
LEARNT = ("uncertainty", "gradnorm", "cosine")

# Exponent of GradNorm's training rates; its authors' choice for NYUv2 (Chen et al., section 5.1).
GRADNORM_ALPHA = 1.5

# Steps of the learnt weights per unit of gradient. Chen et al. use 0.025; the reference has none written down.
WEIGHT_RATE = 0.025


class WeightingState(NamedTuple):
    """What a weighting remembers between steps.

    Attributes:
      values: log variances s (`uncertainty`), weights (`gradnorm`), unused otherwise.
      first_losses: of the first step in which each was positive, for `gradnorm`; zero until then.
    """

    values: Float[Array, " K"]
    first_losses: Float[Array, " K"]


def check_weighting(name: str, terms: tuple[str, ...]) -> None:
    """Refuses an unknown weighting.

    Raises:
      UsageError: neither a method nor the name of a term.
    """
    known = (*FIXED, *LEARNT, *terms)
    if name not in known:
        raise UsageError(
            f"weighting must be one of {', '.join(known)} (a term's name trains for it alone); got {name!r}."
        )


def initial_weighting(name: str, count: int) -> WeightingState:
    """The state before the first step."""
    start = jnp.ones(count) if name == "gradnorm" else jnp.zeros(count)
    return WeightingState(start, jnp.zeros(count))


def fixed_weights(name: str, terms: tuple[str, ...]) -> list[float]:
    """Weights that do not depend on the step: 1 for every term, or for the one that is named."""
    return [float(name == term) if name in terms else 1.0 for term in terms]


def weigh(
    name: str,
    state: WeightingState,
    losses: Float[Array, " K"],
    fixed: Float[Array, " K"],
    gradient_of: Callable[[Float[Array, " K"]], PyTree],
) -> tuple[Float[Array, " K"], WeightingState]:
    """The weights of this step.

    Args:
      name: the method; static.
      state: as the step before left it.
      losses: of this step.
      fixed: what `equal`, `dwa` and single tasks use.
      gradient_of: weights -> gradient of the weighted loss with respect to the features.

    Returns:
      Weights, to be treated as constants, and the state for the next step.
    """
    if name not in LEARNT:
        return fixed, state
    losses = jax.lax.stop_gradient(losses)
    if name == "uncertainty":
        weights = jnp.exp(-state.values)
        slope = 0.5 - weights * losses
        return weights, state._replace(values=state.values - WEIGHT_RATE * slope)
    count = losses.shape[0]
    gradients_KxF = jnp.stack([_flat(gradient_of(one_hot)) for one_hot in jnp.eye(count)])
    norms = jnp.linalg.norm(gradients_KxF, axis=1)
    if name == "cosine":
        cosines = gradients_KxF @ gradients_KxF[0] / jnp.maximum(norms * norms[0], 1e-20)
        return jnp.maximum(cosines, 0).at[0].set(1.0), state
    first = jnp.where(state.first_losses > 0, state.first_losses, losses)
    # A loss without labels so far is 0, and one that is learnt can be slightly negative: neither has a rate.
    rates = jnp.where(first > 0, jnp.maximum(losses, 0) / jnp.where(first > 0, first, 1), 1)
    scaled = state.values * norms
    target = scaled.mean() * (rates / jnp.maximum(rates.mean(), 1e-20)) ** GRADNORM_ALPHA
    slope = jnp.sign(scaled - target) * norms
    values = jnp.maximum(state.values - WEIGHT_RATE * slope, 1e-4)
    return state.values, WeightingState(values * count / values.sum(), first)


def _flat(tree: PyTree) -> Float[Array, " F"]:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
