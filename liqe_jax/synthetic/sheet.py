"""A sheet of all 25 distortions of a photograph at five levels."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from liqe_jax.errors import UsageError
from liqe_jax.synthetic.compression import to_bytes
from liqe_jax.synthetic.distort import distort
from liqe_jax.synthetic.kinds import KINDS, LEVELS, Kind
from liqe_jax.synthetic.mos import mean_mos

# Longest side of the photograph before distortion, pixels: that of KADID-10k.
SIDE = 512
MARGIN = 6
LINE = 16
FONT_SIZE = 13
CAPTION = 170  # pixels, beside a row

BACKGROUND, INK, DIM = "#ffffff", "#111111", "#666666"


def sheet(photograph: UInt8[np.ndarray, "H W 3"], *, cell: int = 256, seed: int = 0) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Draws a row for each kind, with parameters and mean MOS, and the photograph at the left.

    The sRGB photograph is downscaled to a longest side of 512 pixels, distorted, and shown at `cell` pixels (32 to
    512).

    Raises:
      UsageError: `cell` is out of its range.
      ImageError: the photograph is too small.
    """
    if not 32 <= cell <= SIDE:
        raise UsageError(f"Expected cells of 32 to {SIDE} pixels; got {cell}.")
    picture = Pictures.fromarray(photograph)
    picture.thumbnail((SIDE, SIDE), Pictures.Resampling.LANCZOS)
    pixels = np.asarray(picture).astype(np.float32) / 255
    small = picture.copy()
    small.thumbnail((cell, cell), Pictures.Resampling.LANCZOS)
    width, height = small.width + MARGIN, small.height + LINE + MARGIN
    page = Pictures.new("RGB", (CAPTION + (len(LEVELS) + 1) * width, MARGIN + len(KINDS) * height), BACKGROUND)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(FONT_SIZE)
    for row, kind in enumerate(KINDS.values()):
        top = MARGIN + row * height
        for line, text in enumerate((f"{kind.number} {kind}", kind.category, kind.parameter)):
            draw.text((MARGIN, top + line * LINE), text, fill=DIM if line else INK, font=font)
        for column, level in enumerate((0, *LEVELS)):
            shown = small
            if level:
                distorted = Pictures.fromarray(to_bytes(distort(pixels, kind.number, level, seed)))
                shown = distorted.resize(small.size, Pictures.Resampling.LANCZOS)
            left = CAPTION + column * width
            page.paste(shown, (left, top))
            draw.text((left, top + small.height), _caption(kind, level), fill=DIM, font=font)
    return np.asarray(page)


def _caption(kind: Kind, level: int) -> str:
    if not level:
        return "original"
    mean, sd = mean_mos(kind.number, level)
    return f"{level}: {kind.at(level):g}, MOS {mean:.2f} ({sd:.2f})"
