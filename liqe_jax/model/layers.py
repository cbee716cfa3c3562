"""The transformer that both CLIP towers are made of.

Letters in the annotations of this folder: B images or rows, P patches of an image, L tokens
of a row, R tokens whose output is read, W width of a tower, D length of the common
embedding, K prompts. Parameter names are those of transformers' FlaxCLIPModel.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from liqe_jax.model.config import TowerConfig

# Functions take NumPy's arrays too; they return JAX's.
AnyArray = Array | np.ndarray


@jax.custom_vjp
def _low_precision_dot(x: Array, kernel: Array) -> Array:
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _low_precision_dot_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _low_precision_dot(x, kernel), (x, kernel)


def _low_precision_dot_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    # Left to itself, JAX would multiply the float32 cotangent in float32. Rounding it to the
    # operands' type keeps both backward products on the fast units, still summed in float32.
    x, kernel = saved
    rounded = cotangent.astype(x.dtype)
    d_x = jnp.matmul(rounded, kernel.T, preferred_element_type=jnp.float32)
    d_kernel = jnp.einsum("...i,...o->io", x, rounded, preferred_element_type=jnp.float32)
    return d_x.astype(x.dtype), d_kernel.astype(kernel.dtype)


_low_precision_dot.defvjp(_low_precision_dot_forward, _low_precision_dot_backward)


def dot(x: Float[AnyArray, "... i"], kernel: Float[AnyArray, "i o"], dtype: DTypeLike) -> Float[Array, "... o"]:
    """`x @ kernel` with operands of `dtype` and sums in float32, forwards and backwards.

    Returning bfloat16 sums would halve the speed on a CPU and lose the small terms anywhere.
    """
    if jnp.dtype(dtype) == jnp.float32:
        return jnp.matmul(x.astype(jnp.float32), kernel.astype(jnp.float32))
    return _low_precision_dot(x.astype(dtype), kernel.astype(dtype))


class Dense(nn.Module):
    """An affine map with float32 output; its products take operands of `dtype`."""

    features: int
    dtype: DTypeLike
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... {self.features}"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        y = dot(x, kernel, self.dtype)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(jnp.float32)
        return y


class LayerNorm(nn.Module):
    """Layer normalisation in float32, whatever the type of the products around it."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "... W"]) -> Float[Array, "... W"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        # Two passes: the mean square less the squared mean loses half the digits in float32.
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias


class Attention(nn.Module):
    """Multi-head attention from the tokens in `queries` to the tokens in `x`."""

    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "B R W"],
        x: Float[Array, "B L W"],
        mask: Bool[Array, "#B R L"] | None,
    ) -> Float[Array, "B R W"]:
        width = x.shape[-1]
        head_width = width // self.heads

        def heads_of(tokens: Array, name: str) -> Array:
            projected = Dense(width, self.dtype, name=name)(tokens)
            return projected.astype(self.dtype).reshape(*tokens.shape[:2], self.heads, head_width)

        q, k, v = heads_of(queries, "q_proj"), heads_of(x, "k_proj"), heads_of(x, "v_proj")
        scores_BxHxRxL = jnp.einsum("brhw,blhw->bhrl", q, k, preferred_element_type=jnp.float32) * head_width**-0.5
        if mask is not None:
            scores_BxHxRxL = jnp.where(mask[:, None], scores_BxHxRxL, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores_BxHxRxL, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("bhrl,blhw->brhw", weights, v, preferred_element_type=jnp.float32)
        return Dense(width, self.dtype, name="out_proj")(mixed.reshape(*queries.shape[:2], width))


def activate(x: Float[Array, ...], name: str) -> Float[Array, ...]:
    """CLIP's activations; OpenAI's models use the sigmoid approximation, LAION's the exact GELU."""
    if name == "quick_gelu":
        return x * jax.nn.sigmoid(1.702 * x)
    return jax.nn.gelu(x, approximate=False)


class MLP(nn.Module):
    """The two-layer perceptron of a block."""

    config: TowerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B L W"]) -> Float[Array, "B L W"]:
        hidden = activate(Dense(self.config.mlp_width, self.dtype, name="fc1")(x), self.config.activation)
        return Dense(self.config.width, self.dtype, name="fc2")(hidden)


class EncoderLayer(nn.Module):
    """A pre-norm block. Tokens outside `read` are attended to but not carried on."""

    config: TowerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L W"],
        mask: Bool[Array, "#B L L"] | None,
        read: Int[Array, "B R"] | None = None,
    ) -> Float[Array, "B _ W"]:
        normed = LayerNorm(self.config.layer_norm_eps, name="layer_norm1")(x)
        queries = normed
        if read is not None:
            x = jnp.take_along_axis(x, read[..., None], axis=1)
            queries = jnp.take_along_axis(normed, read[..., None], axis=1)
            if mask is not None:
                rows = jnp.broadcast_to(mask, (read.shape[0], *mask.shape[1:]))
                mask = jnp.take_along_axis(rows, read[..., None], axis=1)
        x = x + Attention(self.config.heads, self.dtype, name="self_attn")(queries, normed, mask)
        normed = LayerNorm(self.config.layer_norm_eps, name="layer_norm2")(x)
        return x + MLP(self.config, self.dtype, name="mlp")(normed)


class Layers(nn.Module):
    """The blocks, named "0", "1", ... in the parameter tree.

    With `remat`, a backward pass keeps only the input of each block and computes the rest again.
    """

    config: TowerConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L W"], mask: Bool[Array, "#B L L"] | None, read: Int[Array, "B R"]
    ) -> Float[Array, "B R W"]:
        block = nn.remat(EncoderLayer) if self.remat else EncoderLayer
        for index in range(self.config.layers):
            # Only the tokens that are read need the last block's output; for a ViT-B/32 that
            # leaves out one fourteenth of all arithmetic, and changes no result.
            last = index == self.config.layers - 1
            x = block(self.config, self.dtype, name=str(index))(x, mask, read if last else None)
        return x


class Encoder(nn.Module):
    """A level of naming that FlaxCLIPModel's tree has and the arithmetic does not need."""

    config: TowerConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L W"], mask: Bool[Array, "#B L L"] | None, read: Int[Array, "B R"]
    ) -> Float[Array, "B R W"]:
        return Layers(self.config, self.dtype, self.remat, name="layers")(x, mask, read)
