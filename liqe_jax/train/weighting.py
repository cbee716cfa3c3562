"""How the losses of several tasks become one: the reference's choices (weight_methods.py), one object each.

- `equal`: 1 for every loss; and a loss's own name: 1 for that loss, 0 for the others.
- `dwa`: dynamic weight averaging over whole epochs (`schedule.dynamic_weights`; Liu et al., CVPR 2019).
- `uncertainty`: weights exp(-s) with learned s, and s / 2 added (Kendall et al., CVPR 2018).
- `gradnorm`: weights that make the tasks' gradients alike, more for the task that lags (Chen et al., ICML 2018).
- `cosine`: an auxiliary task counts by the cosine of its gradient with that of the first task, and not
  at all if they disagree (Du et al., arXiv 1812.02224).

The last two compare gradients with respect to the features of both towers, which all M losses share: that takes no
backward pass through the towers for each loss (Sener and Koltun, NeurIPS 2018, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from liqe_jax.imports import find_object
from liqe_jax.train.schedule import dynamic_weights

# Exponent of GradNorm's training rates; its authors' choice for NYUv2 (Chen et al., section 5.1).
GRADNORM_ALPHA = 1.5

# Steps of the learned weights per unit of gradient. Chen et al. use 0.025; the reference has none written down.
WEIGHT_RATE = 0.025


class WeightingState(NamedTuple):
    """What a weighting remembers between steps."""

    values: Float[Array, " M"]  # log variances s (`uncertainty`), weights (`gradnorm`), unused otherwise
    first_losses: Float[Array, " M"]  # for `gradnorm`, of the first step in which each was positive; zero until then


Weights = tuple[Float[Array, " M"], WeightingState]  # of a step, and the next state

# weights -> gradient of the weighted loss with respect to the features
GradientOf = Callable[[Float[Array, " M"]], PyTree]


class Weighting(NamedTuple):
    """One method.

    Attributes:
      epoch: (mean losses of the epochs so far, M, temperature) -> weights of the next epoch.
      init: M -> the state before the first step.
      step: (state, losses, the epoch's weights, `GradientOf`) -> weights of this step, constants, and the next state.
      learned: whether `step` finds weights of its own, so that factors of the losses have no meaning.
    """

    epoch: Callable[[Sequence[np.ndarray], int, float], np.ndarray]
    init: Callable[[int], WeightingState]
    step: Callable[[WeightingState, Array, Array, GradientOf], Weights]
    learned: bool


def _ones(means: Sequence[np.ndarray], count: int, temperature: float) -> np.ndarray:
    return np.ones(count)


def _no_values(count: int) -> WeightingState:
    return WeightingState(jnp.zeros(count), jnp.zeros(count))


def _of_the_epoch(state: WeightingState, losses: Array, fixed: Array, gradient_of: GradientOf) -> Weights:
    return fixed, state


def _uncertainty(state: WeightingState, losses: Array, fixed: Array, gradient_of: GradientOf) -> Weights:
    weights = jnp.exp(-state.values)
    slope = 0.5 - weights * jax.lax.stop_gradient(losses)
    return weights, state._replace(values=state.values - WEIGHT_RATE * slope)


def _cosine(state: WeightingState, losses: Array, fixed: Array, gradient_of: GradientOf) -> Weights:
    gradients_MxF, norms = _gradients(losses.shape[0], gradient_of)
    cosines = gradients_MxF @ gradients_MxF[0] / jnp.maximum(norms * norms[0], 1e-20)
    return jnp.maximum(cosines, 0).at[0].set(1.0), state


def _gradnorm(state: WeightingState, losses: Array, fixed: Array, gradient_of: GradientOf) -> Weights:
    losses, count = jax.lax.stop_gradient(losses), losses.shape[0]
    _, norms = _gradients(count, gradient_of)
    first = jnp.where(state.first_losses > 0, state.first_losses, losses)
    # A loss without labels so far is 0, and one that is learned can be slightly negative: neither has a rate.
    rates = jnp.where(first > 0, jnp.maximum(losses, 0) / jnp.where(first > 0, first, 1), 1)
    scaled = state.values * norms
    target = scaled.mean() * (rates / jnp.maximum(rates.mean(), 1e-20)) ** GRADNORM_ALPHA
    slope = jnp.sign(scaled - target) * norms
    values = jnp.maximum(state.values - WEIGHT_RATE * slope, 1e-4)
    return state.values, WeightingState(values * count / values.sum(), first)


def _gradients(count: int, gradient_of: GradientOf) -> tuple[Float[Array, "M F"], Float[Array, " M"]]:
    gradients_MxF = jnp.stack([ravel_pytree(gradient_of(one_hot))[0] for one_hot in jnp.eye(count)])
    return gradients_MxF, jnp.linalg.norm(gradients_MxF, axis=1)


EQUAL = Weighting(_ones, _no_values, _of_the_epoch, learned=False)

WEIGHTINGS: Mapping[str, Weighting] = MappingProxyType(
    {
        "equal": EQUAL,
        "dwa": Weighting(dynamic_weights, _no_values, _of_the_epoch, learned=False),
        "uncertainty": Weighting(_ones, _no_values, _uncertainty, learned=True),
        "gradnorm": Weighting(_ones, lambda n: WeightingState(jnp.ones(n), jnp.zeros(n)), _gradnorm, learned=True),
        "cosine": Weighting(_ones, _no_values, _cosine, learned=True),
    }
)


def find_weighting(name: str, losses: Sequence[str]) -> Weighting:
    """The weighting that is meant: a key of `WEIGHTINGS`, the name of a loss, or the import path of a `Weighting`.

    A loss that is named is trained for alone. Raises as `find_object`.
    """

    def alone(chosen: str) -> Weighting:
        weights = np.asarray([float(loss == chosen) for loss in losses])
        return EQUAL._replace(epoch=lambda means, count, temperature: weights)

    known = {**{loss: alone(loss) for loss in losses}, **WEIGHTINGS}
    own = "a liqe_jax.train.weighting.Weighting"
    return find_object(name, "config.weighting", known, own, Weighting)
