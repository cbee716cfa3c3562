"""Sizes of a SigLIP, to and from Hugging Face's `config.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.errors import ModelError


@dataclasses.dataclass(frozen=True)
class SigLIPConfig:
    """Sizes of both towers and of what joins them. Defaults are those of siglip-base-patch16-224.

    Attributes:
      vision, text: the two transformers.
      image_size: side of the square input, pixels; what does not fill a patch at the right and below is not seen.
      patch_size: side of a ViT patch, which becomes one token, pixels.
      vocab_size, context_length: of the text tower; sentences are padded to `context_length` tokens.
      projection_dim: D, length of a feature; the width of the vision tower, which has no projection.
    """

    name: ClassVar[str] = "siglip"

    vision: TowerConfig
    text: TowerConfig
    image_size: int = 224
    patch_size: int = 16
    vocab_size: int = 32000
    context_length: int = 64
    projection_dim: int = 768

    def __post_init__(self) -> None:
        if self.projection_dim != self.vision.width:
            raise ModelError(
                f"Text features must be as long as image features; got projection_size {self.projection_dim} of "
                f"text_config and hidden_size {self.vision.width} of vision_config. Correct the model's config.json."
            )
        if not 0 < self.patch_size <= self.image_size:
            raise ModelError(
                f"image_size must hold a patch of patch_size; got {self.image_size} and {self.patch_size}. Correct "
                "vision_config in the model's config.json."
            )

    @property
    def vision_tokens(self) -> int:
        """Tokens of one input: ViT patches on a square grid."""
        return (self.image_size // self.patch_size) ** 2

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers' SiglipModel or Siglip2Model reads."""

        def tower(config: TowerConfig) -> dict[str, Any]:
            return {
                "hidden_size": config.width,
                "num_hidden_layers": config.layers,
                "num_attention_heads": config.heads,
                "intermediate_size": config.mlp_width,
                "hidden_act": config.activation,
                "layer_norm_eps": config.layer_norm_eps,
            }

        return {
            "architectures": [f"{self.name.capitalize()}Model"],
            "model_type": self.name,
            "text_config": {
                "model_type": f"{self.name}_text_model",
                **tower(self.text),
                "vocab_size": self.vocab_size,
                "max_position_embeddings": self.context_length,
                "projection_size": self.projection_dim,
            },
            "vision_config": {
                "model_type": f"{self.name}_vision_model",
                **tower(self.vision),
                **self._input_to_config(),
                "patch_size": self.patch_size,
                "num_channels": 3,
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Reads the `config.json` of a SigLIP checkpoint; absent keys take transformers' defaults.

        Raises:
          ModelError: the file describes something else than a SigLIP with both towers.
        """
        if config.get("model_type", cls.name) != cls.name:
            raise ModelError(
                f"config.json says model_type {config['model_type']!r}; expected {cls.name!r}. Give the folder of a "
                f"{cls.name.capitalize()}Model."
            )
        vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
        if vision.get("num_channels", 3) != 3:
            raise ModelError(f"num_channels must be 3 (RGB); config.json says {vision['num_channels']}.")
        if not vision.get("vision_use_head", True):
            raise ModelError(
                "config.json says vision_use_head false; expected the attention pooling head, which makes the image "
                "features. Give the folder of a complete checkpoint."
            )

        def tower(section: Mapping[str, Any]) -> TowerConfig:
            return TowerConfig(
                width=int(section.get("hidden_size", 768)),
                layers=int(section.get("num_hidden_layers", 12)),
                heads=int(section.get("num_attention_heads", 12)),
                mlp_width=int(section.get("intermediate_size", 3072)),
                activation=str(section.get("hidden_act", "gelu_pytorch_tanh")),
                layer_norm_eps=float(section.get("layer_norm_eps", 1e-6)),
            )

        text_tower, patch_size = tower(text), int(vision.get("patch_size", 16))
        projection_size = text.get("projection_size")
        return cls(
            vision=tower(vision),
            text=text_tower,
            image_size=cls._image_size_from_config(vision, patch_size),
            patch_size=patch_size,
            vocab_size=int(text.get("vocab_size", 32000)),
            context_length=int(text.get("max_position_embeddings", 64)),
            projection_dim=text_tower.width if projection_size is None else int(projection_size),
        )

    def _input_to_config(self) -> dict[str, int]:
        return {"image_size": self.image_size}

    @classmethod
    def _image_size_from_config(cls, vision: Mapping[str, Any], patch_size: int) -> int:
        return int(vision.get("image_size", 224))


@dataclasses.dataclass(frozen=True)
class SigLIP2Config(SigLIPConfig):
    """transformers' Siglip2Model at fixed resolution: square inputs that fill the table of positions.

    The published SigLIP 2 checkpoints of fixed resolution are SiglipModels. Those of variable resolution (NaFlex) are
    Siglip2Models; their configuration gives the number of patches in place of the size of the input.
    """

    name: ClassVar[str] = "siglip2"

    def _input_to_config(self) -> dict[str, int]:
        return {"num_patches": self.vision_tokens}

    @classmethod
    def _image_size_from_config(cls, vision: Mapping[str, Any], patch_size: int) -> int:
        patches = int(vision.get("num_patches", 256))
        side = math.isqrt(patches)
        if side * side != patches:
            raise ModelError(f"num_patches must be a square number; config.json says {patches}.")
        return side * patch_size
