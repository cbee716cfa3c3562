"""The transformer that the towers of CLIP and SigLIP are made of.

Letters beside those of `base.py`: R tokens of a row whose output is used. Parameter names are those of transformers'
FlaxCLIPModel.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num

from liqe_jax.encoders.int8 import check_floating, float_dtype, int8_dot, is_int8, is_narrow, quantised_kernel
from liqe_jax.encoders.products import AnyArray, by_platform, einsum, matmul
from liqe_jax.encoders.two_towers import TowerConfig


@jax.custom_vjp
def _low_precision_dot(x: Array, kernel: Array) -> Array:
    return matmul(x, kernel)


def _low_precision_dot_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    # Left to itself, JAX would multiply the float32 cotangent in float32. Rounding it to the
    # operands' type keeps both backward products on the fast units, still summed in float32.
    x, kernel = saved
    rounded = cotangent.astype(x.dtype)
    d_x = matmul(rounded, kernel.T)
    d_kernel = einsum("...i,...o->io", x, rounded)
    return d_x.astype(x.dtype), d_kernel.astype(kernel.dtype)


_low_precision_dot.defvjp(lambda x, kernel: (_low_precision_dot(x, kernel), (x, kernel)), _low_precision_dot_backward)


def dot(x: Float[AnyArray, "... i"], kernel: Num[AnyArray, "i o"], dtype: DTypeLike) -> Float[Array, "... o"]:
    """`x @ kernel` with operands of `dtype` and sums in float32, forwards and backwards.

    Sums in bfloat16 would halve the speed on a CPU and lose small terms anywhere.
    """
    check_floating(kernel)
    if jnp.dtype(dtype) == jnp.float32:
        return matmul(x.astype(jnp.float32), kernel.astype(jnp.float32))
    return _low_precision_dot(x.astype(dtype), kernel.astype(dtype))


class Dense(nn.Module):
    """An affine map with float32 output; its products take operands of `dtype`."""

    features: int
    dtype: DTypeLike
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... {self.features}"]:
        shape = (x.shape[-1], self.features)
        if is_int8(self.dtype) and not is_narrow(*shape):
            y = int8_dot(x, *quantised_kernel(self, shape))
        else:
            y = dot(x, self.param("kernel", nn.initializers.lecun_normal(), shape), float_dtype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(jnp.float32)
        return y


_COLUMNS = 16  # numbers of a vector register


def mean_over_width(x: Float[Array, "... W"]) -> Float[Array, "... 1"]:
    """The mean over the last axis, which stays; on CPUs as a product.

    XLA's CPU compiler would compute the sums of a residual stream again in every block, from all earlier blocks'
    outputs: a third of the text tower's time in training. A product among the readers of a sum keeps it.
    """

    def as_product(x: Array) -> Array:
        width = x.shape[-1]
        # Of one column a row's sum would depend, in its last digit, on the row's place among the others.
        weights = jnp.full((width, _COLUMNS), 1 / width, x.dtype)
        return matmul(x, weights)[..., :1]

    return by_platform(x, cpu=as_product, default=lambda x: x.mean(-1, keepdims=True))


class LayerNorm(nn.Module):
    """Layer normalisation in float32, whatever the type of the products around it."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "... W"]) -> Float[Array, "... W"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        # Two passes: the mean square less the squared mean loses half the digits in float32.
        centred = x - mean_over_width(x)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias


def _by_head(tokens: Float[Array, "B L H w"]) -> Float[Array, "B H L w"]:
    # Heads in front make every product one of plain matrices: twice as fast on a CPU as leaving the order to XLA.
    return tokens.swapaxes(1, 2)


def _scores(
    q: Float[Array, "B H R w"], k: Float[Array, "B H L w"], mask: Array | None, scale: float = 1.0
) -> Float[Array, "B H R L"]:
    scores = matmul(q, k.mT) * scale
    return scores if mask is None else jnp.where(mask[:, None], scores, jnp.finfo(jnp.float32).min)


@jax.custom_vjp
def attend(
    q: Float[Array, "B R H w"],
    k: Float[Array, "B L H w"],
    v: Float[Array, "B L H w"],
    mask: Bool[Array, "#B R L"] | None,
) -> Float[Array, "B R H w"]:
    """Softmax attention with float32 sums; its backward pass computes the [R, L] weights again."""
    # From the logarithm of their sum (Dao et al., FlashAttention, NeurIPS 2022, appendix B).
    return _attend_forward(q, k, v, mask)[0]


