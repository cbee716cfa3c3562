"""Kinds 4, 5, 7 and 8: colour diffusion, shift and saturation; 16 to 18, 24 and 25: brightness, sharpness, contrast."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float32

from liqe_jax.synthetic.blur import Image, gaussian_blur

# Colours shift at edges, which are detected at this scale in pixels.
EDGE_SIGMA = 4.0
# Edge strengths between these percentiles are rescaled to 0..1 and clipped.
EDGE_PERCENTILES = (1.0, 99.0)
GREEN = 1

SHARPEN_SIGMA = 3.0  # pixels


def colour_diffusion(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """Chroma (a, b of CIELAB) blurred with sigma 1.5 * amount + 2 pixels, then times `amount`."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 1:] = gaussian_blur(np.ascontiguousarray(lab[..., 1:]), 1.5 * amount + 2, rng) * np.float32(amount)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def colour_shift(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """Green moved by `amount` pixels in a random direction, as far as there are edges nearby."""
    angle = rng.uniform(0, 2 * math.pi)
    right, down = round(amount * math.cos(angle)), round(amount * math.sin(angle))
    green = np.ascontiguousarray(image[..., GREEN])
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    shape = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(green, move, shape, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    result = image.copy()
    result[..., GREEN] += (moved - green) * edges(image)
    return result


def edges(image: Image) -> Float32[np.ndarray, "H W"]:
    """Smoothed edge strength of the grey image, 0..1."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1)))
    # The last bits of cv2.magnitude depend on memory alignment.
    strength = np.sqrt(x * x + y * y)
    side = 2 * math.ceil(2 * EDGE_SIGMA) + 1
    strength = cv2.GaussianBlur(strength, (side, side), EDGE_SIGMA, borderType=cv2.BORDER_REPLICATE)
    if not strength.min() < strength.max():
        return np.zeros_like(strength)
    # The weakest tenth of the range does not count as an edge.
    low = 0.9 * strength.min() + 0.1 * strength.max()
    strength = np.maximum(strength, low)
    low, high = np.percentile(strength, EDGE_PERCENTILES).astype(np.float32)
    return np.clip((strength - low) / max(high - low, np.float32(1e-6)), 0, 1)


def saturation_hsv(image: Image, factor: float, rng: np.random.Generator) -> Image:
    """HSV saturation times `factor`; negative factors give complementary colours.

    A channel is V * (1 - S * f) with some f of the hue, so the factor acts on V - channel alone.
    """
    value = image.max(-1, keepdims=True)
    return value + (image - value) * np.float32(factor)


def saturation_lab(image: Image, factor: float, rng: np.random.Generator) -> Image:
    """Chroma (a, b of CIELAB) times `factor`."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 1:] = lab[..., 1:] * np.float32(factor)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


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
    sharpened = lightness + np.float32(amount) * (lightness - gaussian_blur(lightness, SHARPEN_SIGMA, rng))
    lab[..., 0] = np.clip(sharpened, 0, 100)
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
