"""The shape of a CLIP model, to and from Hugging Face's `config.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from liqe_jax.errors import ModelError

ACTIVATIONS = ("quick_gelu", "gelu")

# What the vision tower starts from (`stem.py`): pixels, as CLIP does, or frequencies.
STEMS = ("pixels", "frequencies")


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
                "Other activations are not part of any published CLIP."
            )


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """Both towers and what joins them.

    Attributes:
      vision, text: the two transformers.
      image_size: side of the square input, pixels.
      patch_size: side of one token's square, pixels (a CLIP "patch"; LIQE calls the whole
        224-pixel input a patch, and so does the rest of this package).
      vocab_size, context_length: of the text tower.
      eos_token_id: the token whose feature stands for the sentence.
      projection_dim: length of the common embedding.
      stem: what the vision tower is given of every square, one of `STEMS`.
    """

    vision: TowerConfig
    text: TowerConfig
    image_size: int = 224
    patch_size: int = 32
    vocab_size: int = 49408
    context_length: int = 77
    eos_token_id: int = 49407
    projection_dim: int = 512
    stem: str = "pixels"

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ModelError(f"stem must be one of {', '.join(STEMS)}; got {self.stem!r}. Correct config.json.")
        if self.stem == "frequencies" and (self.patch_size < 8 or self.patch_size & (self.patch_size - 1)):
            raise ModelError(f"The stem of frequencies takes patch_size 8, 16, 32, ...; got {self.patch_size}.")
        if self.image_size % self.patch_size:
            raise ModelError(
                f"image_size must be a multiple of patch_size; got {self.image_size} and {self.patch_size}. "
                "Correct vision_config in the model's config.json."
            )

    @property
    def vision_tokens(self) -> int:
        """Tokens of one input: the grid and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def to_hugging_face(self) -> dict[str, Any]:
        """The `config.json` that transformers' CLIPModel reads."""

        def tower(config: TowerConfig) -> dict[str, Any]:
            return {
                "hidden_size": config.width,
                "num_hidden_layers": config.layers,
                "num_attention_heads": config.heads,
                "intermediate_size": config.mlp_width,
                "hidden_act": config.activation,
                "layer_norm_eps": config.layer_norm_eps,
                "projection_dim": self.projection_dim,
            }

        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": self.projection_dim,
            "text_config": {
                "model_type": "clip_text_model",
                **tower(self.text),
                "vocab_size": self.vocab_size,
                "max_position_embeddings": self.context_length,
                "bos_token_id": self.eos_token_id - 1,
                "eos_token_id": self.eos_token_id,
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                **tower(self.vision),
                "image_size": self.image_size,
                "patch_size": self.patch_size,
                "num_channels": 3,
                **({} if self.stem == "pixels" else {"stem": self.stem}),
            },
        }

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> CLIPConfig:
        """Reads the `config.json` of a CLIP checkpoint; absent keys take transformers' defaults.

        Raises:
          ModelError: the file describes something else than a CLIP with a ViT.
        """
        if config.get("model_type", "clip") != "clip":
            raise ModelError(
                f"config.json says model_type {config['model_type']!r}; expected 'clip'. "
                "Give the folder of a CLIP checkpoint (CLIPModel)."
            )
        # Files written by early versions nest the towers under *_config_dict.
        vision = config.get("vision_config") or config.get("vision_config_dict") or {}
        text = config.get("text_config") or config.get("text_config_dict") or {}
        if vision.get("num_channels", 3) != 3:
            raise ModelError(f"num_channels must be 3 (RGB); config.json says {vision['num_channels']}.")

        def tower(section: Mapping[str, Any], width: int, heads: int, mlp_width: int) -> TowerConfig:
            return TowerConfig(
                width=int(section.get("hidden_size", width)),
                layers=int(section.get("num_hidden_layers", 12)),
                heads=int(section.get("num_attention_heads", heads)),
                mlp_width=int(section.get("intermediate_size", mlp_width)),
                activation=str(section.get("hidden_act", "quick_gelu")),
                layer_norm_eps=float(section.get("layer_norm_eps", 1e-5)),
            )

        vocab_size = int(text.get("vocab_size", 49408))
        eos_token_id = text.get("eos_token_id", 49407)
        # Checkpoints converted before transformers 4.30 say 2 and mean "the highest id", which
        # is where CLIP's vocabulary puts its end-of-text token.
        if eos_token_id is None or eos_token_id == 2 or eos_token_id >= vocab_size:
            eos_token_id = vocab_size - 1
        return cls(
            vision=tower(vision, 768, 12, 3072),
            text=tower(text, 512, 8, 2048),
            image_size=int(vision.get("image_size", 224)),
            patch_size=int(vision.get("patch_size", 32)),
            vocab_size=vocab_size,
            context_length=int(text.get("max_position_embeddings", 77)),
            eos_token_id=int(eos_token_id),
            projection_dim=int(config.get("projection_dim", 512)),
            stem=str(vision.get("stem", "pixels")),
        )
