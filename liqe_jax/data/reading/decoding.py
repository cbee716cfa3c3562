"""Decodes images and cuts crops with Pillow, like the reference: bit for bit equal.

TensorFlow's decoders are not faster (`benchmarks/pipeline.py`), differ for grey, palette and CMYK images, and
do not report the file that failed. Letters: P crops of an image.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.images.grid import CROP_SIZE, cut, grid
from liqe_jax.images.preprocess import enlarge_to_crop, resize_short_side


def pixels_of(encoded: bytes, image_size: int = CROP_SIZE) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an image, and resizes large and tiny images like the scorer.

    Raises:
      ImageError: the bytes are not an image, or truncated.
    """
    return enlarge_to_crop(resize_short_side(decode(encoded, DecodeOptions()).pixels), image_size)


def random_crops(
    encoded: bytes, where: Float[np.ndarray, " P"], flip: bool, image_size: int = CROP_SIZE
) -> UInt8[np.ndarray, "P S S 3"]:
    """Cuts crops of the reference's grid, each chosen by a number in [0, 1); the image is mirrored first.

    Raises:
      ImageError: the bytes are not an image, or truncated.
    """
    pixels = pixels_of(encoded, image_size)
    height, width = pixels.shape[:2]
    cells = grid(height, width, crop_size=image_size)
    corners = cells.corners(np.minimum((where * len(cells)).astype(np.int64), len(cells) - 1))
    return cut(pixels[:, ::-1] if flip else pixels, corners, image_size)
