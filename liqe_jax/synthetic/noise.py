"""Kinds 11 to 14: noise. A seed gives the same pattern at every level, stronger or denser."""

from __future__ import annotations

import math

import numpy as np

from liqe_jax.synthetic.blur import Image

# Full-range RGB from MATLAB's YCbCr, whose luma spans 219 and chroma 224 of 255 steps (ITU-R BT.601).
RGB_FROM_YCBCR = np.array(
    [
        [255 / 219, 0, 255 / 224 * 1.402],
        [255 / 219, -255 / 224 * 0.344136, -255 / 224 * 0.714136],
        [255 / 219, 255 / 224 * 1.772, 0],
    ],
    np.float32,
)
RGB_FROM_YCBCR.setflags(write=False)


def white_noise(image: Image, variance: float, rng: np.random.Generator) -> Image:
    """Gaussian noise of that variance added to R, G and B."""
    return image + rng.standard_normal(image.shape, np.float32) * np.float32(math.sqrt(variance))


def colour_noise(image: Image, variance: float, rng: np.random.Generator) -> Image:
    """Gaussian noise of that variance added to Y, Cb and Cr.

    The transform to YCbCr is linear, so the noise alone is transformed to RGB.
    """
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(math.sqrt(variance))
    return image + noise @ RGB_FROM_YCBCR.T


def impulse_noise(image: Image, density: float, rng: np.random.Generator) -> Image:
    """Sets this share of all samples to 0 or 1, independently in each channel."""
    draw = rng.random(image.shape, np.float32)
    result = np.where(draw < density / 2, np.float32(0), image)
    return np.where(draw > 1 - density / 2, np.float32(1), result)


def multiplicative(image: Image, variance: float, rng: np.random.Generator) -> Image:
    """Gaussian noise of that variance, times the image, is added."""
    return image * (1 + rng.standard_normal(image.shape, np.float32) * np.float32(math.sqrt(variance)))
