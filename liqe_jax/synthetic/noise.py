"""Kinds 11 to 15: noise and denoising artifacts. A seed gives the same pattern at every level, stronger or denser."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from jaxtyping import Float32

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

# Denoising works on blocks of this many pixels a side.
SIDE = 8
# Offsets of the block grids, so that block borders are not visible.
OFFSETS = ((0, 0), (1, 5), (2, 2), (3, 7), (4, 4), (5, 1), (6, 6), (7, 3))
# Coefficients below so many standard deviations of the noise count as noise.
THRESHOLD = 2.7
# KADID-10k's network was trained on noise up to this standard deviation (DnCNN, Zhang et al. 2017:
# 55 of 255); it removes stronger noise only partly.
STRONGEST = 55 / 255


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


def denoised(image: Image, variance: float, rng: np.random.Generator) -> Image:
    """White noise of that variance, removed in each channel by thresholding overlapping DCT blocks.

    KADID-10k removes it with a network, DnCNN; this is a substitute.
    """
    sigma = math.sqrt(variance)
    noisy = np.clip(image + rng.standard_normal(image.shape, np.float32) * np.float32(sigma), 0, 1)
    return dct_threshold(noisy, THRESHOLD * min(sigma, STRONGEST))


def dct_threshold(image: Image, threshold: float) -> Image:
    """Hard thresholding of DCT coefficients, averaged over shifted grids of 8x8 blocks."""
    height, width, channels = image.shape
    tall, wide = (-(-size // SIDE) * SIDE for size in (height, width))
    border = ((SIDE, tall - height + SIDE), (SIDE, wide - width + SIDE), (0, 0))
    padded = np.pad(image, border, mode="reflect")
    total = np.zeros_like(padded)
    down = dct_matrix()
    across = np.kron(down, np.eye(channels, dtype=np.float32))
    for y, x in OFFSETS:
        # One more block covers the image at any offset.
        part = np.s_[y : y + tall + SIDE, x : x + wide + SIDE]
        rows, columns = tall // SIDE + 1, wide // SIDE + 1
        blocks = down @ np.ascontiguousarray(padded[part]).reshape(rows, SIDE, -1)
        spectrum = blocks.reshape(-1, SIDE * channels) @ across.T
        kept = np.abs(spectrum) >= threshold
        # The mean of a block is kept.
        kept.reshape(rows, SIDE, columns, SIDE, channels)[:, 0, :, 0] = True
        spectrum *= kept
        blocks = (spectrum @ across).reshape(rows, SIDE, -1)
        total[part] += (down.T @ blocks).reshape(rows * SIDE, columns * SIDE, channels)
    return total[SIDE : SIDE + height, SIDE : SIDE + width] / len(OFFSETS)


def dct_matrix() -> Float32[np.ndarray, "8 8"]:
    """The orthonormal DCT-II, frequencies by rows."""
    return scipy.fft.dct(np.eye(SIDE), axis=0, norm="ortho").astype(np.float32)
