"""AdamW on trees that are changed in their own memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from liqe_jax.train.plan import Flat, Plan


def adamw_step(
    params: Flat,
    moments: optax.OptState,
    grads: Flat,
    learning_rate: Float[Array, ""],
    finite: Bool[Array, ""],
    plan: Plan,
) -> tuple[Flat, optax.OptState]:
    """Parameters and moments after a step, or as they were where `finite` is false.

    Args:
      params: all of them, flat.
      moments: of `plan.optimizer()`.
      grads: of those that are trained.
      learning_rate: of this step.
      finite: whether the step is taken.
      plan: says how.
    """
    moments = _if(finite, lambda old: plan.optimizer().update(grads, old)[1], moments)
    # Decay first, as PyTorch does. In float32 the factor is exactly 1 at LIQE's rates, so there is no
    # decay; added to the update instead, it would decide how the sum is rounded, which shows in the
    # losses after three steps (8e-6 of them).
    decay = 1 - learning_rate * plan.weight_decay

    def move(trained: Flat) -> Flat:
        directions = _adam_directions(moments, plan)
        moved = {path: leaf * decay - learning_rate * directions[path] for path, leaf in trained.items()}
        if plan.fp16_round_trip:
            moved = {path: _through_fp16(path, leaf) for path, leaf in moved.items()}
        return moved

    return {**params, **_if(finite, move, {path: params[path] for path in grads})}, moments


def _if(condition: Bool[Array, ""], change: Callable[[Any], Any], tree: Any) -> Any:
    """`change(tree)` or `tree`, in the same memory: a loop that runs once or not at all.

    XLA would fuse a `jnp.where` of parameters with that of the moments, read the old moments for both and, to be
    able to overwrite them, copy them all at the start of a step: 1.2 GB of a ViT-B/32. It fuses nothing across loops.
    """

    def once(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.zeros((), bool), change(carry[1])

    carried: tuple[Array, Any] = jax.lax.while_loop(lambda carry: carry[0], once, (condition, tree))
    return carried[1]


def _adam_directions(moments: optax.OptState, plan: Plan) -> Flat:
    """What the learning rate multiplies, from the moments after the gradients were added."""
    (adam,) = (part for part in moments if isinstance(part, optax.ScaleByAdamState))
    mean = optax.tree.bias_correction(adam.mu, plan.betas[0], adam.count)
    square = optax.tree.bias_correction(adam.nu, plan.betas[1], adam.count)
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + plan.epsilon), mean, square)


def _through_fp16(path: str, leaf: Array) -> Array:
    # openai/CLIP, clip/model.py:371 (convert_weights): linear layers, the patch convolution and both
    # projections; embeddings and normalisations stay float32.
    norm = any(part in path for part in ("layer_norm", "layernorm", "layrnorm"))
    linear = path.endswith(("/kernel", "/bias")) and not norm
    return leaf.astype(jnp.float16).astype(jnp.float32) if linear else leaf
