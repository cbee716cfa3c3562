"""One training step, as one pure function that every device runs.

The losses couple all images of a batch, and all images with all prompts. So a step has three
parts: every device encodes its share of the images and of the prompts' rows; the features are
gathered, and each device computes the same losses on all of them, with their gradients with
respect to the features; every device carries its share of those back through the towers, and the
parameters' gradients are summed. No device repeats another's work, but for the head, which is
small. Since towers meet losses only in the features, a share can also be cut into micro-batches
that are encoded twice, once for the losses and once for the gradients, and the result is the same.

Letters: D devices, N images of the whole batch, n of one device, P patches, B rows of prompts,
R prompts' ends per row, E length of a feature, K terms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Bool, Float, Int, UInt8

from liqe_jax.errors import UsageError
from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.clip import Params, encode_image
from liqe_jax.model.head import mean_over_patches, patch_logits, predict_from_logits
from liqe_jax.model.prompts import encode_rows
from liqe_jax.train.objective import Labels
from liqe_jax.train.plan import Flat, Plan, is_trained
from liqe_jax.train.update import adamw_step
from liqe_jax.train.weighting import WeightingState, initial_weighting, weigh

Images = tuple[AnyArray, AnyArray | None]  # patches, and which of their squares are shown


class Batch(NamedTuple):
    """Images and labels: of one device inside a step, with a leading axis D outside.

    `kept` names the squares that the vision tower is shown (`dropout.py`); None shows it all.
    """

    patches: UInt8[AnyArray, "n P H H 3"] | Float[AnyArray, "n P L F"]
    labels: Labels
    kept: Int[AnyArray, "n P k"] | None = None

    @property
    def images(self) -> Images:
        """What the vision tower takes."""
        return self.patches, self.kept


class PromptRows(NamedTuple):
    """A device's rows of packed prompts."""

    token_ids: Int[AnyArray, "B L"]
    positions: Int[AnyArray, "B L"]
    mask: Bool[AnyArray, "B L L"]
    read: Int[AnyArray, "B R"]


class TrainState(NamedTuple):
    """What a step changes; a pytree.

    Attributes:
      step: steps done.
      params: all of them, float32, flat: path -> array.
      moments: of AdamW, for the trained ones.
      weighting: see `weighting.py`.
    """

    step: Int[Array, ""]
    params: Flat
    moments: optax.OptState
    weighting: WeightingState


class Metrics(NamedTuple):
    """What a step tells, the same on every device.

    Attributes:
      losses, weights: of each term.
      grad_norm: over all trained parameters, before clipping.
      finite: whether the step was taken; NaN or Inf leave the state as it was.
      quality: predictions for the whole batch before the step.
    """

    losses: Float[Array, " K"]
    weights: Float[Array, " K"]
    grad_norm: Float[Array, ""]
    finite: Bool[Array, ""]
    quality: Float[Array, " N"]


def initial_state(params: Params, plan: Plan) -> TrainState:
    """The state before the first step.

    Args:
      params: nested; copied to float32.
      plan: says what is trained.

    Raises:
      UsageError: `freeze` names nothing, or leaves nothing to train.
    """
    flat = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in flatten_dict(params, sep="/").items()}
    for prefix in plan.freeze:
        if not any(path == prefix or path.startswith(f"{prefix}/") for path in flat):
            raise UsageError(
                f"freeze names {prefix!r}, and no parameter begins so; towers are vision_model, text_model."
            )
    trained = {path: leaf for path, leaf in flat.items() if is_trained(path, plan)}
    if not trained:
        raise UsageError(f"freeze = {plan.freeze} leaves nothing to train. Free a tower or a projection.")
    return TrainState(
        jnp.zeros((), jnp.int32),
        flat,
        plan.optimizer().init(trained),
        initial_weighting(plan.weighting, len(plan.terms)),
    )


