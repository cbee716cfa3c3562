"""What people think of a distortion, on the average: KADID-10k's scores by type and level."""

from __future__ import annotations

import numpy as np

from liqe_jax.errors import UsageError
from liqe_jax.synthetic.mos_table import MOS

LEVELS = (1, 2, 3, 4, 5)


def mean_mos(kind: int, level: float) -> tuple[float, float]:
    """Mean opinion score of a type at a level, and its spread.

    Args:
      kind: KADID-10k's number of the type, 1..25.
      level: 1 (weak) to 5 (strong); between whole levels both figures are interpolated.

    Returns:
      mean and standard deviation of the scores of KADID-10k's 81 images of that type and level, on a
      scale of 1 to 5, higher is better. Source: `mos_table`.

    Raises:
      UsageError: no such kind or level.
    """
    if kind not in range(1, len(MOS) + 1) or not LEVELS[0] <= level <= LEVELS[-1]:
        raise UsageError(f"Expected a kind from 1 to {len(MOS)} and a level from 1 to 5; got {kind}, {level}.")
    mean, sd = (np.interp(level, LEVELS, values) for values in zip(*MOS[kind - 1], strict=True))
    return float(mean), float(sd)
