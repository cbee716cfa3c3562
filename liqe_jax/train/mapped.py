"""The step on several devices. Everything that knows the device axis is here; D is the number of local devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from liqe_jax.encoders.base import Params, Prompts
from liqe_jax.errors import UsageError
from liqe_jax.train.plan import Plan
from liqe_jax.train.step import Batch, Metrics, TrainState, initial_state, train_step

DEVICES = "devices"  # name of the mapped axis


def pmap_over(function: Callable, devices: list[jax.Device] | None, **options: Any) -> Callable:
    """`jax.pmap` over some local devices or, with several processes, over all devices of all of them."""
    return jax.pmap(function, DEVICES, devices=None if jax.process_count() > 1 else devices, **options)


def pmapped_step(plan: Plan, devices: list[jax.Device] | None = None) -> Callable[..., tuple[TrainState, Metrics]]:
    """`train_step` on all devices: arguments gain a leading device axis, the state is donated.

    Rate and weights are broadcast.
    """
    step = functools.partial(train_step, plan=plan, axis=DEVICES)
    return pmap_over(step, devices, in_axes=(0, 0, 0, None, None), donate_argnums=0)


def rows_per_device(prompts: Prompts, devices: int) -> Any:
    """Rows of prompts with a leading device axis.

    Raises:
      UsageError: the rows do not divide among the devices.
    """
    rows = {len(leaf) for leaf in jax.tree.leaves(prompts.rows)}
    if any(count % devices for count in rows):
        raise UsageError(f"{rows} rows of prompts do not divide among {devices} devices; pack them for that number.")
    return jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), prompts.rows)


def own_rows(prompts: Prompts, devices: int) -> Any:
    """This process's rows of prompts that were packed for all devices of all processes.

    Args:
      prompts: packed for `devices * jax.process_count()` devices.
      devices: local devices of this process.
    """
    rows = rows_per_device(prompts, devices * jax.process_count())
    mine = slice(jax.process_index() * devices, (jax.process_index() + 1) * devices)
    return jax.tree.map(lambda array: array[mine], rows)


def spread(batch: Batch, devices: int) -> Batch:
    """A process's share of a batch, divided among its devices.

    Raises:
      UsageError: the images do not divide among the devices.
    """
    images = len(batch.labels.mos)
    if images % devices:
        raise UsageError(
            f"A step's {images} images per process do not divide among its {devices} devices. Change config.data.sets, "
            "or use fewer devices (config.devices)."
        )
    return jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), batch)


def pmapped_state(params: Params, plan: Plan, devices: list[jax.Device]) -> TrainState:
    """`initial_state` on each local device, made there: no second copy of three times the parameters."""
    # With no mapped argument pmap needs to be told its size, so one is mapped that is not used.
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

    def spread_leaf(leaf: Any) -> Array:
        copies = [copy(jax.device_put(leaf, device)) for device in devices]
        return jax.make_array_from_single_device_arrays((len(devices), *np.shape(leaf)), sharding, copies)

    return jax.tree.map(spread_leaf, tree)


def on_host(tree: Any) -> Any:
    """The first local device's copy of a replicated tree, as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)
