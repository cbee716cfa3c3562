"""One training step, as one pure function that every device runs.

The losses couple all images of a batch and all prompts. So every device encodes its share of both; the features are
gathered, and each device computes the losses on all of them and their gradients; it carries its share of those back
through the towers. A share can be cut into micro-batches, which are encoded once for the losses and once for the
gradients. Letters: N images of the whole batch, n of one device, P crops, B rows of prompts, R prompts of a row, D
length of a feature, M losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float, Int, UInt8

from liqe_jax.encoders.base import Params
from liqe_jax.encoders.products import AnyArray
from liqe_jax.errors import UsageError
from liqe_jax.model.predict import predict_from_features
from liqe_jax.train.losses import Labels, for_loss
from liqe_jax.train.optimizers import Flat, OptState, clipped
from liqe_jax.train.plan import Plan, matches, nested
from liqe_jax.train.sharding import Parts, axes_of, axes_of_state
from liqe_jax.train.weighting import WeightingState


class Batch(NamedTuple):
    """A device's images and labels; crops are RGB, or what a frozen part of the encoder made of them."""

    crops: UInt8[AnyArray, "n P H H 3"] | Float[AnyArray, "n P F"]
    labels: Labels


class TrainState(NamedTuple):
    """What a step changes; a pytree.

    Attributes:
      step: steps done.
      params: all of them, float32, flat: name -> array.
      opt_state, ema: of the trained ones; `ema`, their moving averages, may be empty. With `plan.shard_optimizer` a
        device has its parts of both (`cut_state`).
    """

    step: Int[Array, ""]
    params: Flat
    opt_state: OptState
    weighting: WeightingState
    ema: Flat


class Metrics(NamedTuple):
    """What a step reports, the same on every device.

    Attributes:
      losses, weights: of each loss.
      grad_norm: over all trained parameters, before clipping.
      finite: whether the step was taken; NaN or Inf leave the state as it was.
      quality: predictions for the whole batch before the step.
    """

    losses: Float[Array, " M"]
    weights: Float[Array, " M"]
    grad_norm: Float[Array, ""]
    finite: Bool[Array, ""]
    quality: Float[Array, " N"]


def initial_state(params: Params, plan: Plan) -> TrainState:
    """The state before the first step; parameters, which are nested, are copied to float32.

    Raises UsageError if `freeze` or `train_only` name nothing, or leave nothing to train.
    """
    flat = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in flatten_dict(params, sep="/").items()}
    for prefix in (*plan.freeze, *plan.train_only):
        if not any(matches(name, (prefix,)) for name in flat):
            tops = ", ".join(sorted({name.partition("/")[0] for name in flat}))
            raise UsageError(f"freeze or train_only name {prefix!r}, and no parameter begins so; there are {tops}.")
    trained = {name: leaf for name, leaf in flat.items() if plan.is_trained(name)}
    if not trained:
        raise UsageError(
            f"freeze = {plan.freeze} with train_only = {plan.train_only} leaves nothing to train. Free a part of the "
            "model."
        )
    return TrainState(
        jnp.zeros((), jnp.int32),
        flat,
        plan.optimizer.init(trained),
        plan.weighting.init(len(plan.losses)),
        {name: jnp.copy(leaf) for name, leaf in trained.items()} if plan.ema_decay else {},
    )


