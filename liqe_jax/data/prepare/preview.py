"""`liqe data preview`: a sheet of images of a data set with their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.taxonomy import DISTORTION, SCENE

COLUMNS = 5
THUMBNAIL = (256, 192)  # pixels
MARGIN = 10
FONT_SIZE = 13
LINE = 17
LINES = 4

BACKGROUND, INK, DIM = "#ffffff", "#111111", "#666666"


def write_sheet(prepared: LabelledSet, path: Path, count: int = 20) -> int:
    """Writes a PNG or JPEG with at most `count` images at evenly spaced ranks of MOS, worst first; returns how many.

    Raises:
      DataError: the file cannot be written.
    """
    order = np.argsort(prepared.mos, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).astype(int))]
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    width, height = THUMBNAIL[0] + MARGIN, THUMBNAIL[1] + LINES * LINE + 2 * MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * width, MARGIN + rows * height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for place, position in enumerate(chosen.tolist()):
        left, top = MARGIN + place % columns * width, MARGIN + place // columns * height
        (encoded,) = prepared.read([position])
        image = Image.fromarray(decode(encoded, DecodeOptions()).pixels)
        original = image.size
        image.thumbnail(THUMBNAIL)
        sheet.paste(image, (left + (THUMBNAIL[0] - image.width) // 2, top + THUMBNAIL[1] - image.height))
        top += THUMBNAIL[1] + MARGIN // 2
        for line, text in enumerate(_caption(prepared, position, original)):
            shown = _fitted(draw, text, font)
            draw.text((left, top + line * LINE), shown, fill=DIM if line else INK, font=font)
    try:
        sheet.save(path, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}. Choose another --output.") from error
    return len(chosen)


def _caption(prepared: LabelledSet, position: int, size: tuple[int, int]) -> list[str]:
    index = prepared.distortion[position]
    names = [prepared.raw_distortion[position], DISTORTION.labels[index] if index >= 0 else ""]
    mapped = " -> ".join(dict.fromkeys(filter(None, names)))
    scenes = [label for label, present in zip(SCENE.labels, prepared.scenes[position], strict=True) if present]
    return [
        f"MOS {prepared.mos[position]:.4g} of {prepared.mos_range[0]:g} to {prepared.mos_range[1]:g}",
        f"{prepared.names[position]}  {size[0]}x{size[1]}",
        mapped or "no distortion label",
        ", ".join(scenes) or "no scene label",
    ]


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shortens a text that is wider than an image to its end, where names differ."""
    shown = text
    while text and draw.textlength(shown, font) > THUMBNAIL[0]:
        text = text[1:]
        shown = "..." + text
    return shown
