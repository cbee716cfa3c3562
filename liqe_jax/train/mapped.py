"""The step and its state on several devices; D is their number."""

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
from liqe_jax.model.clip import Params
from liqe_jax.model.prompts import PackedPrompts
from liqe_jax.train.plan import Plan
from liqe_jax.train.step import Metrics, PromptRows, TrainState, initial_state, train_step

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
