"""Squares of a patch that a training step leaves out.

A tower that sees another half of a crop at every step cannot learn crops by heart, and its step costs less (Li et
al., "Scaling Language-Image Pre-training via Masking", CVPR 2023; open_clip's `force_patch_dropout`).

Letters: N images of a host's share, P patches of an image, k squares kept of L.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

_STREAM = 0x5155  # tells these random numbers from those of the crops


def kept_squares(
    seed: int, step: int, *, images: int, mine: slice, patches: int, squares: int, dropout: float
) -> Int[np.ndarray, "N P k"]:
    """Which squares a step keeps, in rising order; they depend on the seed, the step and the image's place alone.

    Args:
      seed, step: of the run.
      images: of the whole step.
      mine: this host's share of them.
      patches: P.
      squares: L.
      dropout: share that is left out, 0 to 1; one square stays at least.
    """
    kept = max(1, round(squares * (1 - dropout)))
    rng = np.random.default_rng(np.random.SeedSequence([seed, step, _STREAM]))
    order = rng.random((images, patches, squares)).argsort(-1)[mine, :, :kept]
    return np.sort(order, -1).astype(np.int32)
