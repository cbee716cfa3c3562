"""What encoders of a ViT and a text transformer have in common."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.base import Crops, Encoder, Params, traced_params
from liqe_jax.encoders.int8 import quantise
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import BaseTokenizer, fitting_ids

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")

# Fields of `TowerConfig`, by transformers' names in `config.json`.
_TOWER_KEYS: Mapping[str, str] = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "mlp_width",
    "hidden_act": "activation",
    "layer_norm_eps": "layer_norm_eps",
}


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

    def to_config(self) -> dict[str, Any]:
        """The sizes by transformers' names."""
        return {theirs: getattr(self, ours) for theirs, ours in _TOWER_KEYS.items()}

    def with_config(self, section: Mapping[str, Any]) -> TowerConfig:
        """The tower that a section of `config.json` describes; absent keys take the sizes of this one."""
        found = {ours: section.get(theirs, getattr(self, ours)) for theirs, ours in _TOWER_KEYS.items()}
        return TowerConfig(**{ours: type(getattr(self, ours))(value) for ours, value in found.items()})


class TwoTowers(Encoder):
    """An encoder whose parameters are those of transformers' `vision_model` and `text_model`, and few others.

    Attributes:
      module: Flax module of (encoder, dtype, remat), with methods `image_features` and `text_features`.
      transformers_class: the class of transformers that reads its `config.json`.
      default_towers: vision and text, whose sizes transformers takes for absent keys of `config.json`.
      patch_size: side of a ViT patch, pixels.
      vision_tokens: number of tokens of one crop.
    """

    stored_layout: ClassVar[str | None] = "hugging_face"
    module: ClassVar[type[nn.Module]]
    transformers_class: ClassVar[str]
    default_towers: ClassVar[tuple[TowerConfig, TowerConfig]]

    vision: TowerConfig
    text: TowerConfig
    patch_size: int
    vocab_size: int
    context_length: int

    @property
    @abc.abstractmethod
    def vision_tokens(self) -> int: ...

    def init_params(self, key: Array) -> Params:
        crop = jnp.zeros((1, self.image_size, self.image_size, 3), jnp.uint8)
        token_ids = jnp.zeros((1, self.context_length), jnp.int32)
        return self.module(self).init(key, crop, token_ids)["params"]

    def apply(self, params: Params, method: str, inputs: Any, dtype: DTypeLike, remat: bool) -> Array:
        """Calls a method of `module`."""
        bound = self.module(self, dtype, remat)
        return jnp.asarray(bound.apply({"params": params}, inputs, method=method))

    def image_features(
        self, params: Params, crops: Crops, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "*batch D"]:
        flat = crops.reshape(-1, *crops.shape[-3:])
        if flat.shape[0] == 0:  # XLA's shapes of nothing are ambiguous
            return jnp.zeros((*crops.shape[:-3], self.projection_dim), jnp.float32)
        features = self.apply(params, "image_features", flat, dtype=dtype, remat=remat)
        return features.reshape(*crops.shape[:-3], -1)

    def quantise(self, params: Params) -> Params:
        """Parameters with int8 kernels; the patch embedding stays floating."""
        return quantise(params)

    def token_ids(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None) -> Int[np.ndarray, "K C"]:
        """Token ids, padded to `context_length`; errors as in `prompts`."""
        return fitting_ids(sentences, tokenizer or self.tokenizer_class.default(), self.vocab_size, self.context_length)

    def param_shapes(self, arrays: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter; refuses sizes below 1 and more blocks than the file has arrays."""
        towers = {"vision": self.vision, "text": self.text}
        sizes = {f"{name} {key}": size for name, tower in towers.items() for key, size in vars(tower).items()}
        sizes |= vars(self)
        wrong = [f"{name} {size}" for name, size in sizes.items() if isinstance(size, int) and size < 1]
        # Every block has arrays of its own; a corrupt number would list names without end.
        wrong += [f"{name} layers {tower.layers}" for name, tower in towers.items() if tower.layers > arrays]
        if wrong:
            raise ModelError(f"The configuration describes no model that {arrays} arrays fit: {wrong}.")
        # Tracing one block per tower and repeating its shapes takes a tenth of the time of all.
        one_block = {name: dataclasses.replace(tower, layers=1) for name, tower in towers.items()}
        single = dataclasses.replace(self, **one_block)  # type: ignore[type-var]
        shapes: dict[str, tuple[int, ...]] = {}
        for name, leaf in flatten_dict(traced_params(single), sep="/").items():
            tower, block, rest = name.partition("/encoder/layers/0/")
            # An encoder may have more parameters, in a tree that mirrors the towers, such as lora/vision_model/...
            of_tower = tower.rpartition("/")[2].removesuffix("_model")
            copies = range(towers[of_tower].layers) if block else ()
            shapes |= {f"{tower}/encoder/layers/{layer}/{rest}": leaf.shape for layer in copies} or {name: leaf.shape}
        return shapes

    def describe(self) -> dict[str, str]:
        """Both towers in a line each."""

        def tower(config: TowerConfig) -> str:
            return f"{config.layers} layers, width {config.width}, {config.heads} heads, {config.activation}"

        return {
            "vision": f"{tower(self.vision)}; input {self.image_size}, ViT patch {self.patch_size}",
            "text": f"{tower(self.text)}; context {self.context_length}, vocabulary {self.vocab_size}",
            "embedding": str(self.projection_dim),
        }

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers reads."""
        return {
            "architectures": [self.transformers_class],
            "model_type": self.name,
            "text_config": {
                "model_type": f"{self.name}_text_model",
                **self.text.to_config(),
                "vocab_size": self.vocab_size,
                "max_position_embeddings": self.context_length,
            },
            "vision_config": {
                "model_type": f"{self.name}_vision_model",
                **self.vision.to_config(),
                "image_size": self.image_size,
                "patch_size": self.patch_size,
                "num_channels": 3,
            },
        }

    @classmethod
    def sizes_of(cls, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that all encoders of two towers have, from the `sections` of a `config.json`."""
        return {
            "vision": cls.default_towers[0].with_config(vision),
            "text": cls.default_towers[1].with_config(text),
            "image_size": int(vision.get("image_size", cls.image_size)),
            "patch_size": int(vision.get("patch_size", cls.patch_size)),
            "vocab_size": int(text.get("vocab_size", cls.vocab_size)),
            "context_length": int(text.get("max_position_embeddings", cls.context_length)),
        }

    @classmethod
    def from_architecture(cls, sizes: Mapping[str, Any], tokenizer: BaseTokenizer) -> TwoTowers:
        """The model of a random start, from `vision` and `text` (fields of `TowerConfig`) and the other sizes.

        Only the activation and LayerNorm's epsilon have defaults: those of the published models.
        """
        vision, text = (
            TowerConfig(**{"activation": default.activation, "layer_norm_eps": default.layer_norm_eps, **sizes[name]})
            for name, default in zip(("vision", "text"), cls.default_towers, strict=True)
        )
        return cls(**{**sizes, "vision": vision, "text": text, "vocab_size": len(tokenizer.vocab)})


def sections(config: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The vision and the text section of a `config.json`; ModelError if `model_type` is not `name` or input not RGB."""
    if config.get("model_type", name) != name:
        raise ModelError(
            f"config.json says model_type {config['model_type']!r}; expected {name!r}. Give the folder of a model of "
            "that type."
        )
    # Files written by early versions nest CLIP's towers under *_config_dict.
    vision, text = (config.get(f"{key}_config") or config.get(f"{key}_config_dict") or {} for key in ("vision", "text"))
    if vision.get("num_channels", 3) != 3:
        raise ModelError(f"num_channels must be 3 (RGB); config.json says {vision['num_channels']}.")
    return vision, text
