"""One make of a distortion as strong as another: both move an image as far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from liqe_jax.synthetic.blur import Image

# (image, strength, generator) -> image; not yet clipped, and the stronger the farther. Strengths are 0..1.
Variant = Callable[[Image, float, np.random.Generator], Image]

# The search ends when the distance is within this share of what was wanted, or after so many tries.
_CLOSE, _TRIES = 0.02, 8

_WEAKEST, _FIRST, _STRONGEST = 1e-4, 0.1, 1.0
_NOTHING = 1e-4  # added to distances: less than eight bits show
# Farther off than by a tenth, an image is another damage than the one whose opinion it would bear.
_FAR = math.log(1.1)


class Match(NamedTuple):
    """What came nearest to the distance that was wanted.

    Attributes:
      off: how far off it is, the absolute logarithm of its distance over that wanted.
    """

    image: Image
    off: float

    @property
    def reached(self) -> bool:
        """Whether it is within a tenth."""
        return self.off <= _FAR


class _Try(NamedTuple):
    strength: float
    excess: float  # logarithm of the distance over that wanted


def distance(one: Image, other: Image) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean(np.square(one - other))))


def matched(make: Variant, image: Image, wanted: float, seed: int) -> Match:
    """`make` at the strength that moves an image by a root mean square difference of `wanted`.

    Args:
      make: the stronger the farther.
      image: sRGB in 0..1.
      wanted: in the same unit; what the strongest does not reach gives the strongest, and what is nearer to nothing
        than to the weakest gives the image as it is.
      seed: of everything random in it, the same at all strengths.
    """
    # The image as it is competes: some levels change nothing, but even the weakest of some makes shows.
    best, least = image, abs(_excess(0.0, wanted))
    tries: list[_Try] = []
    while len(tries) < _TRIES and least > _CLOSE:
        strength = _next_strength(tries)
        result = np.clip(make(image, strength, np.random.default_rng(seed)), 0, 1)
        excess = _excess(distance(result, image), wanted)
        if abs(excess) < least:
            best, least = result, abs(excess)
        tries.append(_Try(strength, excess))
    return Match(best.astype(np.float32), least)


def _excess(reached: float, wanted: float) -> float:
    return math.log((reached + _NOTHING) / (wanted + _NOTHING))


def _next_strength(tries: list[_Try]) -> float:
    """Where the distance would be right if it grew with a power of the strength, or the middle of what is left."""
    if not tries:
        return _FIRST
    last, before = tries[-1], tries[-2] if len(tries) > 1 else None
    low = max([_WEAKEST, *(t.strength for t in tries if t.excess < 0)])
    high = min([_STRONGEST, *(t.strength for t in tries if t.excess >= 0)])
    power = 1.0
    if before is not None and last.strength != before.strength:
        power = (last.excess - before.excess) / math.log(last.strength / before.strength)
    if power > 0:
        guess = math.log(last.strength) - last.excess / power
        if math.log(low) < guess < math.log(high):
            return math.exp(guess)
        if guess >= math.log(high) and all(t.strength < high for t in tries):
            return high
    return math.sqrt(low * high)
