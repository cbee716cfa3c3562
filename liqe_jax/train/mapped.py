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
from liqe_jax.train.step import Metrics, TrainState, train_step

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
        step = functools.partial(train_step, plan=plan, axis=DEVICES)
        if self._mapping == "pmap":
            devices = None if jax.process_count() > 1 else self.devices
            return jax.pmap(step, DEVICES, devices=devices, in_axes=(0, 0, 0, None, None), donate_argnums=0)

        def of_one_device(state: Any, batch: Any, rows: Any, rate: Array, weights: Array) -> Any:
            state, batch, rows = jax.tree.map(lambda leaf: leaf[0], (state, batch, rows))
            return jax.tree.map(lambda leaf: leaf[None], step(state, batch, rows, rate, weights))

        each, same = PartitionSpec(DEVICES), PartitionSpec()
        mapped = jax.shard_map(
            of_one_device, mesh=self._mesh, in_specs=(each, each, each, same, same), out_specs=each, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=0)

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
