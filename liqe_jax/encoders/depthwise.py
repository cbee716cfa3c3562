"""Depthwise convolutions and small ones over few channels, in the form that is fastest on the device at hand.

XLA's grouped convolution on CPUs takes several times as long as the same sum written as shifted products, forwards and
backwards (`python benchmarks/depthwise.py`). The backward pass that JAX derives from shifted products is slow too, so
`shifted` defines its own. On accelerators the convolution is the fast form.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    """A convolution with operands of `dtype` and float32 sums, padded as `depthwise`; other runtimes fuse it best."""
    exactly = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    return _convolve(jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), stride, **exactly)


def _convolve(x: Array, kernel: Array, stride: int, **options: Any) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=layout, **options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted(x: Float[Array, "B H W C"], kernel: Float[Array, "k k C"], stride: int) -> Float[Array, "B h w C"]:
    """As a sum of shifted copies of the input, each times one row of the kernel."""
    total = jnp.zeros((), x.dtype)
    for place, part in zip(np.ndindex(kernel.shape[:2]), shifts(x, kernel.shape[0], stride), strict=True):
        total = total + part * kernel[place].astype(x.dtype)
    return total


def _shifted_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return shifted(x, kernel, stride), (x, kernel)


def _shifted_backward(stride: int, operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Gradients of the input and of the kernel, from that of the output."""
    x, kernel = operands
    parts = shifts(x, kernel.shape[0], stride)
    kernel_gradient = jnp.stack([jnp.sum(part * gradient, (0, 1, 2), jnp.float32) for part in parts]).reshape(
        kernel.shape
    )
    return _input_gradient(gradient, kernel, stride, x.shape[1:3]), kernel_gradient.astype(kernel.dtype)


shifted.defvjp(_shifted_forward, _shifted_backward)


def _input_gradient(
    gradient: Float[Array, "B h w C"], kernel: Float[Array, "k k C"], stride: int, size_HxW: Sequence[int]
) -> Float[Array, "B H W C"]:
    """The gradient of the input of `shifted`, as sums of shifted copies of the gradient of its output.

    Pixels of the padded input that are `stride` apart are multiplied by the same entries of the kernel. So there is
    one sum for each of the `stride` x `stride` offsets, and the sums are interleaved.
    """
    size, channels = kernel.shape[0], kernel.shape[-1]
    padding = jax.lax.padtype_to_pads(size_HxW, (size, size), (stride, stride), "SAME")
    before = [low for low, _ in padding]
    rows, columns = (-(-(side + low) // stride) for side, low in zip(size_HxW, before, strict=True))
    reach = -(-size // stride) - 1
    beyond = [(reach, max(0, count - have)) for count, have in zip((rows, columns), gradient.shape[1:3], strict=True)]
    padded = jnp.pad(gradient, ((0, 0), *beyond, (0, 0)))
    phases = []
    for first in np.ndindex(stride, stride):
        total = jnp.zeros((), gradient.dtype)
        taps = kernel[first[0] :: stride, first[1] :: stride].astype(gradient.dtype)
        for down, right in np.ndindex(taps.shape[:2]):
            top, left = reach - down, reach - right
            total = total + padded[:, top : top + rows, left : left + columns] * taps[down, right]
        phases.append(total)
    apart = jnp.stack(phases, 3).reshape(-1, rows, columns, stride, stride, channels)
    together = apart.swapaxes(2, 3).reshape(-1, rows * stride, columns * stride, channels)
    (top, left), (height, width) = before, size_HxW
    return together[:, top : top + height, left : left + width]


def shifts(x: Float[Array, "B H W C"], size: int, stride: int) -> list[Float[Array, "B h w C"]]:
    """What each pixel of a `size` x `size` kernel meets, in row order."""
    height, width = x.shape[1:3]
    down, across = ((-(-side // stride) - 1) * stride + 1 for side in (height, width))
    padding = jax.lax.padtype_to_pads((height, width), (size, size), (stride, stride), "SAME")
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return [
        padded[:, row : row + down : stride, column : column + across : stride]
        for row in range(size)
        for column in range(size)
    ]
