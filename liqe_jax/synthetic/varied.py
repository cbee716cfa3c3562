"""Varied copies of a photograph: distortions as they occur, for training a model that meets real files.

A varied copy shows one of KADID-10k's distortions, or none, by our implementation or another library's, between two
levels, of a photograph with slightly other tones and of another size, and is mostly re-encoded as files on the web are.
The photograph itself comes with its copies, so that a model sees what a good photograph is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from liqe_jax.synthetic.augment import other_tones, reencoded
from liqe_jax.synthetic.distort import distort
from liqe_jax.synthetic.implementations import distort_otherwise
from liqe_jax.synthetic.kinds import KINDS, LEVELS

# What KADID-10k's observers gave to images that a type leaves as they are (18 at level 3, 1 at level 1).
PRISTINE_MOS = 4.61

# Shares of copies without a distortion, of those by another implementation, of those between two levels, and of
# photographs with other tones or another longest side than 512 pixels.
PRISTINE, OTHERS, BETWEEN, TONES, SIZES = 0.2, 0.4, 0.3, 0.5, 0.4
LONGEST_SIDE, SMALLEST_SIDE, LARGEST_SIDE = 512, 420, 700


class Copy(NamedTuple):
    """What a copy shows: the number of the type, 0 for none, and the level from 1 (weak) to 5 (strong), 0 for none.

    `varied` is False for the photograph itself, which is shrunk and nothing else.
    """

    kind: int
    level: float
    varied: bool = True


def copies_of(count: int, seed: np.random.SeedSequence) -> list[Copy]:
    """`count` varied copies of one photograph, then the photograph itself.

    Types and levels are taken in turn, so that a hundred photographs have all alike.
    """
    rng = np.random.default_rng(seed)
    cells = [(kind, level) for kind in KINDS for level in LEVELS]
    order = rng.permutation(len(cells))
    chosen = []
    for number in range(count):
        kind, level = cells[order[number % len(cells)]]
        if rng.random() < PRISTINE:
            chosen.append(Copy(0, 0.0))
            continue
        shift = rng.uniform(-0.5, 0.5) if rng.random() < BETWEEN else 0.0
        chosen.append(Copy(kind, float(np.clip(level + shift, LEVELS[0], LEVELS[-1]))))
    return [*chosen, Copy(0, 0.0, varied=False)]


def make_copy(photo: Image.Image, copy: Copy, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of an RGB photograph of any size; the generator decides on everything that `copy` does not state."""
    if not copy.varied:
        return np.asarray(_shrunk(photo, LONGEST_SIDE))
    side = LONGEST_SIDE
    if rng.random() < SIZES:
        side = round(float(np.exp(rng.uniform(np.log(SMALLEST_SIDE), np.log(LARGEST_SIDE)))))
    if rng.random() < TONES:
        photo = other_tones(photo, rng)
    pixels = np.asarray(_shrunk(photo, side))
    if copy.kind:
        make = distort_otherwise if rng.random() < OTHERS else distort
        changed = make(pixels.astype(np.float32) / 255, copy.kind, copy.level, int(rng.integers(2**31)))
        pixels = np.rint(changed * 255).astype(np.uint8)
    return reencoded(pixels, rng)


def _shrunk(photo: Image.Image, side: int) -> Image.Image:
    """A photograph whose longest side is `side` pixels at most."""
    factor = side / max(photo.size)
    if factor >= 1:
        return photo
    return photo.resize([max(64, round(length * factor)) for length in photo.size], Image.Resampling.LANCZOS)
