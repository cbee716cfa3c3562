"""Mild changes of tone and colour, as another camera or another light would give.

They are augmentation for models that train on a few hundred photographs. They are much weaker than the distortions
that have a name, so the label stays.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image as Pictures

TURNED = 0.25  # share of photographs that is turned by a quarter

# Standard deviations: logarithm of the exponent of tones, and what each channel adds; strength of a curve that raises
# contrast or lowers it; turn of hues, radians; logarithm of the saturation's factor.
TONE, CAST, CONTRAST, HUE, SATURATION = 0.13, 0.04, 0.1, 0.1, 0.15

FARTHEST = 2.0  # standard deviations

_LUMA = np.asarray([0.299, 0.587, 0.114])


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
