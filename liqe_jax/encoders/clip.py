"""CLIP with a vision transformer: OpenAI's and LAION's models, and LIQE's own weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.arrays import AnyArray
from liqe_jax.encoders.base import Encoder, Params, Prompts
from liqe_jax.encoders.clip_names import LAYOUTS
from liqe_jax.encoders.clip_prompts import PackedRows, pack_for_devices, pack_prompts
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD, CLIPConfig, CLIPTowers
from liqe_jax.encoders.int8 import byte_kernel, quantise
from liqe_jax.encoders.layout import Layout, count_blocks
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class CLIP(CLIPConfig, Encoder):
    """CLIP behind the interface of `Encoder`; sizes are those of `CLIPConfig`.

    The parameter tree is the one of transformers' FlaxCLIPModel, so its `flax_model.msgpack` files load as they are.
    """

    name: ClassVar[str] = "clip"
    layouts: ClassVar[Mapping[str, Layout]] = MappingProxyType(LAYOUTS)
    stored_layout: ClassVar[str | None] = "hugging_face"

    def init_params(self, key: Array) -> Params:
        """Random float32 parameters."""
        crop = jnp.zeros((1, self.image_size, self.image_size, 3), jnp.uint8)
        token_ids = jnp.zeros((1, min(8, self.context_length)), jnp.int32)
        return CLIPTowers(self).init(key, crop, token_ids)["params"]

    def image_features(
        self,
        params: Params,
        crops: Num[AnyArray, "*batch H H 3"],
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
    ) -> Float[Array, "*batch D"]:
        """Unit features of crops, RGB in 0..255 with sides `image_size`."""
        flat = crops.reshape(-1, *crops.shape[-3:])
        if flat.shape[0] == 0:  # XLA's shapes of nothing are ambiguous
            return jnp.zeros((*crops.shape[:-3], self.projection_dim), jnp.float32)
        apply = functools.partial(CLIPTowers(self, dtype, remat).apply, method=CLIPTowers.image_features)
        return jnp.asarray(apply({"params": params}, flat)).reshape(*crops.shape[:-3], -1)

    def prompts(self, sentences: Sequence[str], tokenizer: Tokenizer | None = None, devices: int = 1) -> Prompts:
        """Packed prompts that share prefixes (`clip_prompts`)."""
        token_ids = self.token_ids(sentences, tokenizer)
        if devices == 1:
            return pack_prompts(token_ids, self.eos_token_id)
        return pack_for_devices(token_ids, self.eos_token_id, devices, self.text.width)

    def token_ids(self, sentences: Sequence[str], tokenizer: Tokenizer | None = None) -> Int[np.ndarray, "K C"]:
        """Token ids, padded with 0 to `context_length`.

        Raises:
          UsageError: a sentence has too many tokens.
          ModelError: the tokenizer's ids do not fit the vocabulary.
        """
        token_ids = (tokenizer or Tokenizer.default())(sentences, self.context_length)
        if token_ids.max() >= self.vocab_size:
            raise ModelError(
                f"The tokenizer gives ids up to {token_ids.max()}, and the model's vocabulary has {self.vocab_size} "
                "tokens. Put the model's own vocab.json and merges.txt beside its config.json."
            )
        return token_ids

    def text_features(
        self, params: Params, rows: PackedRows, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B R D"]:
        """Unit features of the sentences that end in these rows."""
        apply = functools.partial(CLIPTowers(self, dtype, remat).apply, method=CLIPTowers.text_features)
        return jnp.asarray(apply({"params": params}, *map(jnp.asarray, rows)))

    def param_shapes(self, arrays: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter; refuses sizes below 1 and more blocks than the file has arrays."""
        sizes = {
            **{f"{n} {key}": size for n in ("vision", "text") for key, size in vars(getattr(self, n)).items()},
            **vars(self),
        }
        wrong = [f"{name} {size}" for name, size in sizes.items() if isinstance(size, int) and size < 1]
        # Every block has arrays of its own; a damaged number would list names without end.
        wrong += [
            f"{n} layers {getattr(self, n).layers}" for n in ("vision", "text") if getattr(self, n).layers > arrays
        ]
        if wrong:
            raise ModelError(f"The configuration describes no model that {arrays} arrays fit: {wrong}.")
        # Tracing one block per tower and repeating its shapes takes a tenth of the time of all.
        towers = {f"{name}_model": getattr(self, name) for name in ("vision", "text")}
        single = dataclasses.replace(
            self, **{name: dataclasses.replace(getattr(self, name), layers=1) for name in ("vision", "text")}
        )
        shapes: dict[str, tuple[int, ...]] = {}
        traced = jax.eval_shape(single.init_params, jax.random.key(0))
        for name, leaf in flatten_dict(traced, sep="/").items():
            tower, block, rest = name.partition("/encoder/layers/0/")
            copies = range(towers[tower].layers) if block else ()
            shapes |= {f"{tower}/encoder/layers/{layer}/{rest}": leaf.shape for layer in copies} or {name: leaf.shape}
        return shapes

    def quantise(self, params: Params) -> Params:
        """Parameters with int8 kernels; normalisation of pixels becomes a part of the patch embedding.

        The stem of frequencies keeps its kernel, since its input has no common scale.
        """
        kernel = params["vision_model"]["embeddings"]["patch_embedding"]["kernel"]
        quantised = quantise(params)
        if self.stem == "pixels":
            embedding = byte_kernel(kernel, PIXEL_MEAN, PIXEL_STD)
            quantised["vision_model"]["embeddings"]["patch_embedding"] = embedding
        return quantised

    def to_config(self) -> dict[str, Any]:
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
    def from_config(cls, config: Mapping[str, Any]) -> CLIP:
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

    def describe(self) -> dict[str, str]:
        """Both towers in a line each."""

        def tower(config: TowerConfig) -> str:
            return f"{config.layers} layers, width {config.width}, {config.heads} heads, {config.activation}"

        return {
            "vision": f"{tower(self.vision)}; input {self.image_size}, ViT patch {self.patch_size}",
            "text": f"{tower(self.text)}; context {self.context_length}, vocabulary {self.vocab_size}",
            "embedding": str(self.projection_dim),
        }

    @classmethod
    def from_weights(cls, flat: Mapping[str, np.ndarray]) -> CLIP:
        """Reads the architecture off the shapes of a complete set of parameters.

        Shapes do not tell the number of heads, the activation or LayerNorm's epsilon; those are
        OpenAI's: width / 64, QuickGELU, 1e-5 (openai/CLIP, clip/model.py:254-275).
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
    def from_architecture(cls, sizes: Mapping[str, Any], tokenizer: Tokenizer) -> CLIP:
        """The model of a random start, from `vision` and `text` (fields of `TowerConfig`) and the other sizes."""
        others = {name: size for name, size in sizes.items() if name not in ("vision", "text")}
        return cls(
            vision=TowerConfig(**sizes["vision"]),
            text=TowerConfig(**sizes["text"]),
            vocab_size=len(tokenizer.vocab),
            eos_token_id=max(tokenizer.vocab.values()),
            **others,
        )
