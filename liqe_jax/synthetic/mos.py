"""Mean MOS of a distortion: KADID-10k's by kind and level."""

from __future__ import annotations

import numpy as np

from liqe_jax.errors import UsageError
from liqe_jax.synthetic.mos_table import MOS

LEVELS = (1, 2, 3, 4, 5)


def mean_mos(kind: int, level: float) -> tuple[float, float]:
    """Mean and standard deviation of the MOS of a kind at a level.

    Args:
      kind: KADID-10k's number of the kind, 1..25.
      level: 1 (weak) to 5 (strong); interpolated between whole levels.

    Returns:
      Mean and standard deviation of the MOS of KADID-10k's 81 images of that kind and level, on a scale of
      1 to 5, higher is better. Source: `mos_table`.

    Raises:
      UsageError: the kind or level is out of its range.
    """
    if kind not in range(1, len(MOS) + 1) or not LEVELS[0] <= level <= LEVELS[-1]:
        raise UsageError(f"Expected a kind from 1 to {len(MOS)} and a level from 1 to 5; got {kind}, {level}.")
    mean, sd = (np.interp(level, LEVELS, values) for values in zip(*MOS[kind - 1], strict=True))
    return float(mean), float(sd)
