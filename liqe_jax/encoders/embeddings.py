"""What the Flax modules of CLIP and SigLIP share: their settings, and embeddings of ViT patches and of tokens."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.int8 import float_dtype
from liqe_jax.encoders.layers import dot
from liqe_jax.encoders.products import AnyArray, flat_patches
from liqe_jax.encoders.two_towers import TwoTowers


class TowerModule(nn.Module):
    """A tower, both of them, or a part of one; `dtype` as in `Encoder`, and `remat` saves memory in backward passes."""

    config: TwoTowers
    dtype: DTypeLike = jnp.float32
    remat: bool = False


class PatchEmbedding(nn.Module):
    """A convolution whose stride is its size, written as the product that it is."""

    features: int
    patch_size: int
    dtype: DTypeLike
    use_bias: bool = False

    @nn.compact
    def __call__(self, pixels: Float[AnyArray, "B H H 3"]) -> Float[Array, "B T W"]:
        shape = (self.patch_size, self.patch_size, 3, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        flat = flat_patches(pixels, self.patch_size)
        y = dot(flat, kernel.reshape(-1, self.features), float_dtype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(jnp.float32)
        return y


class TextEmbeddings(TowerModule):
    """Token and position embeddings; float32."""

    @nn.compact
    def __call__(self, token_ids: Int[AnyArray, "B L"], positions: Int[AnyArray, "#B L"]) -> Float[Array, "B L W"]:
        width = self.config.text.width
        tokens = nn.Embed(self.config.vocab_size, width, name="token_embedding")(token_ids)
        placed = nn.Embed(self.config.context_length, width, name="position_embedding")(positions)
        return (tokens + placed).astype(jnp.float32)
