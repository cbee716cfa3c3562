"""SigLIP and SigLIP 2 at fixed resolution, such as google/siglip2-base-patch16-224 (Apache-2.0)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.arrays import AnyArray
from liqe_jax.encoders.base import Encoder, Params, Prompts
from liqe_jax.encoders.int8 import quantise
from liqe_jax.encoders.layout import Layout
from liqe_jax.encoders.siglip_config import SigLIP2Config, SigLIPConfig
from liqe_jax.encoders.siglip_names import OWN, SIGLIP, SIGLIP2
from liqe_jax.encoders.siglip_towers import SigLIPTowers
from liqe_jax.errors import ModelError
from liqe_jax.text.siglip import SigLIPTokenizer


@dataclasses.dataclass(frozen=True)
class SigLIP(SigLIPConfig, Encoder):
    """SigLIP behind the interface of `Encoder`; sizes are those of `SigLIPConfig`."""

    layouts: ClassVar[Mapping[str, Layout]] = MappingProxyType({"hugging_face": SIGLIP, "flax": OWN})
    stored_layout: ClassVar[str | None] = "hugging_face"
    tokenizer_class: ClassVar[type[SigLIPTokenizer]] = SigLIPTokenizer
    # The softmax over prompts does not depend on the bias, so nothing but weight decay would move it.
    frozen: ClassVar[tuple[str, ...]] = ("logit_scale", "logit_bias")

    def init_params(self, key: Array) -> Params:
        """Random float32 parameters."""
        crop = jnp.zeros((1, self.image_size, self.image_size, 3), jnp.uint8)
        token_ids = jnp.zeros((1, self.context_length), jnp.int32)
        return SigLIPTowers(self).init(key, crop, token_ids)["params"]

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
        apply = functools.partial(SigLIPTowers(self, dtype, remat).apply, method=SigLIPTowers.image_features)
        return jnp.asarray(apply({"params": params}, flat)).reshape(*crops.shape[:-3], -1)

    def prompts(self, sentences: Sequence[str], tokenizer: SigLIPTokenizer | None = None, devices: int = 1) -> Prompts:
        """One row of token ids for each sentence.

        Nothing is shared among sentences: in a bidirectional tower every token depends on all others.
        """
        token_ids = (tokenizer or SigLIPTokenizer.default())(sentences, self.context_length)
        if token_ids.max() >= self.vocab_size:
            raise ModelError(
                f"The tokenizer gives ids up to {token_ids.max()}, and the model's vocabulary has {self.vocab_size} "
                "tokens. Put the model's own tokenizer.json beside its config.json."
            )
        rows = np.pad(token_ids, ((0, -len(token_ids) % devices), (0, 0)))
        return Prompts(rows, np.arange(len(token_ids), dtype=np.int32))

    def text_features(
        self,
        params: Params,
        rows: Int[AnyArray, "B L"],
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
    ) -> Float[Array, "B R D"]:
        """Unit features of the sentences in these rows, R = 1 in each."""
        apply = functools.partial(SigLIPTowers(self, dtype, remat).apply, method=SigLIPTowers.text_features)
        return jnp.asarray(apply({"params": params}, rows))[:, None]

    def logits(
        self, params: Params, image_features: Float[AnyArray, "*batch D"], text_features: Float[AnyArray, "K D"]
    ) -> Float[Array, "*batch K"]:
        """Cosines of unit features, scaled and shifted; a sigmoid of one is the probability of a pair in training."""
        return super().logits(params, image_features, text_features) + params["logit_bias"]

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
        return super().param_shapes(arrays)

    def quantise(self, params: Params) -> Params:
        """Parameters with int8 kernels; the patch embedding stays floating."""
        return quantise(params)


@dataclasses.dataclass(frozen=True)
class SigLIP2(SigLIP2Config, SigLIP):
    """transformers' Siglip2Model, at the one resolution that fills its table of positions."""

    layouts: ClassVar[Mapping[str, Layout]] = MappingProxyType({"hugging_face": SIGLIP2, "flax": OWN})
