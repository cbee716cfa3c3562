"""What the vision tower sees of a square: its pixels, as in CLIP, or a fixed account of its frequencies.

Damage to a photograph changes how much of every frequency there is: blur removes the high ones, noise adds
them, compression rounds them to zero. A tower that starts from nothing and has an hour and a few hundred
photographs does not find that in raw pixels; given the logarithms of DCT coefficients it does
(docs/liqe_nano.md). CLIP's pretrained towers take pixels.

Letters: B images, H side of an image in pixels, L squares, n blocks along a side, F numbers per square.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from liqe_jax.model.layers import AnyArray

BLOCK = 8  # pixels; that of JPEG, whose traces are then clearest

# One grey level of 256: coefficients below are rounding noise.
_LEVEL = 1 / 255

# ITU-R BT.601, as JPEG has it: rows Y, Cb, Cr of R, G, B.
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def stem_scales(patch_size: int) -> int:
    """Halvings of the image at which a square of this size still holds whole blocks."""
    return (patch_size // BLOCK).bit_length()


def stem_features(patch_size: int) -> int:
    """F of `frequency_features`."""
    per_block = BLOCK * BLOCK * 3
    return per_block * (2 * stem_scales(patch_size)) + 4 * 3


def dct_matrix() -> Float[np.ndarray, "64 64"]:
    """The orthonormal two-dimensional DCT-II of a flattened 8x8 block, as a product."""
    k, x = np.mgrid[:BLOCK, :BLOCK]
    one = np.cos((2 * x + 1) * k * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    one[0] /= np.sqrt(2)
    return np.kron(one, one).T.astype(np.float32)


def frequency_features(pixels: Num[AnyArray, "B H H 3"], patch_size: int) -> Float[Array, "B L F"]:
    """Statistics of every square, around 0 and of the order of 1.

    For the image and its halvings down to one block a square: the mean over the square's blocks of
    log(1 + |c| / level) of each of the 3 x 64 coefficients c, and, but for the last, their standard
    deviation; of the last, the coefficients with their sign; and how many pixels are black, white, or the
    same as their neighbour to the right and below.

    Args:
      pixels: RGB, 0..255.
      patch_size: side of a square, 8 times a power of two.
    """
    rgb = jnp.asarray(pixels, jnp.float32) / 255
    side = rgb.shape[1] // patch_size
    image = rgb @ jnp.asarray(_YCBCR, jnp.float32).T
    dct = jnp.asarray(dct_matrix())
    features = []
    for scale in range(stem_scales(patch_size)):
        if scale:
            half = image.shape[1] // 2
            image = image.reshape(-1, half, 2, half, 2, 3).mean((2, 4))
        blocks = patch_size >> scale
        n = blocks // BLOCK
        # [B, row of squares, block, pixel, column of squares, block, pixel, channel]
        parts = image.reshape(-1, side, n, BLOCK, side, n, BLOCK, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
        coefficients = parts.reshape(-1, side * side, n * n, 3, BLOCK * BLOCK) @ dct
        log = jnp.log1p(jnp.abs(coefficients) / _LEVEL)
        mean = log.mean(2, keepdims=True)
        features.append(mean - 1.5)
        if n > 1:
            features.append(2 * jnp.sqrt(jnp.square(log - mean).mean(2) + 1e-4) - 1)
        else:
            features.append((jnp.sign(coefficients) * log / 2)[:, :, 0])
    features.append(_pixel_counts(rgb, patch_size))
    return jnp.concatenate([part.reshape(*part.shape[:2], -1) for part in features], axis=-1)


def _pixel_counts(rgb: Float[Array, "B H H 3"], patch_size: int) -> Float[Array, "B L 12"]:
    """Shares of black, white and repeated values per square and channel; smooth, so that they have gradients."""
    levels = rgb * 255
    right = jnp.diff(levels, axis=2, append=levels[:, :, -2:-1])
    below = jnp.diff(levels, axis=1, append=levels[:, -2:-1])
    near_zero = jnp.exp(-jnp.square(jnp.concatenate([levels, 255 - levels, right, below], axis=-1)))
    side = rgb.shape[1] // patch_size
    shares = near_zero.reshape(-1, side, patch_size, side, patch_size, 12).mean((2, 4))
    return 2 * jnp.sqrt(shares.reshape(-1, side * side, 12) + 1e-4) - 1
