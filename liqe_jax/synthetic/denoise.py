"""Kind 15: denoising artifacts."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from jaxtyping import Float32

from liqe_jax.synthetic.blur import Image

SIDE = 8
# Offsets of the block grids, so that block borders are not visible.
OFFSETS = ((0, 0), (1, 5), (2, 2), (3, 7), (4, 4), (5, 1), (6, 6), (7, 3))
# Coefficients below so many standard deviations of the noise count as noise.
THRESHOLD = 2.7
# KADID-10k's network was trained on noise up to this standard deviation (DnCNN, Zhang et al. 2017:
# 55 of 255); it removes stronger noise only partly.
STRONGEST = 55 / 255


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
