"""Mean MOS of a distortion: KADID-10k's by kind and level."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import UsageError
from liqe_jax.markup import read_asset
from liqe_jax.synthetic.kinds import KINDS, LEVELS


@functools.cache
def _table() -> Float[np.ndarray, "25 5 2"]:
    text = read_asset("kadid10k_mos.csv")
    return np.loadtxt(text.splitlines(), delimiter=",", usecols=(2, 3)).reshape(len(KINDS), len(LEVELS), 2)


def mean_mos(kind: int, level: float) -> tuple[float, float]:
    """Mean and standard deviation of the MOS of KADID-10k's 81 images of a kind (1..25) and level (1..5).

    MOS are 1 to 5, higher is better (`assets/kadid10k_mos.csv`), and interpolated between whole levels.

    Raises:
      UsageError: the kind or level is out of its range.
    """
    if kind not in KINDS or not LEVELS[0] <= level <= LEVELS[-1]:
        raise UsageError(f"Expected a kind from 1 to {len(KINDS)} and a level from 1 to 5; got {kind}, {level}.")
    mean, sd = (np.interp(level, LEVELS, values) for values in _table()[kind - 1].T)
    return float(mean), float(sd)
