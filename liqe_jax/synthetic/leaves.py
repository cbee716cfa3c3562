"""Dead leaves: images of discs that hide one another, whose statistics are close to those of photographs.

The model is Lee, Mumford and Huang's (IJCV 2001): discs of radius r with density proportional to r^-3 fall until
nothing of the ground shows. It gives sharp edges at every scale without any photograph's licence.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from liqe_jax.errors import UsageError

SMALLEST = 2.0  # radius of the smallest discs, pixels; below it discs would alias
LARGEST = 0.35  # radius of the largest ones, of the longer side
MOST = 20_000  # discs at most; what is still open then takes the mean colour of the palette
PALETTE = 12  # base colours of one image
_STREAM = 0x1EAF  # keeps these seeds apart from those of the distortions


def radii(generator: np.random.Generator, count: int, largest: float) -> Float64[np.ndarray, " count"]:
    """Draws `count` radii, in pixels, with density proportional to r^-3 between `SMALLEST` and `largest`."""
    low, high = SMALLEST**-2.0, largest**-2.0
    return (low + generator.random(count) * (high - low)) ** -0.5


def palette(generator: np.random.Generator) -> Float64[np.ndarray, "{PALETTE} 3"]:
    """Draws base colours, RGB in 0..255: grey values that spread widely, little saturation, warm against cold.

    In photographs most of the colours' variance is in lightness, less between blue and yellow, least between
    red and green (Ruderman, Cronin and Chiao, JOSA A 1998); the standard deviations follow that order.
    """
    lightness = generator.uniform(20, 235, PALETTE)
    yellow = generator.normal(0, 22, PALETTE)
    red = generator.normal(0, 10, PALETTE)
    return np.stack([lightness + yellow / 2 + red, lightness + yellow / 2 - red, lightness - yellow], axis=1)


def dead_leaves(seed: int, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """Returns one dead-leaves image.

    Args:
      seed: Not negative. The same seed and size give the same image.
      height: Pixels, at least 16.
      width: Pixels, at least 16.

    Returns:
      RGB, 0..255.

    Raises:
      UsageError: The seed is negative or a side is under 16 pixels.
    """
    if seed < 0 or min(height, width) < 16:
        raise UsageError(
            f"dead leaves need a seed of 0 or more and sides of 16 pixels or more, got seed {seed}, "
            f"{height}x{width}: give larger numbers"
        )
    generator = np.random.default_rng(np.random.SeedSequence([_STREAM, seed]))
    base = palette(generator)
    image = np.empty((height, width, 3))
    image[:] = base.mean(axis=0)
    open_pixels = np.ones((height, width), dtype=bool)

    # Front to back: a disc only paints what no earlier one has, so drawing can stop once all is covered.
    sizes = radii(generator, MOST, max(LARGEST * max(height, width), 2 * SMALLEST))
    rows = generator.uniform(-sizes, height + sizes)
    columns = generator.uniform(-sizes, width + sizes)
    colours = base[generator.integers(PALETTE, size=MOST)] + generator.normal(0, 8, (MOST, 3))
    left = height * width
    for radius, row, column, colour in zip(sizes, rows, columns, colours, strict=True):
        top, bottom = max(0, int(row - radius)), min(height, int(row + radius) + 2)
        start, end = max(0, int(column - radius)), min(width, int(column + radius) + 2)
        if top >= bottom or start >= end:
            continue
        y, x = np.ogrid[top:bottom, start:end]
        window = open_pixels[top:bottom, start:end]
        hit = window & ((y - row) ** 2 + (x - column) ** 2 <= radius**2)
        image[top:bottom, start:end][hit] = colour
        window[hit] = False
        left -= int(hit.sum())
        if left == 0:
            break
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
