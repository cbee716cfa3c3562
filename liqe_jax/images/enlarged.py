"""Was a picture enlarged? Then as it was before.

`traces` says by what factors it may have been. Each is tried: the picture is brought back, enlarged again with each of
the usual kernels, and compared with what it is. Next to nothing remains for the right factor and kernel, since where an
original pixel was, interpolation leaves its value; for wrong ones all detail does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from liqe_jax.images.interpolation import Kernel, at, bicubic, bilinear, lanczos
from liqe_jax.images.traces import LEAST, possible_factors

# Pictures are not made smaller than KADID-10k's, 512x384: people's opinions are of such. Who enlarges a thumbnail has
# a blurred picture, and shall hear so.
LONG_SIDE = 512

# How often what remains is brought back too, and added: where the pixels are few, and for the bilinear kernel, whose
# tips lie between them. Elsewhere it would add no more than rounding.
REPEATS, FEW = 2, 3.0

# Pixels of the largest picture for which that is done. It takes some 40 bytes a pixel.
LARGEST_REPEATED = 12_000_000

# Pixels: side of a window where a factor is tried, and how many of 5x5 are, those with most detail.
WINDOW, WINDOWS = 192, 4

# What may remain, as a share of detail (`_remains`), at some factors and between. Photographs of training, damaged or
# not, have 0.02 to 0.3 at the factor and kernel by which they were enlarged. Those that were not enlarged have over
# 0.12 at 1.3, 0.28 at 2, 0.9 at 4, and ones enlarged by 1.5 over 0.45 at 3; all but blurred ones more than twice that.
REMAINS = {1.3: 0.1, 1.5: 0.22, 4.0: 0.6}


class Enlargement(NamedTuple):
    """What was done to a picture.

    Attributes:
      factor: from `LEAST` to `traces.MOST`, of both sides.
      kernel: of the interpolation.
    """

    factor: float
    kernel: Kernel


def enlargement(pixels: UInt8[np.ndarray, "H W 3"]) -> Enlargement | None:
    """How a picture was enlarged; None if it was not, or nothing shows it.

    `benchmarks/enlargement.py` counts how many are found. Of what was stored as JPEG afterwards few are.

    Args:
      pixels: RGB.
    """
    windows: list[tuple[int, int]] = []
    for factor in possible_factors(pixels):
        windows = windows or _busiest(pixels)
        allowed = np.interp(factor, list(REMAINS), list(REMAINS.values()))
        tried = [Enlargement(factor, kernel) for kernel in (lanczos(), bicubic(), bilinear())]
        # Most are wrong, and one channel of one window says so at a glance: every JPEG has some.
        glance = [_remains(pixels[..., 1:2], one, windows[:1], min(1, _repeats(one))) for one in tried]
        most = min(2 * allowed, 1.5 * min(glance))
        tried = [one for one, remains in zip(tried, glance, strict=True) if remains <= most]
        remains = [_remains(pixels, one, windows, _repeats(one)) for one in tried]
        if remains and min(remains) <= allowed:
            return tried[int(np.argmin(remains))]
    return None


def without_enlargement(
    pixels: UInt8[np.ndarray, "H W 3"], short_side: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture before somebody enlarged it; one that shows no trace of that is returned as it is.

    Args:
      pixels: RGB, of any size. The longer side of the result is `LONG_SIDE` or more.
      short_side: to which it will be shrunk in any case. Of a picture that was as large before, no more than that is
        seen, and it is returned as it is.
    """
    possible = max(pixels.shape[:2]) / LONG_SIDE
    found = enlargement(pixels) if possible >= LEAST else None
    if found is None:
        return pixels
    factor = min(found.factor, possible)
    if short_side is not None and min(pixels.shape[:2]) >= factor * short_side:
        return pixels
    back = _back(pixels.shape, factor)
    # A size between is nobody's original, with which enlarging again could be compared.
    once = possible < 0.995 * found.factor or pixels.shape[0] * pixels.shape[1] > LARGEST_REPEATED
    return back.before(pixels, 0 if once else _repeats(found), found.kernel)


class _Axis(NamedTuple):
    """Where the pixels of a part of an axis were, and where those before lie.

    Attributes:
      before: places of the pixels before, counted in pixels of the part.
      after: places of the part's pixels, counted in those before.
      start, stop: the part's ends, counted so too.
    """

    before: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " N"]
    start: float
    stop: float


