"""Matches the strengths of implementations of a distortion by their distance to the original."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from liqe_jax.synthetic.blur import Image

# (image, strength in 0..1, generator) -> unclipped image; the distance increases with the strength.
Implementation = Callable[[Image, float, np.random.Generator], Image]

# The search ends at this relative error of the distance, or after this number of tries.
_CLOSE, _TRIES = 0.02, 8

_WEAKEST, _FIRST, _STRONGEST = 1e-4, 0.1, 1.0
_NOTHING = 1e-4  # added to distances; less than eight bits can represent
# With a larger error than a tenth, the MOS of the level is wrong for the image.
_FAR = math.log(1.1)


class Match(NamedTuple):
    """The image whose distance is closest to the target, and the absolute logarithm of its distance over the target."""

    image: Image
    off: float

    @property
    def reached(self) -> bool:
        """Whether the distance is within a tenth of the target."""
        return self.off <= _FAR


def distance(one: Image, other: Image) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean(np.square(one - other))))


def match_strength(implementation: Implementation, image: Image, target: float, seed: int) -> Match:
    """Searches the strength at which the root mean square difference to the image, sRGB in 0..1, is `target`.

    If the highest strength does not reach it, the result has the highest strength. If it is closer to 0 than to the
    distance of the lowest strength, the result is the image itself. The seed is the same at all strengths.
    """
    # The unchanged image is a candidate, since some levels are the identity.
    best, least = image, abs(_excess(0.0, target))
    tries: list[tuple[float, float]] = []  # strength, and logarithm of the distance over the target
    while len(tries) < _TRIES and least > _CLOSE:
        strength = _next_strength(tries)
        result = np.clip(implementation(image, strength, np.random.default_rng(seed)), 0, 1)
        excess = _excess(distance(result, image), target)
        if abs(excess) < least:
            best, least = result, abs(excess)
        tries.append((strength, excess))
    return Match(best.astype(np.float32), least)


def _excess(reached: float, target: float) -> float:
    return math.log((reached + _NOTHING) / (target + _NOTHING))


def _next_strength(tries: list[tuple[float, float]]) -> float:
    """Extrapolates with a power law of the strength; falls back to the middle of the remaining interval."""
    if not tries:
        return _FIRST
    (before, excess_before), (last, excess) = tries[-2:] if len(tries) > 1 else tries * 2
    low = max([_WEAKEST, *(strength for strength, excess in tries if excess < 0)])
    high = min([_STRONGEST, *(strength for strength, excess in tries if excess >= 0)])
    power = (excess - excess_before) / math.log(last / before) if last != before else 1.0
    if power > 0:
        guess = math.log(last) - excess / power
        if math.log(low) < guess < math.log(high):
            return math.exp(guess)
        if guess >= math.log(high) and all(strength < high for strength, _ in tries):
            return high
    return math.sqrt(low * high)
