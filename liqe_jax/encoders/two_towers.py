"""What encoders of a ViT and a text transformer have in common."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.arrays import AnyArray
from liqe_jax.encoders.base import Encoder, Params
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import BaseTokenizer


class TwoTowers(Encoder):
    """An encoder whose parameters are those of transformers' `vision_model` and `text_model`, and few others.

    Attributes:
      module: Flax module of (encoder, dtype, remat), with methods `image_features` and `text_features`.
      vision, text: the two transformers.
      patch_size: side of a ViT patch, which becomes one token, pixels.
      vision_tokens: number of tokens of one crop.
      vocab_size, context_length: of the text tower.
    """

    module: ClassVar[type[nn.Module]]

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

    def apply(self, params: Params, method: str, *inputs: AnyArray, dtype: DTypeLike, remat: bool) -> Array:
        """Calls a method of `module`."""
        bound = self.module(self, dtype, remat)
        return jnp.asarray(bound.apply({"params": params}, *inputs, method=method))

    def image_features(
        self,
        params: Params,
        crops: Num[AnyArray, "*batch H H 3"],
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
    ) -> Float[Array, "*batch D"]:
        flat = crops.reshape(-1, *crops.shape[-3:])
        if flat.shape[0] == 0:  # XLA's shapes of nothing are ambiguous
            return jnp.zeros((*crops.shape[:-3], self.projection_dim), jnp.float32)
        features = self.apply(params, "image_features", flat, dtype=dtype, remat=remat)
        return features.reshape(*crops.shape[:-3], -1)

    def token_ids(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None) -> Int[np.ndarray, "K C"]:
        """Token ids, padded to `context_length`.

        Raises:
          UsageError: a sentence has too many tokens.
          ModelError: the tokenizer's ids do not fit the vocabulary.
        """
        token_ids = (tokenizer or self.tokenizer_class.default())(sentences, self.context_length)
        if token_ids.max() >= self.vocab_size:
            raise ModelError(
                f"The tokenizer gives ids up to {token_ids.max()}, and the model's vocabulary has {self.vocab_size} "
                "tokens. Put the model's own tokenizer files beside its config.json."
            )
        return token_ids

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
        traced = jax.eval_shape(lambda: single.init_params(jax.random.key(0)))
        for name, leaf in flatten_dict(traced, sep="/").items():
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


def sections(config: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The sections of the vision and of the text tower in a `config.json` of `model_type` `name`.

    Raises:
      ModelError: it is of another type, or its input is not RGB.
    """
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


def tower_to_config(tower: TowerConfig) -> dict[str, Any]:
    """A tower's sizes by transformers' names in `config.json`."""
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp_width,
        "hidden_act": tower.activation,
        "layer_norm_eps": tower.layer_norm_eps,
    }


def tower_from_config(section: Mapping[str, Any], default: TowerConfig) -> TowerConfig:
    """The inverse of `tower_to_config`; absent keys take the sizes of `default`.

    Raises:
      ModelError, TypeError, ValueError: the section describes no tower.
    """
    return TowerConfig(
        width=int(section.get("hidden_size", default.width)),
        layers=int(section.get("num_hidden_layers", default.layers)),
        heads=int(section.get("num_attention_heads", default.heads)),
        mlp_width=int(section.get("intermediate_size", default.mlp_width)),
        activation=str(section.get("hidden_act", default.activation)),
        layer_norm_eps=float(section.get("layer_norm_eps", default.layer_norm_eps)),
    )
