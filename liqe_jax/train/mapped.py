"""The step on several devices, and its memory. Only this file knows the device axis; D is the number of devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from liqe_jax.errors import UsageError
from liqe_jax.memory import trim
from liqe_jax.train.plan import Plan
from liqe_jax.train.step import Metrics, TrainState, cut_state, joined_state, train_step

DEVICES = "devices"  # name of the mapped axis


class Mapped:
    """The step on all devices of all processes, and the arrays that it takes: one slice of their first axis a device.

    With the mapping "pmap" the arrays of a process are its own D slices; with "shard_map", which compiles to the same
    program, they are global, so that several processes need not wrap and unwrap every array in every step.
    """

    def __init__(self, devices: list[jax.Device], mapping: str = "pmap"):
        self.devices, self._mapping = devices, mapping
        everywhere = jax.process_count() > 1 and mapping == "shard_map"
        self._mesh = Mesh(np.asarray(jax.devices() if everywhere else devices), (DEVICES,))
        self._sharding = NamedSharding(self._mesh, PartitionSpec(DEVICES))

    def step(self, plan: Plan) -> Callable[..., tuple[TrainState, Metrics]]:
        """`train_step` with a leading device axis on state, batch, rows and results; the state is donated.

        Rate and weights are broadcast.
        """
        return self._mapped(functools.partial(train_step, plan=plan, axis=DEVICES), mapped=3, broadcast=2, donate=(0,))

    def cut(self, state: TrainState, plan: Plan) -> TrainState:
        """What each device keeps of a state that all devices have as a whole."""
        if not plan.shard_optimizer:
            return state
        opt_state, ema = self._mapped(functools.partial(cut_state, plan=plan, axis=DEVICES), mapped=1)(state)
        return state._replace(opt_state=opt_state, ema=ema)

    def whole(self, plan: Plan) -> Callable[[TrainState], TrainState]:
        """A function that copies a state of the step to the first local device, as a whole (`first_copy`)."""
        if not plan.shard_optimizer:
            return first_copy
        join = self._mapped(functools.partial(joined_state, plan=plan, axis=DEVICES), mapped=1)

        def copy(state: TrainState) -> TrainState:
            opt_state, ema = join(state)
            return first_copy(state._replace(opt_state=opt_state, ema=ema))

        return copy

    def _mapped(self, function: Callable, *, mapped: int, broadcast: int = 0, donate: tuple[int, ...] = ()) -> Callable:
        """A function on all devices: the first `mapped` arguments have a device axis, the other ones have none."""
        if self._mapping == "pmap":
            devices = None if jax.process_count() > 1 else self.devices
            in_axes = (0,) * mapped + (None,) * broadcast
            return jax.pmap(function, DEVICES, devices=devices, in_axes=in_axes, donate_argnums=donate)

        def of_one_device(*arguments: Any) -> Any:
            mine = jax.tree.map(lambda leaf: leaf[0], arguments[:mapped])
            return jax.tree.map(lambda leaf: leaf[None], function(*mine, *arguments[mapped:]))

        in_specs = (PartitionSpec(DEVICES),) * mapped + (PartitionSpec(),) * broadcast
        sharded = jax.shard_map(
            of_one_device, mesh=self._mesh, in_specs=in_specs, out_specs=PartitionSpec(DEVICES), check_vma=False
        )
        return jax.jit(sharded, donate_argnums=donate)

    def place(self, tree: Any) -> Any:
        """Arrays [D, ...] of this process on its devices; returns before they are there."""
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(self._sharding, np.asarray(leaf)), tree)

    def replicate(self, tree: Any) -> Any:
        """A copy of every leaf on each local device, laid out as by the step, or that compiles a second time."""

        def spread_leaf(leaf: Any) -> Array:
            copies = [_copied(jax.device_put(leaf, device)) for device in self.devices]
            shape = (self._mesh.size, *np.shape(leaf))
            return jax.make_array_from_single_device_arrays(shape, self._sharding, copies)

        return jax.tree.map(spread_leaf, tree)


@jax.jit
def _copied(leaf: Array) -> Array:
    """A compiled copy with a device axis.

    What `device_put` makes may share memory with its source, and memory that is shared cannot be donated.
    """
    return jnp.copy(leaf)[None]


@jax.jit
def _without_device_axis(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def first_copy(tree: Any) -> Any:
    """The first local device's slice of a result of the step, copied on that device; returns before it is done."""
    return _without_device_axis(jax.tree.map(lambda leaf: leaf.addressable_data(0), tree))


def fetched(tree: Any) -> Any:
    """The first local device's slices of results of steps as NumPy arrays, in one transfer."""
    on_device = jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
    return jax.tree.map(lambda leaf: leaf[0], jax.device_get(on_device))


def spread(tree: Any, devices: int) -> Any:
    """Arrays [N, ...] as [devices, N / devices, ...]; raises UsageError if they do not divide."""
    for count in {len(leaf) for leaf in jax.tree.leaves(tree)}:
        if count % devices:
            raise UsageError(
                f"{count} images of a step (or rows of prompts) do not divide among {devices} devices. Change "
                "config.data.sets, or use fewer devices (config.devices)."
            )
    return jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), tree)


def compiled_ahead(step: Any, *arguments: Any) -> Callable[..., Any]:
    """A pmapped step compiled for such arguments; what compiling took goes back to the system before it runs.

    That is 0.6 GB for a ViT-B/32, and as much again of what the state was made of. With several processes the
    step stays as it is: its arguments are then this host's share only.
    """
    if jax.process_count() > 1:
        return step
    compiled = step.lower(*arguments).compile()
    trim()
    return compiled
