"""From encoded bytes to patches, with Pillow, which the reference decoded with: equal bit for bit.

TensorFlow's decoders are no quicker (`benchmarks/pipeline.py`), differ for greys, palettes and CMYK, and
fail without saying which file it was. Letters: P patches of an image.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.images.grid import PATCH, cut, grid
from liqe_jax.images.preprocess import enlarge_to_patch, resize_short_side


def pixels_of(encoded: bytes, patch: int = PATCH) -> UInt8[np.ndarray, "H W 3"]:
    """Decoded and, if it is large or tiny, resized as the scorer does.

    Raises:
      ImageError: the bytes are no image, or cut.
    """
    return enlarge_to_patch(resize_short_side(decode(encoded, DecodeOptions()).pixels), patch)


def random_patches(
    encoded: bytes, where: Float[np.ndarray, " P"], flip: bool, patch: int = PATCH
) -> UInt8[np.ndarray, "P S S 3"]:
    """Patches of the reference's grid, each chosen by a number in [0, 1); the image is mirrored first.

    Raises:
      ImageError: the bytes are no image, or cut.
    """
    pixels = pixels_of(encoded, patch)
    height, width = pixels.shape[:2]
    cells = grid(height, width, patch=patch)
    corners = cells.corners(np.minimum((where * len(cells)).astype(np.int64), len(cells) - 1))
    return cut(pixels[:, ::-1] if flip else pixels, corners, patch)