def gradients(
    params: Flat,
    weighting: WeightingState,
    batch: Batch,
    rows: Any,
    fixed_weights: Float[Array, " M"],
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[Flat, WeightingState, Metrics]:
    """Gradients of the weighted loss of the whole batch with respect to the trained parameters.

    With `plan.shard_optimizer` these are this device's parts of the gradients (`sharding.Parts`).

    Args:
      batch, rows: this device's share of the images and of the prompts (`Prompts.rows`).
      fixed_weights: of each loss, where the weighting computes none.
      axis: the mapped axis; None where one device has everything.
    """
    trained = {name: leaf for name, leaf in params.items() if plan.is_trained(name)}
    frozen = {name: leaf for name, leaf in params.items() if name not in trained}

    def encode_image(trained: Flat, crops: AnyArray) -> Float[Array, "n P D"]:
        return plan.encoder.image_features(nested({**frozen, **trained}), crops, plan.dtype, plan.remat)

    def encode_text(trained: Flat) -> Float[Array, "B R D"]:
        return plan.encoder.text_features(nested({**frozen, **trained}), rows, plan.dtype, plan.remat)

    def head(own: Flat, image_NxPxD: Array, text_BxRxD: Array) -> tuple[Float[Array, " M"], Float[Array, " N"]]:
        text = text_BxRxD.reshape(-1, text_BxRxD.shape[-1])[plan.order]
        tree = nested({**params, **own})
        prediction = predict_from_features(tree, image_NxPxD, text, encoder=plan.encoder, tasks=plan.tasks)
        losses = jnp.stack(
            [loss(prediction, for_loss(labels, place), plan.groups) for place, loss in enumerate(plan.losses.values())]
        )
        return losses, prediction.values.get("quality", jnp.zeros(image_NxPxD.shape[0]))

    gather, share = _collectives(axis)
    labels = gather(batch.labels)
    text_features, text_pullback = jax.vjp(encode_text, trained)
    image_features, image_pullback = _in_parts(encode_image, trained, batch.crops, plan.micro_batches)
    own = {name: leaf for name, leaf in trained.items() if matches(name, plan.encoder.head)}
    losses, head_pullback, quality = jax.vjp(head, own, gather(image_features), gather(text_features), has_aux=True)

    weights, weighting = plan.weighting.step(weighting, losses, fixed_weights, head_pullback)
    d_own, d_image, d_text = head_pullback(weights)
    (d_params,) = text_pullback(share(d_text))
    d_params = jax.tree.map(jnp.add, d_params, image_pullback(share(d_image)))
    parts = _parts(trained, plan, axis)
    d_params = parts.sum_of(d_params)
    # Every device has computed the gradients of the head's own parameters in full.
    d_own = Parts({name: parts.axes[name] for name in own}, axis).cut(d_own)
    d_params = {**d_params, **{name: d_params[name] + d_own[name] for name in own}}
    norm = parts.norm(d_params)
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
    encode: Callable[[Flat, AnyArray], Array], trained: Flat, crops: AnyArray, parts: int
) -> tuple[Array, Callable[[Array], Flat]]:
    """`jax.vjp` of an encoder, whose memory is that of one part of the images."""
    if parts == 1:
        features, pullback = jax.vjp(lambda tree: encode(tree, crops), trained)
        return features, lambda cotangent: pullback(cotangent)[0]
    count = crops.shape[0]
    if count % parts:
        raise UsageError(f"A device's {count} images do not divide into {parts} micro-batches. Choose a divisor.")

    def cut(array: AnyArray) -> Array:
        return jnp.asarray(array.reshape(parts, -1, *array.shape[1:]))

    features = jax.lax.map(functools.partial(encode, trained), cut(crops))

    def pullback_in_parts(cotangent: Array) -> Flat:
        def add(total: Flat, part: tuple[Array, Array]) -> tuple[Flat, None]:
            _, pullback = jax.vjp(lambda tree: encode(tree, part[0]), trained)
            return jax.tree.map(jnp.add, total, pullback(part[1])[0]), None

        zeros = jax.tree.map(jnp.zeros_like, trained)
        return jax.lax.scan(add, zeros, (cut(crops), cut(cotangent)))[0]

    return features.reshape(-1, *features.shape[2:]), pullback_in_parts


def train_step(
    state: TrainState,
    batch: Batch,
    rows: Any,
    learning_rate: Float[Array, ""],
    fixed_weights: Float[Array, " M"],
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one step of the optimizer; see `gradients` for the arguments.

    A loss or gradient that is not finite leaves the state unchanged but for its counter.
    """
    grads, weighting, metrics = gradients(
        state.params, state.weighting, batch, rows, fixed_weights, plan=plan, axis=axis
    )
    weighting = jax.tree.map(lambda new, old: jnp.where(metrics.finite, new, old), weighting, state.weighting)
    grads = clipped(grads, metrics.grad_norm, plan.optimizer.clip_norm)
    trained = {name: state.params[name] for name in grads}
    parts = _parts(trained, plan, axis)
    mine = parts.cut(trained)
    mine, opt_state = plan.optimizer.step(mine, state.opt_state, grads, learning_rate, metrics.finite)
    # A short memory at first, so that the start is forgotten (as in TensorFlow's ExponentialMovingAverage).
    decay = jnp.minimum(plan.ema_decay, (1 + state.step) / (10 + state.step))
    share = jnp.where(metrics.finite, 1 - decay, 0)
    ema = {name: mean + share * (mine[name] - mean) for name, mean in state.ema.items()}
    return TrainState(state.step + 1, {**state.params, **parts.join(mine)}, opt_state, weighting, ema), metrics


def cut_state(state: TrainState, *, plan: Plan, axis: str) -> tuple[OptState, Flat]:
    """A device's parts of a whole optimizer state and of whole moving averages."""
    return _parts_of_state(state, plan, axis).cut((state.opt_state, state.ema))


def joined_state(state: TrainState, *, plan: Plan, axis: str) -> tuple[OptState, Flat]:
    """The inverse of `cut_state`: the whole of both on every device."""
    return _parts_of_state(state, plan, axis).join((state.opt_state, state.ema))


def _parts(trained: Flat, plan: Plan, axis: str | None) -> Parts:
    """How trained parameters, which are whole on every device, are cut."""
    devices = 1 if axis is None or not plan.shard_optimizer else jax.lax.axis_size(axis)
    return Parts(axes_of(trained, devices), axis)


def _parts_of_state(state: TrainState, plan: Plan, axis: str) -> Parts:
    """How the optimizer's state and the moving averages are cut."""
    trained = {name: leaf for name, leaf in state.params.items() if plan.is_trained(name)}
    axes = _parts(trained, plan, axis).axes
    of_opt_state = axes_of_state(plan.optimizer.init, trained, axes, jax.lax.axis_size(axis))
    return Parts((of_opt_state, {name: axes[name] for name in state.ema}), axis)


def exported_params(state: TrainState) -> Flat:
    """The parameters of the model that a run exports: moving averages where it keeps them."""
    return {**state.params, **state.ema}
