"""A photograph with its per-crop quality as a translucent colour, and a scale beside it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from liqe_jax.scoring.result import QualityMap

# Red to blue by way of a pale yellow, light in the middle: readable with any colour vision
# (ColorBrewer's RdYlBu, five classes; Cynthia Brewer, Apache-2.0).
COLOURS = np.array([[215, 25, 28], [253, 174, 97], [255, 255, 191], [171, 217, 233], [44, 123, 182]], np.float64)

LOW, HIGH = 1.0, 5.0  # the range of the quality scale
OPACITY = 0.5
LONGEST_SIDE = 1600  # pixels of the picture, so that a map of a panorama stays a picture


def colours_of(quality: Float[np.ndarray, ...]) -> Float[np.ndarray, "... 3"]:
    """RGB in 0..255 of qualities from 1 (red) to 5 (blue)."""
    place = (np.clip(quality, LOW, HIGH) - LOW) / (HIGH - LOW) * (len(COLOURS) - 1)
    return np.stack([np.interp(place, np.arange(len(COLOURS)), channel) for channel in COLOURS.T], axis=-1)


def per_pixel(quality_map: QualityMap) -> Float[np.ndarray, "H W"]:
    """Every pixel's quality: the mean over the crops that cover it, weighted towards their centres.

    Pixels beyond the last crop take the value of the nearest covered one.
    """
    cells, (height, width) = quality_map.grid, quality_map.pixels.shape[:2]
    # The weight of a crop is a product of two tents, so rows and columns can be spread in turn.
    down = _tents(cells.rows, cells.stride, quality_map.crop_size, height)
    across = _tents(cells.cols, cells.stride, quality_map.crop_size, width)
    return down.T @ quality_map.quality @ across


def _tents(crops: int, stride: int, crop_size: int, length: int) -> Float[np.ndarray, "crops length"]:
    """Weights of crops along an axis, for each of its pixels; they sum to 1."""
    weights = np.zeros((crops, length))
    for crop in range(crops):
        ramp = np.arange(crop_size) + 1.0
        weights[crop, crop * stride : crop * stride + crop_size] = np.minimum(ramp, ramp[::-1])
    covered = (crops - 1) * stride + crop_size
    weights[:, covered:] = weights[:, covered - 1 : covered]
    return weights / weights.sum(0)


def overlay(quality_map: QualityMap, longest_side: int = LONGEST_SIDE) -> Image.Image:
    """The photograph with the heat map on top, no side longer than `longest_side`."""
    # The photograph is shown in grey, so that all colour in the picture means quality.
    grey = np.asarray(Image.fromarray(quality_map.pixels).convert("L"))[..., None]
    blended = (1 - OPACITY) * grey + OPACITY * colours_of(per_pixel(quality_map))
    photo = Image.fromarray(np.rint(blended).astype(np.uint8))
    photo.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return photo


def render(quality_map: QualityMap, title: str = "") -> Image.Image:
    """The picture: photograph, heat map on top, colour bar from 1 to 5 at the right, caption below."""
    photo = overlay(quality_map)
    size = int(np.clip(min(photo.size) / 24, 12, 32))
    font = ImageFont.load_default(size)
    bar, margin = size, size // 2
    quality = quality_map.quality
    caption = f"least {quality.min():.2f}, mean {quality.mean():.2f}, greatest {quality.max():.2f}"
    lines = [line for line in (title, f"quality per crop: {caption}") if line]

    canvas_width = photo.width + margin * 3 + bar + 2 * size
    canvas = Image.new("RGB", (canvas_width, photo.height + margin + int(1.4 * size) * len(lines)), "white")
    canvas.paste(photo, (0, 0))
    left = photo.width + margin
    column = np.rint(colours_of(np.linspace(HIGH, LOW, photo.height))).astype(np.uint8)
    canvas.paste(Image.fromarray(np.repeat(column[:, None], bar, axis=1)), (left, 0))
    draw = ImageDraw.Draw(canvas)
    for level in range(int(LOW), int(HIGH) + 1):
        y = round((HIGH - level) / (HIGH - LOW) * (photo.height - 1))
        draw.line((left, y, left + bar + margin // 2, y), fill="black")
        anchor = {HIGH: "la", LOW: "ld"}.get(level, "lm")
        draw.text((left + bar + margin, y), str(level), fill="black", font=font, anchor=anchor)
    for number, line in enumerate(lines):
        text = line if font.getlength(line) <= canvas_width - margin else _shortened(line, font, canvas_width - margin)
        draw.text((margin // 2, photo.height + margin // 2 + number * int(1.4 * size)), text, fill="black", font=font)
    return canvas


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    while len(text) > 1 and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
