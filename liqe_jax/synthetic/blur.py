"""Kinds 1 to 3: Gaussian, lens and motion blur.

Every operator takes a float32 image in 0..1, a parameter and a random generator. Its result may exceed 0..1;
`distort` clips it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, Float32

Image = Float32[np.ndarray, "H W 3"]

# The coverage of a pixel by the disk is counted on a grid with this many points per side.
SUPERSAMPLING = 16


def gaussian_blur(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """A Gaussian of `sigma` pixels, cut at two sigmas as MATLAB's imgaussfilt does."""
    side = 2 * math.ceil(2 * sigma) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)


def lens_blur(image: Image, radius: float, rng: np.random.Generator) -> Image:
    """The mean over a disk of `radius` pixels."""
    return cv2.filter2D(image, -1, disk_kernel(radius), borderType=cv2.BORDER_REPLICATE)


def motion_blur(image: Image, length: float, rng: np.random.Generator) -> Image:
    """The mean over a line of `length` pixels in a random direction."""
    kernel = line_kernel(length, rng.uniform(0, math.pi))
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def disk_kernel(radius: float) -> Float[np.ndarray, "K K"]:
    """Each pixel's share of a disk, summing to 1; radius in pixels."""
    half = math.ceil(radius - 0.5)
    points = (np.arange((2 * half + 1) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - half - 0.5
    inside = (points[:, None] ** 2 + points**2 <= radius**2).reshape(2 * half + 1, SUPERSAMPLING, 2 * half + 1, -1)
    kernel = inside.mean((1, 3))
    return kernel / kernel.sum()


def line_kernel(length: float, angle: float) -> Float[np.ndarray, "K K"]:
    """A line one pixel wide, fading to either side, summing to 1; length in pixels, angle in radians."""
    reach = (length - 1) / 2
    half = math.ceil(reach)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along = x * math.cos(angle) - y * math.sin(angle)
    beside = x * math.sin(angle) + y * math.cos(angle)
    kernel = np.maximum(1 - np.hypot(beside, np.maximum(np.abs(along) - reach, 0)), 0)
    return kernel / kernel.sum()
