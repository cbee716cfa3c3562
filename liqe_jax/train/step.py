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

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from liqe_jax.errors import UsageError
from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.clip import Params, encode_image
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.head import mean_over_patches, patch_logits, predict_from_logits
from liqe_jax.model.prompts import PackedPrompts, encode_rows
from liqe_jax.tasks import TaskSet
from liqe_jax.train.objective import Labels, Term
from liqe_jax.train.weighting import WeightingState, check_weighting, initial_weighting, weigh

DEVICES = "devices"  # name of the mapped axis

Flat = dict[str, Any]  # parameter path -> array
Images = tuple[AnyArray, AnyArray | None]  # patches, and which of their squares are shown

# The reference's AdamW (train_unique_clip_weight.py:648): decay on every parameter.
WEIGHT_DECAY = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about a step that does not change; static under `jit` and `pmap`.

    Attributes:
      config, tasks: the model and what it predicts.
      terms: name -> loss.
      order: prompt k is entry order[k] of all rows' ends (`PackedPrompts.order`).
      groups: number of data sets in a batch.
      weighting: see `weighting.py`.
      freeze: prefixes of parameter paths that are not trained. The logit scale never is
        (train_unique_clip_weight.py: `logit_scale.requires_grad = False`).
      dtype: operand type of the matrix products; parameters and sums are float32.
      remat: keep only the blocks' inputs for the backward pass.
      micro_batches: parts that a device's images are cut into.
      weight_decay, betas, epsilon: of AdamW.
      clip_norm: largest gradient norm, or None.
      fp16_round_trip: round what CLIP keeps in float16 to it after each step, as the reference
        does on a GPU (train_unique_clip_weight.py:306); for studies of parity only.
    """

    config: CLIPConfig
    tasks: TaskSet
    terms: Mapping[str, Term]
    order: Int[np.ndarray, " prompts"]
    groups: int
    weighting: str = "equal"
    freeze: tuple[str, ...] = ()
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    micro_batches: int = 1
    weight_decay: float = WEIGHT_DECAY
    betas: tuple[float, float] = BETAS
    epsilon: float = EPSILON
    clip_norm: float | None = None
    fp16_round_trip: bool = False

    def __post_init__(self) -> None:
        check_weighting(self.weighting, tuple(self.terms))
        if self.micro_batches < 1:
            raise UsageError(f"micro_batches must be at least 1; got {self.micro_batches}.")

    def optimizer(self) -> optax.GradientTransformation:
        """Adam before the learning rate and the decay are applied."""
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else optax.identity()
        return optax.chain(clip, optax.scale_by_adam(*self.betas, self.epsilon))


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


def is_trained(path: str, plan: Plan) -> bool:
    """Whether a step changes the parameter."""
    return path != "logit_scale" and not any(path == f or path.startswith(f"{f}/") for f in plan.freeze)


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
    finite = jnp.isfinite(losses).all() & jnp.isfinite(norm)
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
    moments = _if(metrics.finite, lambda old: plan.optimizer().update(grads, old)[1], state.moments)

    # Decay first, as PyTorch does. In float32 the factor is exactly 1 at LIQE's rates, so there is no
    # decay; added to the update instead, it would decide how the sum is rounded, which shows in the
    # losses after three steps (8e-6 of them).
    decay = 1 - learning_rate * plan.weight_decay

    def move(trained: Flat) -> Flat:
        updates = _adam_updates(moments, plan)
        moved = {path: leaf * decay - learning_rate * updates[path] for path, leaf in trained.items()}
        if plan.fp16_round_trip:
            moved = {path: _through_fp16(path, leaf) for path, leaf in moved.items()}
        return moved

    moved = _if(metrics.finite, move, {path: state.params[path] for path in grads})
    return TrainState(state.step + 1, {**state.params, **moved}, moments, weighting), metrics


def _if(condition: Bool[Array, ""], change: Callable[[Any], Any], tree: Any) -> Any:
    """`change(tree)` or `tree`, in the same memory: a loop that runs once or not at all.

    XLA would fuse a `jnp.where` of parameters with that of the moments, read the old moments for both and, to be
    able to overwrite them, copy them all at the start of a step: 1.2 GB of a ViT-B/32. It fuses nothing across loops.
    """

    def once(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.zeros((), bool), change(carry[1])

    carried: tuple[Array, Any] = jax.lax.while_loop(lambda carry: carry[0], once, (condition, tree))
    return carried[1]


def _adam_updates(moments: optax.OptState, plan: Plan) -> Flat:
    """Adam's steps for a learning rate of 1, from the moments after the gradients were added."""
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


def encode_share(params: Flat, rows: PromptRows, plan: Plan, axis: str | None = None) -> Float[Array, "K E"]:
    """Text features of all prompts, each device encoding its rows."""
    gather, _ = _collectives(axis)
    features = gather(encode_rows(unflatten_dict(params, sep="/"), *rows, config=plan.config, dtype=plan.dtype))
    return features.reshape(-1, features.shape[-1])[plan.order]


def pmap_over(function: Callable, devices: list[jax.Device] | None, **options: Any) -> Callable:
    """`jax.pmap` over some local devices or, with several processes, over all devices of all of them."""
    return jax.pmap(function, DEVICES, devices=None if jax.process_count() > 1 else devices, **options)


def pmapped_step(plan: Plan, devices: list[jax.Device] | None = None) -> Callable[..., tuple[TrainState, Metrics]]:
    """`train_step` on all devices: arguments gain a leading device axis, the state is donated.

    Rate and weights are broadcast.
    """
    step = functools.partial(train_step, plan=plan, axis=DEVICES)
    return pmap_over(step, devices, in_axes=(0, 0, 0, None, None), donate_argnums=0)


def rows_per_device(packed: PackedPrompts, devices: int) -> PromptRows:
    """Packed prompts with a leading device axis.

    Raises:
      UsageError: the rows do not divide among the devices.
    """
    rows = packed.token_ids.shape[0]
    if rows % devices:
        raise UsageError(f"{rows} rows of prompts do not divide among {devices} devices; pack them for that number.")
    arrays = PromptRows(packed.token_ids, packed.positions, packed.mask, packed.read)
    return jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), arrays)


def pmapped_state(params: Params, plan: Plan, devices: list[jax.Device]) -> TrainState:
    """`initial_state` on each local device, made there: no second copy of three times the parameters."""
    # With no mapped argument pmap needs to be told its size, so one is mapped that nobody reads.
    start = pmap_over(lambda _, tree: initial_state(tree, plan), devices, in_axes=(0, None))
    return start(np.zeros(len(devices)), params)


def replicated(tree: Any, devices: list[jax.Device]) -> Any:
    """A copy of every leaf on each local device, laid out as `pmapped_step` returns it.

    (A state laid out otherwise would make the second step compile again.)
    """
    sharding = NamedSharding(Mesh(np.asarray(devices), (DEVICES,)), PartitionSpec(DEVICES))

    # A compiled copy: what `device_put` makes may share memory with its source, and memory that is
    # shared cannot be donated.
    copy = jax.jit(lambda leaf: jnp.copy(leaf)[None])

    def spread(leaf: Any) -> Array:
        copies = [copy(jax.device_put(leaf, device)) for device in devices]
        return jax.make_array_from_single_device_arrays((len(devices), *np.shape(leaf)), sharding, copies)

    return jax.tree.map(spread, tree)
