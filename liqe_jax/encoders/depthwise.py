"""Depthwise convolutions and small ones over few channels, in the form that is fastest on the device at hand.

XLA's grouped convolution on CPUs takes several times as long as the same sum written as shifted products, forwards and
backwards (`python benchmarks/depthwise.py`). On accelerators the convolution is the fast form.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from liqe_jax.encoders.products import AnyArray, by_platform


def depthwise(
    x: Float[AnyArray, "B H W C"], kernel: Float[AnyArray, "k k C"], stride: int = 1
) -> Float[Array, "B h w C"]:
    """Every channel with its own kernel, padded as TensorFlow's "same" does: odd rows below, odd columns right."""
    cpu, default = functools.partial(shifted, stride=stride), functools.partial(grouped, stride=stride)
    return by_platform(jnp.asarray(x), jnp.asarray(kernel), cpu=cpu, default=default)


def grouped(x: Float[Array, "B H W C"], kernel: Float[Array, "k k C"], stride: int) -> Float[Array, "B h w C"]:
    """As one convolution with a group for each channel."""
    return _convolve(x, kernel[:, :, None, :].astype(x.dtype), stride, feature_group_count=x.shape[-1])


def convolution(
    x: Float[AnyArray, "B H W i"], kernel: Float[AnyArray, "k k i o"], stride: int, dtype: DTypeLike
) -> Float[Array, "B h w o"]:
    """A convolution over all channels with operands of `dtype` and sums in float32, padded as `depthwise`.

    Other runtimes fuse it best.
    """
    exactly = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    return _convolve(jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), stride, **exactly)


def _convolve(x: Array, kernel: Array, stride: int, **options: Any) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=layout, **options)


def shifted(x: Float[Array, "B H W C"], kernel: Float[Array, "k k C"], stride: int) -> Float[Array, "B h w C"]:
    """As a sum of shifted copies of the input, each times one row of the kernel."""
    size = kernel.shape[0]
    (top, bottom), (left, right) = (same_padding(side, size, stride) for side in x.shape[1:3])
    height, width = (-(-side // stride) for side in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    down, across = (height - 1) * stride + 1, (width - 1) * stride + 1
    total = jnp.zeros((), x.dtype)
    for row in range(size):
        for column in range(size):
            part = padded[:, row : row + down : stride, column : column + across : stride]
            total = total + part * kernel[row, column].astype(x.dtype)
    return total


def same_padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same": rows before and after a side, so that it has ceil(side / stride) outputs."""
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    return total // 2, total - total // 2
