"""Distorts an image."""

from __future__ import annotations

import numbers

import numpy as np
from jaxtyping import Float32

from liqe_jax.errors import ImageError, UsageError
from liqe_jax.synthetic.kinds import KINDS, LEVELS

# The misplaced patches of kind 20 need three times their side.
SMALLEST = 64
# OpenCV's remap, used by kind 19, has 16-bit coordinates.
LARGEST = 32766


def distort(image: Float32[np.ndarray, "H W 3"], kind: int, level: float, seed: int) -> Float32[np.ndarray, "H W 3"]:
    """Distorts an image; the result is deterministic on a given machine.

    With another processor or number of threads, matrix products round differently, so kind 15 differs in its last
    bits. The parameters are those of KADID-10k, in pixels of its 512x384 images. With the same seed, noise, positions
    and directions are the same at every level of a kind.

    Args:
      image: sRGB in 0..1, with sides of 64 to 32766 pixels; the result has the same range and shape.
      kind: KADID-10k's number of the kind, 1..25 (`KINDS`).
      level: 1 (weak) to 5 (strong). The parameter is interpolated between whole levels.
      seed: seed of at least 0.

    Raises:
      ImageError: the image has another type, shape or range.
      UsageError: the kind, level or seed is invalid.
    """
    _check(image)
    if not _whole(kind) or kind not in KINDS:
        raise UsageError(f"Expected a kind from 1 to {len(KINDS)}; got {kind!r}.")
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not LEVELS[0] <= level <= LEVELS[-1]:
        raise UsageError(f"Expected a level from {LEVELS[0]} to {LEVELS[-1]}; got {level!r}.")
    if not _whole(seed) or seed < 0:
        raise UsageError(f"Expected a whole number of at least 0 as seed; got {seed!r}.")
    known = KINDS[int(kind)]
    # OpenCV does not accept views with negative or odd strides.
    packed = np.ascontiguousarray(image)
    rng = np.random.default_rng(np.random.SeedSequence([int(seed), known.number]))
    return np.clip(known.function(packed, known.at(float(level)), rng), 0, 1).astype(np.float32, copy=False)


def _whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check(image: np.ndarray) -> None:
    wanted = f"Expected float32 values in 0..1 of shape [H, W, 3], {SMALLEST} to {LARGEST} pixels a side"
    if not isinstance(image, np.ndarray) or image.dtype != np.float32:
        raise ImageError(
            f"{wanted}; got {getattr(image, 'dtype', type(image).__name__)}. Divide eight-bit pixels by 255."
        )
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SMALLEST:
        raise ImageError(f"{wanted}; got shape {image.shape}. Convert it to RGB, or enlarge it.")
    if max(image.shape[:2]) > LARGEST:
        raise ImageError(f"{wanted}; got shape {image.shape}. Shrink it.")
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 1):
        raise ImageError(f"{wanted}; got values from {low:g} to {high:g}. Scale or clip them.")
