"""Codecs in other implementations than those of kinds 9 and 10; strengths are 0..1. H, W sides, C channels."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from liqe_jax.synthetic.blur import Image
from liqe_jax.synthetic.compression import by_opencv, by_pillow

Planes = Float[np.ndarray, "H W C"]


def pillow_jpeg(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """JPEG by Pillow's encoder."""
    return by_pillow(image, "jpeg", quality=round(96 - 95 * strength**0.5), subsampling=int(rng.integers(3)))


def pillow_jpeg2000(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """JPEG 2000 by a target PSNR, with the reversible or the irreversible transform."""
    settings = {"quality_mode": "dB", "quality_layers": [46 - 28 * strength], "irreversible": bool(rng.integers(2))}
    return by_pillow(image, "JPEG2000", no_jp2=True, **settings)


def opencv_jpeg2000(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """JPEG 2000 by OpenCV's encoder, whose unit is a thousandth of the size."""
    size = max(1, round(150 * (1 - strength) ** 3))
    return by_opencv(image, ".jp2", [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, size])


def webp(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """WebP."""
    return by_pillow(image, "webp", quality=round(90 * (1 - strength)), method=0)


def own_tables_jpeg(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """JPEG with quantization tables of random steepness."""
    steepness = float(rng.uniform(0, 1.5))
    frequency = np.add.outer(np.arange(8), np.arange(8))
    table = (1 + steepness * frequency) * (1 + 250 * strength**1.5) / (1 + 2 * steepness)
    # Pillow expects tables in row-major order.
    rows = np.clip(np.rint(table), 1, 255).astype(int).ravel().tolist()
    return by_pillow(image, "jpeg", qtables=[rows, rows], subsampling=int(rng.integers(3)))


def wavelet(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Quantized coefficients of LeGall's 5/3 wavelet, the reversible one of JPEG 2000."""
    step = np.float32(0.004 + 0.8 * strength)
    depth = int(rng.integers(3, 6))
    tile = 2**depth
    height, width = image.shape[:2]
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    ycc = np.pad(ycc, ((0, -height % tile), (0, -width % tile), (0, 0)), mode="edge")
    details = []
    for _ in range(depth):
        ycc, *sides = _split(ycc)
        details.append([np.trunc(part / step) * step for part in sides])
    for sides in reversed(details):
        ycc = _joined(ycc, *sides)
    return cv2.cvtColor(np.ascontiguousarray(ycc[:height, :width]), cv2.COLOR_YCrCb2RGB)


def _split(planes: Planes) -> tuple[Planes, Planes, Planes, Planes]:
    """Splits planes with even sides into low-pass, vertical, horizontal and diagonal planes of half the sides."""
    low, high = _lift(planes)
    (smooth, down), (across, both) = (
        tuple(part.swapaxes(0, 1) for part in _lift(half.swapaxes(0, 1))) for half in (low, high)
    )
    return smooth, down, across, both


def _joined(smooth: Planes, down: Planes, across: Planes, both: Planes) -> Planes:
    """The inverse of `_split`."""
    low, high = (
        _unlift(one.swapaxes(0, 1), other.swapaxes(0, 1)).swapaxes(0, 1)
        for one, other in ((smooth, down), (across, both))
    )
    return _unlift(low, high)


def _lift(rows: Planes) -> tuple[Planes, Planes]:
    even, odd = rows[0::2], rows[1::2]
    high = odd - (even + np.concatenate([even[1:], even[-1:]])) / 2
    return even + (np.concatenate([high[:1], high[:-1]]) + high) / 4, high


def _unlift(low: Planes, high: Planes) -> Planes:
    even = low - (np.concatenate([high[:1], high[:-1]]) + high) / 4
    rows = np.empty((2 * len(low), *low.shape[1:]), np.float32)
    rows[0::2], rows[1::2] = even, high + (even + np.concatenate([even[1:], even[-1:]])) / 2
    return rows
