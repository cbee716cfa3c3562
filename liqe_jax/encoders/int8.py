"""Products of eight-bit integers, for scoring on processors that multiply them fast (VNNI, AMX, TPUs).

Kernels are rounded once, every column (output) with a scale of its own; activations when they are met, every token
with a scale of its own, whatever else is in the batch. Sums are int32, exact in any order. Narrow products,
normalisations, softmax, activations and the residual stream stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int8, Num

from liqe_jax.encoders.products import AnyArray, flat_patches
from liqe_jax.errors import UsageError

_LARGEST = 127  # -128 is left out, so that a number and its negative are rounded alike
_MIDDLE = 128  # what makes a signed number of a byte
# Products with fewer inputs or outputs stay floating: rounding averages out over too few (liqe_nano's score of a
# photograph with three patches moved by 0.03, all of its 192 wide kernels having a part in it).
NARROW = 256

_TINY = 1e-30  # the least range, so that zeros are not divided by zero


def is_int8(dtype: DTypeLike) -> bool:
    """Whether products of `dtype` are those of this file."""
    return jnp.dtype(dtype) == jnp.int8


def is_narrow(inputs: int, outputs: int) -> bool:
    """Whether a product of this shape stays floating."""
    return min(inputs, outputs) < NARROW


def float_dtype(dtype: DTypeLike) -> DTypeLike:
    """The operand type of products that are not worth rounding to int8."""
    return jnp.float32 if is_int8(dtype) else dtype


def check_floating(kernel: AnyArray) -> None:
    """Refuses a kernel of integers where a product floats (UsageError): without its scales it says something else."""
    if jnp.issubdtype(kernel.dtype, jnp.integer):
        raise UsageError(
            f"These parameters are rounded to {kernel.dtype}, and the product is to be floating. Pass dtype=jnp.int8, "
            "or load the model as float32 (for gradients and for saving it, too)."
        )


@jax.custom_jvp
def _to_int8(steps: Float[Array, "*shape"]) -> Int8[Array, "*shape"]:
    return jnp.round(steps).astype(jnp.int8)


@_to_int8.defjvp
def _no_gradient(primals: tuple, tangents: tuple) -> tuple:
    # Left to itself JAX would call the gradient zero, without a word.
    raise UsageError("Products of int8 have no gradient: rounding is flat. Load the model as float32 or bfloat16.")


def int8_dot(
    x: Float[AnyArray, "*batch i"], kernel: Int8[AnyArray, "i o"], kernel_scale: Float[AnyArray, " o"]
) -> Float[Array, "*batch o"]:
    """`x @ (kernel * kernel_scale)`, x rounded row by row to 127 steps either way."""
    x = jnp.asarray(x, jnp.float32)
    # XLA's maximum forgets NaN on CPUs; a sum keeps it. Both are fast there, unlike a maximum of integers.
    has_nan = jnp.isnan(x.sum(-1, keepdims=True))
    largest = jnp.where(has_nan, jnp.nan, jnp.abs(x).max(-1, keepdims=True))
    scale = jnp.where(largest < _TINY, _TINY, largest) / _LARGEST
    rounded = _to_int8(x / scale)
    return _integer_dot(rounded, kernel).astype(jnp.float32) * scale * kernel_scale


def _integer_dot(x: Int8[Array, "*batch i"], kernel: Int8[AnyArray, "i o"]) -> Num[Array, "*batch o"]:
    flat = x.reshape(-1, x.shape[-1])
    return jnp.matmul(flat, kernel, preferred_element_type=jnp.int32).reshape(*x.shape[:-1], -1)


def quantised_kernel(
    module: nn.Module, shape: tuple[int, ...]
) -> tuple[Int8[AnyArray, "*kernel"], Float[AnyArray, " o"]]:
    """The kernel and its scales as `quantise` leaves them among a module's parameters; UsageError where it has not."""
    kernel = module.param("kernel", nn.initializers.zeros, shape, jnp.int8)
    if kernel.dtype != jnp.int8:
        raise UsageError(
            f"Products of int8 need kernels of int8; these are {kernel.dtype}. "
            "Give the parameters to encoder.quantise first, or load the model with dtype='int8'."
        )
    return kernel, module.param("kernel_scale", nn.initializers.ones, shape[-1:])


class BytePatchEmbedding(nn.Module):
    """`embeddings.PatchEmbedding` of bytes: normalisation is part of the kernel and `offset`; fractions are rounded."""

    features: int
    patch_size: int

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"]) -> Float[Array, "B L W"]:
        kernel, scale = quantised_kernel(self, (self.patch_size, self.patch_size, 3, self.features))
        offset = self.param("offset", nn.initializers.zeros, (self.features,))
        signed = _to_int8(jnp.asarray(pixels).astype(jnp.float32) - _MIDDLE)  # exact: bytes are whole numbers
        sums = _integer_dot(flat_patches(signed, self.patch_size), kernel.reshape(-1, self.features))
        return sums.astype(jnp.float32) * scale + offset


def quantise(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with int8 kernels of matrix products, NumPy arrays; narrow products stay floating."""
    if "kernel" in params and np.ndim(params["kernel"]) == 2 and not is_narrow(*params["kernel"].shape):
        return {**params, **_rounded(np.asarray(params["kernel"], np.float32))}
    return {key: quantise(value) if isinstance(value, dict) else value for key, value in params.items()}


def _rounded(kernel: Float[np.ndarray, "*i o"]) -> dict[str, np.ndarray]:
    scale = np.maximum(np.abs(kernel).max(tuple(range(kernel.ndim - 1))), np.float32(_TINY)) / np.float32(_LARGEST)
    # Corrupt weights keep a corrupt scale, so that scores show it.
    steps = np.nan_to_num(kernel / scale)
    return {"kernel": np.round(steps).astype(np.int8), "kernel_scale": scale}


def byte_kernel(
    kernel: Float[AnyArray, "S S 3 W"], pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> dict[str, np.ndarray]:
    """A patch embedding's parameters for `BytePatchEmbedding`, with the normalisation of RGB in [0, 1] in them.

    ((p / 255 - mean) / std) k = (p - 128) k / (255 std) + (128 / 255 - mean) k / std, summed over pixels p.
    """
    kernel = np.asarray(kernel, np.float32)
    mean, std = np.asarray(pixel_mean)[:, None], np.asarray(pixel_std)[:, None]
    offset = (kernel * ((_MIDDLE / 255 - mean) / std)).sum((0, 1, 2))
    return {**_rounded((kernel / (255 * std)).astype(np.float32)), "offset": offset.astype(np.float32)}
