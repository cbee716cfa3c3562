"""CLIP with a vision transformer: OpenAI's and LAION's models, and LIQE's own weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from liqe_jax.encoders.base import Params, Prompts
from liqe_jax.encoders.clip_prompts import PackedRows, pack_for_devices, pack_prompts
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD, CLIPTowers
from liqe_jax.encoders.int8 import byte_kernel
from liqe_jax.encoders.layout import Layout, count_blocks
from liqe_jax.encoders.two_tower_names import CLIP_LAYOUTS
from liqe_jax.encoders.two_towers import TowerConfig, TwoTowers, sections
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import BaseTokenizer


@dataclasses.dataclass(frozen=True)
class CLIP(TwoTowers):
    """CLIP behind the interface of `Encoder`; the feature of the token `eos_token_id` stands for the sentence."""

    vision: TowerConfig
    text: TowerConfig
    image_size: int = 224
    patch_size: int = 32
    vocab_size: int = 49408
    context_length: int = 77
    eos_token_id: int = 49407
    projection_dim: int = 512

    name: ClassVar[str] = "clip"
    layouts: ClassVar[Mapping[str, Layout]] = CLIP_LAYOUTS
    module: ClassVar[type[nn.Module]] = CLIPTowers
    transformers_class: ClassVar[str] = "CLIPModel"
    default_towers: ClassVar[tuple[TowerConfig, TowerConfig]] = (
        TowerConfig(768, 12, 12, 3072),
        TowerConfig(512, 12, 8, 2048),
    )

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ModelError(
                f"image_size must be a multiple of patch_size; got {self.image_size} and {self.patch_size}. "
                "Correct vision_config in the model's config.json."
            )

    @property
    def vision_tokens(self) -> int:
        """Tokens of one crop: the grid and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def prompts(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None, devices: int = 1) -> Prompts:
        """Packed prompts that share prefixes (`clip_prompts`)."""
        token_ids = self.token_ids(sentences, tokenizer)
        if devices == 1:
            return pack_prompts(token_ids, self.eos_token_id)
        return pack_for_devices(token_ids, self.eos_token_id, devices, self.text.width)

    def text_features(
        self, params: Params, rows: PackedRows, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B R D"]:
        """Unit features of the sentences that end in these rows."""
        return self.apply(params, "text_features", jax.tree.map(jnp.asarray, rows), dtype=dtype, remat=remat)

    def quantise(self, params: Params) -> Params:
        """Parameters with int8 kernels; normalisation of pixels becomes a part of the patch embedding."""
        kernel = params["vision_model"]["embeddings"]["patch_embedding"]["kernel"]
        quantised = super().quantise(params)
        quantised["vision_model"]["embeddings"]["patch_embedding"] = byte_kernel(kernel, PIXEL_MEAN, PIXEL_STD)
        return quantised

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers' CLIPModel reads."""
        config = super().to_config()
        for section in (config, config["text_config"], config["vision_config"]):
            section["projection_dim"] = self.projection_dim
        config["text_config"] |= {"bos_token_id": self.eos_token_id - 1, "eos_token_id": self.eos_token_id}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CLIP:
        """Reads the `config.json` of a CLIP with a ViT, else ModelError; absent keys take transformers' defaults."""
        vision, text = sections(config, cls.name)
        sizes = cls.sizes_of(vision, text)
        eos_token_id = text.get("eos_token_id", cls.eos_token_id)
        # Checkpoints converted before transformers 4.30 say 2 and mean "the highest id", which
        # is where CLIP's vocabulary puts its end-of-text token.
        if eos_token_id is None or eos_token_id == 2 or eos_token_id >= sizes["vocab_size"]:
            eos_token_id = sizes["vocab_size"] - 1
        projection_dim = int(config.get("projection_dim", cls.projection_dim))
        return cls(**sizes, eos_token_id=int(eos_token_id), projection_dim=projection_dim)

    @classmethod
    def from_weights(cls, flat: Mapping[str, np.ndarray]) -> CLIP:
        """Reads the architecture off the shapes of all parameters.

        Heads, activation and LayerNorm's epsilon are OpenAI's: width / 64, QuickGELU, 1e-5 (clip/model.py:254-275).
        """

        def tower(prefix: str) -> TowerConfig:
            hidden, mlp = flat[f"{prefix}/encoder/layers/0/mlp/fc1/kernel"].shape
            layers = count_blocks(rf"{prefix}/encoder/layers/(\d+)/", flat, "The model")
            return TowerConfig(width=hidden, layers=layers, heads=max(hidden // 64, 1), mlp_width=mlp)

        patch_size = flat["vision_model/embeddings/patch_embedding/kernel"].shape[0]
        tokens = flat["vision_model/embeddings/position_embedding/embedding"].shape[0]
        vocab_size = flat["text_model/embeddings/token_embedding/embedding"].shape[0]
        return cls(
            vision=tower("vision_model"),
            text=tower("text_model"),
            image_size=round((tokens - 1) ** 0.5) * patch_size,
            patch_size=patch_size,
            vocab_size=vocab_size,
            context_length=flat["text_model/embeddings/position_embedding/embedding"].shape[0],
            eos_token_id=vocab_size - 1,
            projection_dim=flat["visual_projection/kernel"].shape[1],
        )

    @classmethod
    def from_architecture(cls, sizes: Mapping[str, Any], tokenizer: BaseTokenizer) -> TwoTowers:
        """The same, with the end-of-text token at the end of the vocabulary."""
        return super().from_architecture({**sizes, "eos_token_id": max(tokenizer.vocab.values())}, tokenizer)
