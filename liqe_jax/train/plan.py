"""What stays the same from one training step to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.typing import DTypeLike
from jaxtyping import Int

from liqe_jax.encoders.base import Encoder
from liqe_jax.errors import UsageError
from liqe_jax.tasks import TaskSet
from liqe_jax.train.losses import Loss
from liqe_jax.train.optimizers import Flat, Optimizer
from liqe_jax.train.weighting import EQUAL, Weighting


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about a step that does not change; static under `jit` and `pmap`.

    Attributes:
      order: of the prompts (`Prompts.order`).
      groups: number of groups of images that form pairs in a batch (`number_of_groups`).
      freeze: parameters that are not trained, by name or by the prefix of their names. Those of `encoder.frozen`
        never are.
      train_only: if not empty, nothing else is trained; names and prefixes as in `freeze`.
      ema_decay: of the exponential moving average of the trained parameters; 0: none.
      dtype: operand type of the matrix products; parameters and sums are float32.
      remat: keep only the blocks' inputs for the backward pass.
      micro_batches: parts that a device's images are cut into.
      shard_optimizer: each device keeps and updates a part of the optimizer's state (ZeRO-1).
    """

    encoder: Encoder
    tasks: TaskSet
    losses: Mapping[str, Loss]
    order: Int[np.ndarray, " prompts"]
    groups: int
    optimizer: Optimizer
    weighting: Weighting = EQUAL
    freeze: tuple[str, ...] = ()
    train_only: tuple[str, ...] = ()
    ema_decay: float = 0.0
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    micro_batches: int = 1
    shard_optimizer: bool = False

    def __post_init__(self) -> None:
        if self.micro_batches < 1:
            raise UsageError(f"micro_batches must be at least 1; got {self.micro_batches}.")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay must be at least 0 and below 1; got {self.ema_decay}.")

    def is_trained(self, name: str) -> bool:
        """Whether a step changes the parameter."""
        fixed = matches(name, (*self.encoder.frozen, *self.freeze))
        return not fixed and (not self.train_only or matches(name, self.train_only))


def nested(flat: Flat) -> dict[str, Any]:
    """The nested dictionary that encoders take."""
    return unflatten_dict(flat, sep="/")


def matches(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a parameter is one of these, or lies below one of them."""
    return any(name == prefix or name.startswith(f"{prefix}/") for prefix in prefixes)
