"""Mild changes that keep the label: tones and colours of another camera or light, re-encoding as of files on the web.

They are augmentation for models that train on a few hundred photographs, and much weaker than the distortions that have
a name. KADID-10k's observers took 0.27 of a grade off for its mildest JPEG, of quality 43: in proportion, quality 80
costs 0.1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image as Pictures

from liqe_jax.synthetic.compression import Pixels, encoded_by_pillow

TURNED = 0.25  # share of photographs that is turned by a quarter

# Standard deviations: logarithm of the exponent of tones, and what each channel adds; strength of a curve that raises
# contrast or lowers it; turn of hues, radians; logarithm of the saturation's factor.
TONE, CAST, CONTRAST, HUE, SATURATION = 0.13, 0.04, 0.1, 0.1, 0.15

FARTHEST = 2.0  # standard deviations

_LUMA = np.asarray([0.299, 0.587, 0.114])

SHARE = 0.65  # of pictures that are re-encoded

# Lowest and highest quality; of a picture that is encoded twice, both times.
JPEG, TWICE, WEBP = (80, 98), (86, 98), (80, 97)
JPEG_GRID = 8

# Standard deviation from and to, of 255 levels; that of KADID-10k's mildest noise is 8.
NOISE = (0.3, 1.2)


def other_tones(photo: Pictures.Image, rng: np.random.Generator) -> Pictures.Image:
    """An RGB photograph with slightly other tones and colours, and sometimes turned by a quarter."""
    if rng.random() < TURNED:
        photo = photo.transpose((Pictures.Transpose.ROTATE_90, Pictures.Transpose.ROTATE_270)[rng.integers(2)])
    tone, contrast, hue, saturation, *casts = np.clip(rng.standard_normal(7), -FARTHEST, FARTHEST).tolist()
    tables = [_tones(np.exp(TONE * tone + CAST * cast), CONTRAST * contrast) for cast in casts]
    colours = _colours(HUE * hue, float(np.exp(SATURATION * saturation)))
    rows = np.concatenate([colours, np.zeros((3, 1))], axis=1).ravel()
    # Colours last: they mix the channels and so fill the gaps that a table of 256 tones leaves.
    return photo.point(np.concatenate(tables).tolist()).convert("RGB", tuple(rows.tolist()))


def _tones(exponent: float, contrast: float) -> Float[np.ndarray, " T"]:
    """Table of one channel; black and white stay."""
    tones = np.linspace(0, 1, 256) ** exponent
    return np.rint(255 * (tones - contrast * np.sin(2 * np.pi * tones) / (2 * np.pi)))


def _colours(turn: float, factor: float) -> Float[np.ndarray, "3 3"]:
    """Hues turned and saturation multiplied, greys and lightness kept."""
    # Rotation about the axis of greys; it moves the lightness a little, which is put right afterwards.
    axis = np.ones((3, 3)) / 3
    cross = np.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * axis + np.sin(turn) * cross
    grey = np.ones((3, 1)) * _LUMA
    return grey + factor * (np.eye(3) - grey) @ turned


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
