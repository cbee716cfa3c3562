"""Kinds 6 and 22: colour and tone quantization."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pictures

from liqe_jax.synthetic.blur import Image
from liqe_jax.synthetic.compression import to_bytes

# The palette is computed from about this many pixels.
PALETTE_PIXELS = 20_000
STEPS = 40


def colour_quantization(image: Image, colours: float, rng: np.random.Generator) -> Image:
    """Quantizes to `colours` (rounded) colours with Floyd-Steinberg dithering, like MATLAB's rgb2ind."""
    pixels = to_bytes(image)
    stride = max(1, int((pixels.shape[0] * pixels.shape[1] / PALETTE_PIXELS) ** 0.5))
    palette = Pictures.new("P", (1, 1))
    palette.putpalette(palette_of(pixels[::stride, ::stride].reshape(-1, 3), round(colours)).tobytes())
    indexed = Pictures.fromarray(pixels).quantize(palette=palette, dither=Pictures.Dither.FLOYDSTEINBERG)
    return np.asarray(indexed.convert("RGB")).astype(np.float32) / 255


def palette_of(pixels: UInt8[np.ndarray, "N 3"], number: int) -> UInt8[np.ndarray, "C 3"]:
    """At most `number` colours: splits, at each step, the box and channel where the squared error decreases most."""
    boxes = [pixels.astype(np.float64)]
    splits = [best_split(boxes[0])]
    while len(boxes) < number:
        worst = max(range(len(splits)), key=lambda box: splits[box][0])
        gain, channel, threshold = splits[worst]
        if gain <= 0:
            break
        box = boxes.pop(worst)
        below = box[:, channel] <= threshold
        boxes += [box[below], box[~below]]
        splits = [*splits[:worst], *splits[worst + 1 :], *map(best_split, boxes[-2:])]
    return np.rint([box.mean(0) for box in boxes]).astype(np.uint8)


def best_split(box: Float[np.ndarray, "N 3"]) -> tuple[float, int, float]:
    """The best split: decrease of the sum of squared differences, channel, highest value below; 0 if none."""
    best = (0.0, 0, 0.0)
    for channel in range(3):
        values = box[:, channel].astype(int)
        low = values.min()
        mass = np.bincount(values - low)
        moments = np.stack([np.bincount(values - low, box[:, other]) for other in range(3)])
        below, moment = mass.cumsum()[:-1], moments.cumsum(1)[:, :-1]
        if not below.size:
            continue
        above, rest = len(box) - below, box.sum(0)[:, None] - moment
        gains = ((moment**2).sum(0) / below + (rest**2).sum(0) / above) - (box.sum(0) ** 2).sum() / len(box)
        place = int(gains.argmax())
        if gains[place] > best[0]:
            best = (float(gains[place]), channel, float(place + low))
    return best


def quantization(image: Image, thresholds: float, rng: np.random.Generator) -> Image:
    """Maps values between two of `thresholds` (rounded) thresholds to the upper one, outer values to 0 and 1.

    The thresholds minimise the variance within classes, over all channels together.
    """
    pixels = to_bytes(image)
    counts = np.bincount(pixels.ravel(), minlength=256)
    edges = least_variance(counts, round(thresholds))
    tones = np.concatenate([[0], edges[1:], [1]])[np.searchsorted(edges, np.arange(256) / 255)]
    return tones.astype(np.float32)[pixels]


def least_variance(counts: Float[np.ndarray, " 256"], number: int) -> Float[np.ndarray, " N"]:
    """Thresholds in 0..1 between `number` + 1 classes of a histogram, by Lloyd's iterations from equal parts of it."""
    values = np.arange(256) / 255
    low, high = values[np.flatnonzero(counts)[[0, -1]]]
    centres = np.linspace(low, high, 2 * number + 3)[1::2]
    for _ in range(STEPS):
        classes = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        mass = np.bincount(classes, counts, number + 1)
        moment = np.bincount(classes, counts * values, number + 1)
        centres = np.divide(moment, mass, out=centres.copy(), where=mass > 0)
    return (centres[1:] + centres[:-1]) / 2
