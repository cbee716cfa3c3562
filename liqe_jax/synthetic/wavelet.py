"""LeGall's 5/3 wavelet, the reversible one of JPEG 2000, for planes of even sides.

Letters: H, W an image's sides, C channels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Planes = Float[np.ndarray, "H W C"]


def split(planes: Planes) -> tuple[Planes, Planes, Planes, Planes]:
    """Splits planes with even sides into low-pass, vertical, horizontal and diagonal planes of half the sides."""
    low, high = _lift(planes)
    (smooth, down), (across, both) = (
        tuple(part.swapaxes(0, 1) for part in _lift(half.swapaxes(0, 1))) for half in (low, high)
    )
    return smooth, down, across, both


def joined(smooth: Planes, down: Planes, across: Planes, both: Planes) -> Planes:
    """The inverse of `split`."""
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