def _axis(length: int, factor: float, first: int, last: int) -> _Axis:
    """Of the pixels from first to last of an axis of some length."""
    ratio = round(length / factor) / length
    some = np.arange(int(first * ratio), int(np.ceil(last * ratio)))
    before = (some + 0.5) / ratio - 0.5 - first
    after = (np.arange(first, last) + 0.5) * ratio - 0.5 - some[0]
    return _Axis(before, after, first * ratio - some[0], last * ratio - some[0])


class _Back(NamedTuple):
    """A part of an enlarged picture, and back."""

    rows: _Axis
    columns: _Axis

    def before(self, part: UInt8[np.ndarray, "H W C"], repeats: int, kernel: Kernel) -> UInt8[np.ndarray, "h w C"]:
        """The pixels that give this part when they are enlarged. Nothing is averaged: there is nothing finer."""
        found = at(part, self.rows.before, self.columns.before, bicubic())
        for _ in range(repeats):
            rest = part - at(found, self.rows.after, self.columns.after, kernel)
            found = found + at(rest, self.rows.before, self.columns.before, bicubic())
        return np.clip(np.rint(found), 0, 255).astype(np.uint8)

    def after(self, before: UInt8[np.ndarray, "h w C"], kernel: Kernel) -> UInt8[np.ndarray, "H W C"]:
        """The part, enlarged from what was before by Pillow, to the last bit."""
        box = self.columns.start, self.rows.start, self.columns.stop, self.rows.stop
        size = len(self.columns.after), len(self.rows.after)
        planes = (Image.fromarray(plane).resize(size, kernel.filter, box=box) for plane in np.moveaxis(before, 2, 0))
        return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _back(
    shape: tuple[int, ...],
    factor: float,
    top: int = 0,
    left: int = 0,
    height: int | None = None,
    width: int | None = None,
) -> _Back:
    """Of the part from (top, left) of a picture of some shape, of this height and width; all of it by default."""
    return _Back(
        _axis(shape[0], factor, top, top + (height or shape[0])),
        _axis(shape[1], factor, left, left + (width or shape[1])),
    )


def _repeats(of: Enlargement) -> int:
    return REPEATS if of.factor < FEW or of.kernel.reach == 1 else 0


def _busiest(pixels: UInt8[np.ndarray, "H W 3"]) -> list[tuple[int, int]]:
    """(top, left) of the windows with most detail."""
    height, width = pixels.shape[:2]
    corners = [
        (int(top), int(left))
        for top in np.linspace(0, height - WINDOW, min(5, max(2, height // WINDOW)))
        for left in np.linspace(0, width - WINDOW, min(5, max(2, width // WINDOW)))
    ]

    def detail(corner: tuple[int, int]) -> float:
        green = _window(pixels, corner)[..., 1].astype(np.float32)
        return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())

    return sorted(corners, key=detail, reverse=True)[:WINDOWS]


def _window(pixels: UInt8[np.ndarray, "H W C"], corner: tuple[int, int]) -> UInt8[np.ndarray, "S S C"]:
    top, left = corner
    return pixels[top : top + WINDOW, left : left + WINDOW]


def _remains(
    pixels: UInt8[np.ndarray, "H W C"], tried: Enlargement, windows: list[tuple[int, int]], repeats: int
) -> float:
    """What differs after bringing back and enlarging again.

    Returns:
      The mean of |difference| over the mean of |difference from the 3x3 mean|, which is raised by 0.2 levels, the
      order of what rounding leaves in blurred pictures.
    """
    shares = []
    border = int(4 * tried.factor)  # where pixels outside the window would count
    for corner in windows:
        window = _window(pixels, corner)
        back = _back(pixels.shape, tried.factor, *corner, WINDOW, WINDOW)
        again = back.after(back.before(window, repeats, tried.kernel), tried.kernel)
        there = window.astype(np.float32)
        mean = sum(there[1 + y : WINDOW - 1 + y, 1 + x : WINDOW - 1 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
        detail = np.abs(there[1:-1, 1:-1] - mean)[border:-border, border:-border].mean() + 0.2
        shares.append(np.abs(again - there)[border:-border, border:-border].mean() / detail)
    return float(np.mean(shares))