def gradients(
    params: Flat,
    weighting: WeightingState,
    batch: Batch,
    rows: PromptRows,
    fixed_weights: Float[Array, " K"],
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[Flat, WeightingState, Metrics]:
    """Gradients of the weighted loss of the whole batch with respect to the trained parameters.

    Args:
      params: flat.
      weighting: state of the weighting.
      batch, rows: this device's share.
      fixed_weights: of each term, where the weighting computes none.
      plan: static.
      axis: the mapped axis; None where one device has everything.
    """
    trained = {path: leaf for path, leaf in params.items() if is_trained(path, plan)}
    frozen = {path: leaf for path, leaf in params.items() if path not in trained}

    def image_tower(trained: Flat, images: Images) -> Float[Array, "n P E"]:
        tree = unflatten_dict({**frozen, **trained}, sep="/")
        patches, kept = images
        return encode_image(tree, patches, plan.config, plan.dtype, plan.remat, kept)

    def text_tower(trained: Flat) -> Float[Array, "B R E"]:
        tree = unflatten_dict({**frozen, **trained}, sep="/")
        return encode_rows(tree, *rows, config=plan.config, dtype=plan.dtype, remat=plan.remat)

    def head(image_NxPxE: Array, text_BxRxE: Array) -> tuple[Float[Array, " K"], Float[Array, " N"]]:
        text = text_BxRxE.reshape(-1, text_BxRxE.shape[-1])[plan.order]
        logits = mean_over_patches(patch_logits(image_NxPxE, text, params["logit_scale"]))
        prediction = predict_from_logits(logits, plan.tasks)
        losses = jnp.stack([term(prediction, labels, plan.groups) for term in plan.terms.values()])
        return losses, prediction.values.get("quality", jnp.zeros(logits.shape[0]))

    gather, share = _collectives(axis)
    labels = gather(batch.labels)
    text_features, text_pullback = jax.vjp(text_tower, trained)
    image_features, image_pullback = _in_parts(image_tower, trained, batch.images, plan.micro_batches)
    losses, head_pullback, quality = jax.vjp(head, gather(image_features), gather(text_features), has_aux=True)

    weights, weighting = weigh(plan.weighting, weighting, losses, fixed_weights, head_pullback)
    d_image, d_text = head_pullback(weights)
    (d_params,) = text_pullback(share(d_text))
    d_params = jax.tree.map(jnp.add, d_params, image_pullback(share(d_image)))
    if axis is not None and jax.lax.axis_size(axis) > 1:  # a sum over one device is a copy of everything
        d_params = jax.lax.psum(d_params, axis)
    norm = optax.tree.norm(d_params)
    finite = jnp.isfinite(norm)
    for numbers in (losses, weights, *weighting):  # weights that are lost would never come back
        finite &= jnp.isfinite(numbers).all()
    return d_params, weighting, Metrics(losses, weights, norm, finite, quality)


def _collectives(axis: str | None) -> tuple[Callable, Callable]:
    """Joining all devices' leading axes, and taking this device's part again."""
    if axis is None:
        return (lambda tree: tree), (lambda array: array)

    def gather(tree: Any) -> Any:
        return jax.lax.all_gather(tree, axis, axis=0, tiled=True)

    def share(array: Array) -> Array:
        size = array.shape[0] // jax.lax.axis_size(axis)
        return jax.lax.dynamic_slice_in_dim(array, jax.lax.axis_index(axis) * size, size)

    return gather, share


def _in_parts(
    tower: Callable[[Flat, Images], Array], trained: Flat, images: Images, parts: int
) -> tuple[Array, Callable[[Array], Flat]]:
    """`jax.vjp` of a tower, whose memory is that of one part of the images."""
    if parts == 1:
        features, pullback = jax.vjp(lambda tree: tower(tree, images), trained)
        return features, lambda cotangent: pullback(cotangent)[0]
    count = images[0].shape[0]
    if count % parts:
        raise UsageError(f"A device's {count} images do not divide into {parts} micro-batches. Choose a divisor.")

    def cut(tree: Any) -> Any:
        return jax.tree.map(lambda array: jnp.asarray(array.reshape(parts, -1, *array.shape[1:])), tree)

    features = jax.lax.map(functools.partial(tower, trained), cut(images))

    def pullback_in_parts(cotangent: Array) -> Flat:
        def add(total: Flat, part: tuple[Images, Array]) -> tuple[Flat, None]:
            _, pullback = jax.vjp(lambda tree: tower(tree, part[0]), trained)
            return jax.tree.map(jnp.add, total, pullback(part[1])[0]), None

        zeros = jax.tree.map(jnp.zeros_like, trained)
        return jax.lax.scan(add, zeros, (cut(images), cut(cotangent)))[0]

    return features.reshape(-1, *features.shape[2:]), pullback_in_parts


def train_step(
    state: TrainState,
    batch: Batch,
    rows: PromptRows,
    learning_rate: Float[Array, ""],
    fixed_weights: Float[Array, " K"],
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one step of AdamW; see `gradients` for the arguments.

    A loss or gradient that is not finite leaves the state unchanged but for its counter.
    """
    grads, weighting, metrics = gradients(
        state.params, state.weighting, batch, rows, fixed_weights, plan=plan, axis=axis
    )
    weighting = jax.tree.map(lambda new, old: jnp.where(metrics.finite, new, old), weighting, state.weighting)
    params, moments = adamw_step(state.params, state.moments, grads, learning_rate, metrics.finite, plan)
    return TrainState(state.step + 1, params, moments, weighting), metrics


def encode_share(params: Flat, rows: PromptRows, plan: Plan, axis: str | None = None) -> Float[Array, "K E"]:
    """Text features of all prompts, each device encoding its rows."""
    gather, _ = _collectives(axis)
    features = gather(encode_rows(unflatten_dict(params, sep="/"), *rows, config=plan.config, dtype=plan.dtype))
    return features.reshape(-1, features.shape[-1])[plan.order]
