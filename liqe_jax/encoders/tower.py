"""The shape of one transformer."""

from __future__ import annotations

import dataclasses

from liqe_jax.errors import ModelError

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """One transformer. `layer_norm_eps` is 1e-5 in CLIP (Flax's own default is 1e-6)."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(
                f"A tower's width must be a multiple of its number of heads; got width {self.width}, heads "
                f"{self.heads}. Correct hidden_size or num_attention_heads in the model's config.json."
            )
        if self.activation not in ACTIVATIONS:
            raise ModelError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}. "
                "Other activations are not part of any published CLIP or SigLIP."
            )
