"""Re-encoding as augmentation: mild JPEG, WebP or noise, as most files on the web have it. The label stays.

KADID-10k's observers took 0.27 of a grade off for its mildest JPEG, of quality 43: in proportion, quality 80 costs 0.1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from liqe_jax.synthetic.compression import encoded_by_pillow

SHARE = 0.65  # of pictures that are re-encoded

# Lowest and highest quality; of a picture that is encoded twice, both times.
JPEG, TWICE, WEBP = (80, 98), (86, 98), (80, 97)
JPEG_GRID = 8

# Standard deviation from and to, of 255 levels; that of KADID-10k's mildest noise is 8.
NOISE = (0.3, 1.2)

Pixels = UInt8[np.ndarray, "H W 3"]


def reencoded(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture re-encoded in one of five ways, or unchanged."""
    if rng.random() >= SHARE:
        return pixels
    ways = (as_jpeg, _twice, _webp, _noisy, _noisy_jpeg)
    return ways[rng.choice(len(ways), p=(0.45, 0.15, 0.2, 0.1, 0.1))](pixels, rng)


def as_jpeg(pixels: Pixels, rng: np.random.Generator, qualities: tuple[int, int] = JPEG) -> Pixels:
    """Of a quality from one to another."""
    return encoded_by_pillow(pixels, "jpeg", quality=_quality(qualities, rng), subsampling=int(rng.integers(3)))


def _twice(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The first time with its blocks elsewhere, as if an edge had been cut off since."""
    top, left = (int(cut) for cut in rng.integers(JPEG_GRID, size=2))
    larger = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="reflect")
    return as_jpeg(as_jpeg(larger, rng, TWICE)[top:, left:], rng, TWICE)


def _webp(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return encoded_by_pillow(pixels, "webp", quality=_quality(WEBP, rng), method=2)


def _noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Each channel's own noise, or one for all."""
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((*pixels.shape[:2], channels), np.float32)
    return np.clip(np.rint(pixels + np.float32(rng.uniform(*NOISE)) * noise), 0, 255).astype(np.uint8)


def _noisy_jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return as_jpeg(_noisy(pixels, rng), rng)


def _quality(qualities: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(qualities[0], qualities[1] + 1))
