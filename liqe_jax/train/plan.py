"""What stays the same from one training step to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike
from jaxtyping import Int

from liqe_jax.errors import UsageError
from liqe_jax.model.config import CLIPConfig
from liqe_jax.tasks import TaskSet
from liqe_jax.train.objective import Term
from liqe_jax.train.weighting import check_weighting

Flat = dict[str, Any]  # parameter path -> array

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


def is_trained(path: str, plan: Plan) -> bool:
    """Whether a step changes the parameter."""
    return path != "logit_scale" and not any(path == f or path.startswith(f"{f}/") for f in plan.freeze)
