"""Kinds 16 to 18, 24 and 25: brightness, sharpness and contrast."""

from __future__ import annotations

import math

import cv2
import numpy as np

from liqe_jax.synthetic.blur import Image

SHARPEN_SIGMA = 3.0  # pixels


def brighten(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """Two parts of a curve on R, G and B and one part of the same curve on CIELAB's lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 0] = 100 * parabola(lab[..., 0] / 100, 0.5 + amount / 2)
    return (2 * parabola(image, 0.5 + amount / 2) + cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)) / 3


def darken(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """A curve on R, G and B."""
    return parabola(image, 0.5 - amount / 2)


def parabola(values: np.ndarray, middle: float) -> np.ndarray:
    """The parabola through (0, 0), (0.5, `middle`) and (1, 1), clipped to 0..1."""
    return np.clip(values * (np.float32(4 * middle - 1) + np.float32(2 - 4 * middle) * values), 0, 1)


def mean_shift(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """`amount` added to all values."""
    return image + np.float32(amount)


def high_sharpen(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """Lightness plus `amount` times its difference from a Gaussian blur of 3 pixels (MATLAB's imsharpen)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lightness = np.ascontiguousarray(lab[..., 0])
    side = 2 * math.ceil(2 * SHARPEN_SIGMA) + 1
    blurred = cv2.GaussianBlur(lightness, (side, side), SHARPEN_SIGMA, borderType=cv2.BORDER_REPLICATE)
    lab[..., 0] = np.clip(lightness + np.float32(amount) * (lightness - blurred), 0, 100)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def contrast(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """The spline through (0, 0), (0.3, 0.25 - amount / 4), (0.5, 0.5), (0.7, 0.75 + amount / 4) and (1, 1).

    The points are symmetric about the middle, so the not-a-knot spline is one cubic,
    0.5 + a t + b t^3 with t = value - 0.5. It is the identity at amount -0.2, not at 0.
    """
    outer, inner = 0.5, 0.2
    first, second = np.linalg.solve([[outer, outer**3], [inner, inner**3]], [0.5, 0.25 + amount / 4])
    t = image - np.float32(0.5)
    return np.float32(0.5) + t * (np.float32(first) + np.float32(second) * t * t)
