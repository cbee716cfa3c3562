"""Kinds 19 to 21 and 23: displaced pixels and patches."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Int

from liqe_jax.synthetic.blur import Image

JITTERS = 5
PATCH = 16  # side of a misplaced patch, and its distance from the border
BLOCK = 32  # side of a coloured block


def jitter(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """Five times, displaces every pixel by `amount` (standard deviation) pixels."""
    height, width = image.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for _ in range(JITTERS):
        shift = rng.standard_normal((2, height, width), np.float32) * np.float32(amount)
        image = cv2.remap(image, shift[0] + x, shift[1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return image


def patches(image: Image, number: float, rng: np.random.Generator) -> Image:
    """`number` (rounded) patches of 16x16 pixels copied to places up to 8 pixels away."""
    image = image.copy()
    room = np.array(image.shape[:2]) - 3 * PATCH
    for draw in rng.random((round(number), 4)):
        top, left = np.rint(draw[:2] * room).astype(int) + PATCH
        to_top, to_left = np.rint((draw[2:] - 0.5) * PATCH).astype(int) + np.array([top, left])
        # Source and target may overlap.
        patch = image[top : top + PATCH, left : left + PATCH].copy()
        image[to_top : to_top + PATCH, to_left : to_left + PATCH] = patch
    return image


def pixelate(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Downscales to 0.95 - strength^0.6 of the size and back, both with nearest neighbor."""
    height, width = image.shape[:2]
    scale = 0.95 - strength**0.6
    rows, columns = (_shrunk_and_back(side, math.ceil(side * scale)) for side in (height, width))
    return image[rows][:, columns]


def _shrunk_and_back(side: int, small: int) -> Int[np.ndarray, " side"]:
    """Which pixel each one becomes. In whole numbers, since OpenCV's versions round differently to the nearest."""
    shrunk = (2 * np.arange(small) + 1) * side // (2 * small)
    back = (2 * np.arange(side) + 1) * small // (2 * side)
    return shrunk[back]


def colour_blocks(image: Image, number: float, rng: np.random.Generator) -> Image:
    """`number` (rounded) blocks of 32x32 pixels, each of one random colour."""
    image = image.copy()
    room = np.array(image.shape[:2]) - BLOCK
    for draw in rng.random((round(number), 5)):
        top, left = (draw[:2] * (room + 1)).astype(int)
        image[top : top + BLOCK, left : left + BLOCK] = draw[2:]
    return image
