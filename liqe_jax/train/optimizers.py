"""Optimizers on trees that are changed in their own memory; `config.optimizer.name` chooses one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.imports import find_object, try_object

Flat = dict[str, Any]  # name of a parameter, joined with slashes -> array
OptState = Any

# (trained parameters, optimizer state, gradients, learning rate, whether the step is taken) -> the first two
Step = Callable[[Flat, OptState, Flat, Float[Array, ""], Bool[Array, ""]], tuple[Flat, OptState]]


class Optimizer(NamedTuple):
    """Pure functions: the state of trained parameters, and a step, which returns both as they were if not taken.

    `clip_norm` is the largest norm of the gradients that `step` is given (`clipped`); 0: any norm.
    """

    init: Callable[[Flat], OptState]
    step: Step
    clip_norm: float = 0.0


def clipped(grads: Flat, norm: Float[Array, ""], clip_norm: float) -> Flat:
    """Gradients, scaled to the norm `clip_norm` if theirs, `norm`, is larger; 0: as they are."""
    if not clip_norm:
        return grads
    # The order of operations of optax.clip_by_global_norm.
    return jax.tree.map(lambda leaf: jnp.where(norm < clip_norm, leaf, leaf / norm * clip_norm), grads)


def reference_adamw(settings: ConfigDict) -> Optimizer:
    """AdamW with PyTorch's order of operations, which the reference's losses show in their sixth digit.

    Takes `weight_decay`, `betas`, `epsilon` and `clip_norm` (0: no clipping).
    """
    betas, epsilon, weight_decay = tuple(settings.betas), settings.epsilon, settings.weight_decay
    adam = optax.scale_by_adam(*betas, epsilon)

    def step(trained: Flat, opt_state: OptState, grads: Flat, rate: Array, finite: Array) -> tuple[Flat, OptState]:
        opt_state = apply_if(finite, lambda old: adam.update(grads, old)[1], opt_state)
        # Decay first, as PyTorch does. In float32 the factor is exactly 1 at LIQE's rates, so there is no
        # decay; added to the update instead, it would decide how the sum is rounded, which shows in the
        # losses after three steps (8e-6 of them).
        decay = 1 - rate * weight_decay

        def move(params: Flat) -> Flat:
            mean = optax.tree.bias_correction(opt_state.mu, betas[0], opt_state.count)
            square = optax.tree.bias_correction(opt_state.nu, betas[1], opt_state.count)
            direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mean, square)
            return {path: leaf * decay - rate * direction[path] for path, leaf in params.items()}

        return apply_if(finite, move, trained), opt_state

    return Optimizer(adam.init, step, settings.clip_norm)


def from_optax(make: Callable[[Any], optax.GradientTransformation], clip_norm: float = 0.0) -> Optimizer:
    """Any optax transformation; `clip_norm` is the largest norm of the gradient, 0: none.

    `make` takes the learning rate, a scalar array, on which the structure of the state must not depend.
    """

    def step(trained: Flat, opt_state: OptState, grads: Flat, rate: Array, finite: Array) -> tuple[Flat, OptState]:
        def change(old: tuple[Flat, OptState]) -> tuple[Flat, OptState]:
            updates, state = make(rate).update(grads, old[1], old[0])
            return optax.apply_updates(old[0], updates), state

        return apply_if(finite, change, (trained, opt_state))

    return Optimizer(lambda trained: make(0.0).init(trained), step, clip_norm)


def _adamw(settings: ConfigDict) -> Optimizer:
    options = {"b1": settings.betas[0], "b2": settings.betas[1], "eps": settings.epsilon}
    # Vectors, such as biases and the scales of normalisations, do not decay.
    mask = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    options |= {"weight_decay": settings.weight_decay, "mask": mask}
    return from_optax(lambda rate: optax.adamw(rate, **options), settings.clip_norm)


def _lion(settings: ConfigDict) -> Optimizer:
    options = {"b1": settings.betas[0], "b2": settings.betas[1], "weight_decay": settings.weight_decay}
    return from_optax(lambda rate: optax.lion(rate, **options), settings.clip_norm)


def _sgd(settings: ConfigDict) -> Optimizer:
    def make(rate: Any) -> optax.GradientTransformation:
        return optax.chain(optax.add_decayed_weights(settings.weight_decay), optax.sgd(rate, settings.momentum))

    return from_optax(make, settings.clip_norm)


OPTIMIZERS: Mapping[str, Callable[[ConfigDict], Optimizer]] = MappingProxyType(
    {"reference": reference_adamw, "adamw": _adamw, "lion": _lion, "sgd": _sgd}
)


def find_optimizer(settings: ConfigDict) -> Optimizer:
    """The optimizer that `config.optimizer.name` names: a key of `OPTIMIZERS`, or a function for `from_optax`.

    Raises UsageError if there is none, or the function returns no optax transformation or one that keeps a random key.
    """
    own = "a function of the learning rate alone that returns an optax transformation"
    make = find_object(settings.name, "config.optimizer.name", OPTIMIZERS, own)
    if settings.name in OPTIMIZERS:
        return make(settings)
    what = f"config.optimizer.name: {settings.name}"
    made = try_object(lambda: make(1e-3), what, "a learning rate of 0.001", own)
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise UsageError(f"{what} must return an optax transformation; got {made!r:.200}.")
    leaves = jax.tree.leaves(made.init({"kernel": jnp.zeros((1, 1))}))
    if any(jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key) for leaf in leaves):
        raise UsageError(
            f"{what} has a random key in its state, which checkpoints cannot hold. Keep jax.random.key_data(key)."
        )
    return from_optax(make, settings.clip_norm)


def apply_if(condition: Bool[Array, ""], change: Callable[[Any], Any], tree: Any) -> Any:
    """`change(tree)` or `tree`, in the same memory: a loop that runs once or not at all.

    XLA would fuse a `jnp.where` of parameters with that of the moments, read the old moments for both and, to be
    able to overwrite them, copy them all at the start of a step: 1.2 GB of a ViT-B/32. It fuses nothing across loops.
    """

    def once(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.zeros((), bool), change(carry[1])

    carried: tuple[Array, Any] = jax.lax.while_loop(lambda carry: carry[0], once, (condition, tree))
    return carried[1]
