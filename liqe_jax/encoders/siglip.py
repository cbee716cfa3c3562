"""SigLIP and SigLIP 2 at fixed resolution, such as google/siglip2-base-patch16-224 (Apache-2.0)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.base import ImageFeatures, Params, Prompts, TextFeatures
from liqe_jax.encoders.layout import Layout
from liqe_jax.encoders.products import AnyArray
from liqe_jax.encoders.siglip_towers import SigLIPTowers
from liqe_jax.encoders.two_tower_names import SIGLIP2_LAYOUTS, SIGLIP_LAYOUTS
from liqe_jax.encoders.two_towers import TowerConfig, TwoTowers, sections
from liqe_jax.errors import ModelError
from liqe_jax.text.siglip import SigLIPTokenizer
from liqe_jax.text.tokenizer import BaseTokenizer, Tokenizer

# Both towers of siglip-base-patch16-224, and the defaults of transformers' SiglipConfig.
BASE = TowerConfig(768, 12, 12, 3072, "gelu_pytorch_tanh", 1e-6)


@dataclasses.dataclass(frozen=True)
class SigLIP(TwoTowers):
    """SigLIP behind the interface of `Encoder`. Defaults are the sizes of siglip-base-patch16-224."""

    vision: TowerConfig
    text: TowerConfig
    image_size: int = 224
    patch_size: int = 16
    vocab_size: int = 32000
    context_length: int = 64
    projection_dim: int = 768

    name: ClassVar[str] = "siglip"
    layouts: ClassVar[Mapping[str, Layout]] = SIGLIP_LAYOUTS
    module: ClassVar[type[nn.Module]] = SigLIPTowers
    transformers_class: ClassVar[str] = "SiglipModel"
    default_towers: ClassVar[tuple[TowerConfig, TowerConfig]] = (BASE, BASE)
    tokenizer_class: ClassVar[type[BaseTokenizer]] = SigLIPTokenizer
    # The softmax over prompts does not depend on the bias, so nothing but weight decay would move it.
    frozen: ClassVar[tuple[str, ...]] = ("logit_scale", "logit_bias")

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
        """Tokens of one crop: ViT patches on a square grid."""
        return (self.image_size // self.patch_size) ** 2

    def prompts(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None, devices: int = 1) -> Prompts:
        """A row of token ids for each sentence; in a bidirectional tower sentences cannot share anything."""
        token_ids = self.token_ids(sentences, tokenizer)
        rows = np.pad(token_ids, ((0, -len(token_ids) % devices), (0, 0)))
        return Prompts(rows, np.arange(len(token_ids), dtype=np.int32))

    def text_features(
        self, params: Params, rows: Int[AnyArray, "B L"], dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B R D"]:
        """Unit features of the sentences in these rows, R = 1 in each."""
        return self.apply(params, "text_features", rows, dtype=dtype, remat=remat)[:, None]

    def logits(
        self, params: Params, image_features: ImageFeatures, text_features: TextFeatures
    ) -> Float[Array, "*batch K"]:
        """Cosines of unit features, scaled and shifted; a sigmoid of one is the probability of a pair in training."""
        return super().logits(params, image_features, text_features) + params["logit_bias"]

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers' SiglipModel or Siglip2Model reads."""
        config = super().to_config()
        config["text_config"]["projection_size"] = self.projection_dim
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SigLIP:
        """Reads the `config.json` of a SigLIP, else ModelError; absent keys take transformers' defaults."""
        vision, text = sections(config, cls.name)
        if not vision.get("vision_use_head", True):
            raise ModelError(
                "config.json says vision_use_head false; expected the attention pooling head, which makes the image "
                "features. Give the folder of a complete checkpoint."
            )
        sizes = cls.sizes_of(vision, text)
        projection_size = text.get("projection_size")
        return cls(**sizes, projection_dim=int(sizes["text"].width if projection_size is None else projection_size))

    @classmethod
    def tokenizer_from(cls, folder: Path) -> BaseTokenizer | None:
        """The `tokenizer.json` of a model folder; after a random start, which has none, CLIP's tokenizer."""
        return SigLIPTokenizer.from_folder(folder) or Tokenizer.from_folder(folder)


@dataclasses.dataclass(frozen=True)
class SigLIP2(SigLIP):
    """transformers' Siglip2Model, for checkpoints of variable resolution (NaFlex), at the one of its position table.

    Their configuration gives the number of patches. The SigLIP 2 checkpoints of fixed resolution are SiglipModels.
    """

    name: ClassVar[str] = "siglip2"
    layouts: ClassVar[Mapping[str, Layout]] = SIGLIP2_LAYOUTS
    transformers_class: ClassVar[str] = "Siglip2Model"

    def to_config(self) -> dict[str, Any]:
        config = super().to_config()
        del config["vision_config"]["image_size"]
        config["vision_config"]["num_patches"] = self.vision_tokens
        return config

    @classmethod
    def sizes_of(cls, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        patches = int(vision.get("num_patches", 256))
        side = math.isqrt(patches)
        if side * side != patches:
            raise ModelError(f"num_patches must be a square number; config.json says {patches}.")
        sizes = super().sizes_of(vision, text)
        return {**sizes, "image_size": side * sizes["patch_size"]}
