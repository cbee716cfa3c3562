"""Interpolation as Pillow enlarges: values between those of a grid, along two axes, in NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What a neighbour at some distance weighs.

    Attributes:
      filter: Pillow's that has it.
      reach: neighbours on either side.
      weight: of distances in pixels, up to `reach`.
    """

    filter: Image.Resampling
    reach: int
    weight: Callable[[Float[np.ndarray, "n T"]], Float[np.ndarray, "n T"]]


def _cubic(distance: Float[np.ndarray, "n T"]) -> Float[np.ndarray, "n T"]:
    # Keys, Cubic convolution interpolation for digital image processing (1981), with a = -1/2.
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, far)


def bilinear() -> Kernel:
    """Pillow's BILINEAR."""
    return Kernel(Image.Resampling.BILINEAR, 1, lambda distance: 1 - distance)


def bicubic() -> Kernel:
    """Pillow's BICUBIC."""
    return Kernel(Image.Resampling.BICUBIC, 2, _cubic)


def lanczos() -> Kernel:
    """Pillow's LANCZOS, of three lobes."""
    return Kernel(Image.Resampling.LANCZOS, 3, lambda distance: np.sinc(distance) * np.sinc(distance / 3))


def at(
    values: Float[np.ndarray, "H W C"] | UInt8[np.ndarray, "H W C"],
    rows: Float[np.ndarray, " h"],
    columns: Float[np.ndarray, " w"],
    kernel: Kernel,
) -> Float[np.ndarray, "h w C"]:
    """Values at places between those of an array, float32; at its borders the outermost count on.

    Args:
      values: the array.
      rows, columns: places, ascending; 0 is the first row or column, 0.5 half way to the next.
      kernel: of the interpolation.
    """
    across = _along(values, rows, kernel)
    return _along(across.swapaxes(0, 1), columns, kernel).swapaxes(0, 1)


def _along(values: Any, places: Float[np.ndarray, " n"], kernel: Kernel) -> Any:
    nearest = np.floor(places).astype(int)[:, None] + np.arange(1 - kernel.reach, 1 + kernel.reach)
    weights = kernel.weight(np.abs(places[:, None] - nearest))
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    nearest = np.clip(nearest, 0, len(values) - 1)
    out = np.zeros((len(places), *values.shape[1:]), np.float32)
    for tap in range(2 * kernel.reach):
        out += values[nearest[:, tap]] * weights[:, tap, None, None]
    return out
