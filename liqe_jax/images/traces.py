"""By what factors may a picture have been enlarged? What interpolation leaves in pixels.

Interpolated pixels lie at distances from the original ones that repeat. In a picture enlarged by f, the mean size of
differences along an axis therefore has a line in its spectrum at the frequency 1/f (Gallagher, Detection of linear and
cubic interpolation in JPEG compressed images, CRV 2005). Frequencies fold at one half, so that 1/f and 1 - 1/f look the
same, and JPEG's blocks, JPEG 2000's wavelets and large pixels have lines of their own: whatever is found here must be
tried (`enlarged`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

# Factors looked for. Below, little is lost by taking the picture as it is; above, the lines grow dense.
LEAST, MOST = 1.3, 9.0

# Rows and columns that are looked at, and samples that each must have.
LINES, SMALLEST = 384, 256

# Over the median of the spectrum: what counts as a line. Sharp pictures have up to 5 by chance, blurred ones up to 10.
LINE = 7.0

# Most lines of a picture that are tried, the strongest first. JPEG adds seven.
COUNT = 10

LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # BT.601


def possible_factors(pixels: UInt8[np.ndarray, "H W 3"]) -> list[float]:
    """Factors from `LEAST` to `MOST` that there are lines for along both axes, the largest first."""
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        return []
    frequencies = np.linspace(1 / MOST, 0.5, 16_001)
    rows = pixels[:: max(1, height // LINES)].astype(np.float32) @ LUMA
    columns = (pixels[:, :: max(1, width // LINES)].astype(np.float32) @ LUMA).T
    both = [[_lines(lines, order, frequencies) for lines in (rows, columns)] for order in (1, 2)]
    # An enlargement by two shows in first differences only, being the same on both sides of a pixel. Wavelets, which
    # treat every other pixel differently, show in the second.
    if min(of[-1] for of in both[1]) >= LINE:
        return []
    strength = np.minimum(*np.max(both, axis=0))
    peaks = sorted(_peaks(strength), key=lambda peak: -strength[peak])[:COUNT]
    inverses = {inverse for peak in peaks for inverse in (frequencies[peak], 1 - frequencies[peak])}
    return [float(1 / inverse) for inverse in sorted(inverses) if LEAST <= 1 / inverse <= MOST]


def _lines(
    lines: Float[np.ndarray, "R N"], order: int, frequencies: Float[np.ndarray, " F"]
) -> Float[np.ndarray, " F"]:
    """The spectrum of what differences do along the lines, over its median."""
    mean = np.log(np.abs(np.diff(lines, n=order, axis=1)).mean(0) + 0.05)
    around = 31  # samples; the picture itself changes more slowly
    mean = mean - np.convolve(np.pad(mean, around // 2, mode="reflect"), np.full(around, 1 / around), "valid")
    length = 1 << (4 * len(mean) - 1).bit_length()  # four times as fine as the samples say
    power = np.abs(np.fft.rfft(mean * np.hanning(len(mean)), length))
    return np.interp(frequencies, np.arange(len(power)) / length, power / (np.median(power) + 1e-9))


def _peaks(strength: Float[np.ndarray, " F"]) -> list[int]:
    """Where it is at least `LINE`, and highest among 60 neighbours on either side, 0.0015 of the sampling rate."""
    found = np.flatnonzero(strength >= LINE)
    return [int(n) for n in found if strength[n] == strength[max(0, n - 60) : n + 61].max()]