def _attend_forward(q: Array, k: Array, v: Array, mask: Array | None) -> tuple[Array, tuple]:
    q, k, v = map(_by_head, (q, k, v))
    scores = _scores(q, k, mask, q.shape[-1] ** -0.5)
    largest = scores.max(-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    # Divided after the product, which has fewer numbers than the weights.
    mixed = _by_head(matmul(weights.astype(q.dtype), v) / total)
    return mixed, (q, k, v, mask, mixed, largest + jnp.log(total))


def _attend_backward(saved: tuple, cotangent: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, mask, mixed, log_sum = saved
    # Scaling the query instead of the score gives the compiler no chance to recognise the forward
    # pass's scores and to keep them after all.
    scale = q.shape[-1] ** -0.5
    scaled = (q * scale).astype(q.dtype)
    weights = jnp.exp(_scores(scaled, k, mask) - log_sum)
    rounded = _by_head(cotangent.astype(q.dtype))
    d_weights = matmul(rounded, v.mT)
    mean_BxHxR = (cotangent * mixed).sum(-1).mT
    d_scores = (weights * (d_weights - mean_BxHxR[..., None])).astype(q.dtype)
    d_v = matmul(weights.astype(q.dtype).mT, rounded)
    d_q = matmul(d_scores, k) * scale
    d_k = matmul(d_scores.mT, scaled)
    d_q, d_k, d_v = (_by_head(d.astype(q.dtype)) for d in (d_q, d_k, d_v))
    return d_q, d_k, d_v, None


attend.defvjp(_attend_forward, _attend_backward)


class Attention(nn.Module):
    """Multi-head attention from the tokens in `queries` to the tokens in `x`."""

    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, queries: Float[Array, "B R W"], x: Float[Array, "B L W"], mask: Bool[Array, "#B R L"] | None
    ) -> Float[Array, "B R W"]:
        width = x.shape[-1]
        head_width = width // self.heads

        def heads_of(tokens: Array, name: str) -> Array:
            projected = Dense(width, self.dtype, name=name)(tokens)
            return projected.astype(float_dtype(self.dtype)).reshape(*tokens.shape[:2], self.heads, head_width)

        q, k, v = heads_of(queries, "q_proj"), heads_of(x, "k_proj"), heads_of(x, "v_proj")
        mixed = attend(q, k, v, mask)
        return Dense(width, self.dtype, name="out_proj")(mixed.reshape(*queries.shape[:2], width))


@jax.custom_vjp
def quick_gelu(x: Float[Array, ...]) -> Float[Array, ...]:
    """OpenAI's approximation of GELU; for the backward pass only its argument is kept."""
    return x * jax.nn.sigmoid(1.702 * x)


def _quick_gelu_backward(x: Array, cotangent: Array) -> tuple[Array]:
    # The sigmoid written otherwise, so that the compiler does not keep the forward pass's.
    sigmoid = 0.5 + 0.5 * jnp.tanh(0.851 * x)
    return (cotangent * sigmoid * (1 + 1.702 * x * (1 - sigmoid)),)


quick_gelu.defvjp(lambda x: (quick_gelu(x), x), _quick_gelu_backward)


def activate(x: Float[Array, ...], name: str) -> Float[Array, ...]:
    """GELU in one of its forms: OpenAI's CLIPs have the sigmoid approximation, LAION's the exact one, SigLIP tanh's."""
    return quick_gelu(x) if name == "quick_gelu" else jax.nn.gelu(x, approximate=name == "gelu_pytorch_tanh")


class MLP(nn.Module):
    """The two-layer perceptron of a block."""

    config: TowerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B L W"]) -> Float[Array, "B L W"]:
        hidden = activate(Dense(self.config.mlp_width, self.dtype, name="fc1")(x), self.config.activation)
        return Dense(self.config.width, self.dtype, name="fc2")(hidden)


class EncoderLayer(nn.Module):
    """A pre-norm block. Tokens outside `output_at` are attended to but have no output."""

    config: TowerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L W"], mask: Bool[Array, "#B L L"] | None, output_at: Int[Array, "B R"] | None = None
    ) -> Float[Array, "B _ W"]:
        normed = LayerNorm(self.config.layer_norm_eps, name="layer_norm1")(x)
        queries = normed
        if output_at is not None:
            x = jnp.take_along_axis(x, output_at[..., None], axis=1)
            queries = jnp.take_along_axis(normed, output_at[..., None], axis=1)
            if mask is not None:
                rows = jnp.broadcast_to(mask, (output_at.shape[0], *mask.shape[1:]))
                mask = jnp.take_along_axis(rows, output_at[..., None], axis=1)
        x = x + Attention(self.config.heads, self.dtype, name="self_attn")(queries, normed, mask)
        normed = LayerNorm(self.config.layer_norm_eps, name="layer_norm2")(x)
        return x + MLP(self.config, self.dtype, name="mlp")(normed)


class Layers(nn.Module):
    """The blocks, named "0", "1", ... in the parameter tree; with `remat`, a backward pass keeps only their inputs."""

    config: TowerConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L W"], mask: Bool[Array, "#B L L"] | None, output_at: Int[Array, "B R"]
    ) -> Float[Array, "B R W"]:
        block = nn.remat(EncoderLayer) if self.remat else EncoderLayer
        for index in range(self.config.layers):
            # Only the tokens whose output is used need the last block's output; for a ViT-B/32 that
            # leaves out one fourteenth of all arithmetic, and changes no result.
            last = index == self.config.layers - 1
            x = block(self.config, self.dtype, name=str(index))(x, mask, output_at if last else None)
        return x


class Transformer(nn.Module):
    """`Layers`, under a level of naming that FlaxCLIPModel's tree has and the arithmetic does not need."""

    config: TowerConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, *inputs: Any) -> Float[Array, "B R W"]:
        return Layers(self.config, self.dtype, self.remat, name="layers")(*inputs)
