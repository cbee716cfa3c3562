"""What the vision tower sees of a square: its pixels, as in CLIP, or a fixed account of its frequencies.

Damage to a photograph changes how much of every frequency there is: blur removes the high ones, noise adds
them, compression rounds them to zero; or how often there is every tone. A tower that starts from nothing and
has an hour and a few hundred photographs does not find that in raw pixels; given the logarithms of DCT
coefficients and histograms it does (docs/liqe_nano.md). CLIP's pretrained towers take pixels.

The account has no parameters, so that training can have it from a file (`train/squares.py`).

Letters: B images, H side of an image in pixels, L squares, n blocks along a side, F numbers per square.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from liqe_jax.encoders.arrays import AnyArray
from liqe_jax.encoders.products import einsum, matmul

BLOCK = 8  # pixels; that of JPEG, whose traces are then clearest

# One grey level of 256: coefficients below are rounding noise.
_LEVEL = 1 / 255

# Means of a square are taken over this many cells along a side; histograms have these many bins.
CELLS, LUMA_BINS, CHROMA_BINS = 4, 16, 8

# ITU-R BT.601, as JPEG has it: rows Y, Cb, Cr of R, G, B.
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def stem_scales(patch_size: int) -> int:
    """Halvings of the image at which a square of this size still holds whole blocks."""
    return (patch_size // BLOCK).bit_length()


def stem_features(patch_size: int) -> int:
    """F of `frequency_features`."""
    per_block = BLOCK * BLOCK * 3
    return per_block * (2 * stem_scales(patch_size)) + CELLS * CELLS * 3 + LUMA_BINS + CHROMA_BINS + 4 * 3


def dct_matrix() -> Float[np.ndarray, "8 8"]:
    """The orthonormal DCT-II of eight values, frequencies by rows."""
    k, x = np.mgrid[:BLOCK, :BLOCK]
    one = np.cos((2 * x + 1) * k * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    one[0] /= np.sqrt(2)
    return one.astype(np.float32)


def block_dct(image: Float[Array, "B H W 3"]) -> Float[Array, "B H/8 8 W/8 8 3"]:
    """Every 8x8 block's coefficients where its pixels were: [B, block, vertical, block, horizontal, channel].

    Two plain products and no transposition, which would cost several times as much.
    """
    batch, height, width, channels = image.shape
    dct = dct_matrix()
    rows = image.reshape(batch, height // BLOCK, BLOCK, width * channels)
    down = einsum("ux,bnxw->bnuw", jnp.asarray(dct), rows)
    across = jnp.asarray(np.kron(dct, np.eye(channels, dtype=np.float32)).T)
    both = matmul(down.reshape(-1, BLOCK * channels), across)
    return both.reshape(batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels)


def frequency_features(pixels: Num[AnyArray, "B H H 3"], patch_size: int) -> Float[Array, "B L F"]:
    """Statistics of every square, around 0 and of the order of 1.

    For the image and its halvings down to one block a square: the mean over the square's blocks of
    log(1 + |c| / level) of each of the 3 x 64 coefficients c, and, but for the last, their standard
    deviation; of the last, the coefficients with their sign. Then tones: means of R, G and B over cells,
    histograms of luma and of chroma (the largest of R, G and B less the smallest); and how many pixels are
    black, white, or the same as their neighbour to the right and below.

    Args:
      pixels: RGB, 0..255.
      patch_size: side of a square, 8 times a power of two.
    """
    if pixels.shape[0] == 1:
        # XLA's compiler for CPUs (jaxlib 0.10.2) crashes on this account of a single image.
        return frequency_features(jnp.concatenate([pixels, pixels]), patch_size)[:1]
    rgb = jnp.asarray(pixels, jnp.float32) / 255
    side = rgb.shape[1] // patch_size
    ycc = image = matmul(rgb, jnp.asarray(_YCBCR, jnp.float32).T)
    features = []
    for scale in range(stem_scales(patch_size)):
        if scale:
            half = image.shape[1] // 2
            image = image.reshape(-1, half, 2, half, 2, 3).mean((2, 4))
        n = (patch_size >> scale) // BLOCK
        # [B, row of squares, block, vertical, column of squares, block, horizontal, channel]
        coefficients = block_dct(image).reshape(-1, side, n, BLOCK, side, n, BLOCK, 3)
        log = jnp.log(1 + jnp.abs(coefficients) / _LEVEL)
        mean = _over_blocks(log)
        features.append(_by_square(mean - 1.5))
        if n > 1:
            spread = jnp.maximum(_over_blocks(jnp.square(log)) - jnp.square(mean), 0)
            features.append(_by_square(2 * jnp.sqrt(spread + 1e-4) - 1))
        else:
            features.append(_by_square((jnp.sign(coefficients) * log / 2)[:, :, 0, :, :, 0]))
    features.append(_cell_means(rgb, patch_size))
    features.append(_histogram(ycc[..., 0], patch_size, LUMA_BINS))
    features.append(_histogram(rgb.max(-1) - rgb.min(-1), patch_size, CHROMA_BINS))
    features.append(_pixel_counts(rgb, patch_size))
    return jnp.concatenate(features, axis=-1)


def mirrored(features: Num[np.ndarray, "... L F"], patch_size: int) -> Num[np.ndarray, "... L F"]:
    """Features of the image mirrored left to right, from those of the image.

    Exact but for one column of `_pixel_counts`: a pixel's neighbour is then the one on its other side.
    """
    side = round(features.shape[-2] ** 0.5)
    order, sign = _mirror(patch_size)
    squares = np.arange(side * side).reshape(side, side)[:, ::-1].ravel()
    return features[..., squares, :][..., order] * sign.astype(features.dtype)


def _mirror(patch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in F a mirrored feature comes from, and the sign that it gets."""
    count, per_block = stem_features(patch_size), 3 * BLOCK * BLOCK
    order, sign = np.arange(count), np.ones(count)
    # The signed coefficients of the last scale: odd horizontal frequencies are odd functions.
    end = 2 * stem_scales(patch_size) * per_block
    sign[end - per_block : end] = np.where(np.arange(per_block) % BLOCK % 2, -1, 1)
    cells = order[end : end + CELLS * CELLS * 3].reshape(CELLS, CELLS, 3)
    order[end : end + CELLS * CELLS * 3] = cells[:, ::-1].ravel()
    return order, sign


def _cell_means(rgb: Float[Array, "B H H 3"], patch_size: int) -> Float[Array, "B L C"]:
    """Means over CELLS x CELLS cells of a square, rows first, channels last."""
    batch, height, width, _ = rgb.shape
    side, cell = height // patch_size, patch_size // CELLS
    rows = rgb.reshape(batch, side * CELLS, cell, width * 3).mean(2)
    cells = rows.reshape(batch, side, CELLS, side, CELLS, cell, 3).mean(5)
    return 4 * cells.swapaxes(2, 3).reshape(batch, side * side, CELLS * CELLS * 3) - 2


def _histogram(values: Float[Array, "B H H"], patch_size: int, bins: int) -> Float[Array, "B L bins"]:
    """How many of a square's values in 0..1 are near each of `bins` of them; smooth, for gradients."""
    batch, side = values.shape[0], values.shape[1] // patch_size
    grid = values.reshape(batch, side, patch_size, side, patch_size)
    near = jnp.maximum(1 - jnp.abs(grid[..., None] * (bins - 1) - jnp.arange(bins)), 0)
    shares = near.mean(2).mean(3).reshape(batch, side * side, bins)
    return 2 * jnp.sqrt(shares + 1e-4) - 0.5


def _over_blocks(values: Float[Array, "B n b 8 n b 8 3"]) -> Float[Array, "B n 8 n 8 3"]:
    """The mean over a square's blocks: rows first, since whole rows of numbers are summed quickest."""
    shape = values.shape
    rows = values.reshape(*shape[:4], -1).mean(2)
    return rows.reshape(*shape[:2], *shape[3:]).mean(4)


def _by_square(statistic: Float[Array, "B n 8 n 8 3"]) -> Float[Array, "B L 192"]:
    """Channels first, then vertical and horizontal frequency."""
    batch, side = statistic.shape[:2]
    return statistic.transpose(0, 1, 3, 5, 2, 4).reshape(batch, side * side, 3 * BLOCK * BLOCK)


def _pixel_counts(rgb: Float[Array, "B H H 3"], patch_size: int) -> Float[Array, "B L 12"]:
    """Shares of black, white and repeated values per square and channel; smooth, so that they have gradients."""
    batch, height, width, _ = rgb.shape
    levels = (rgb * 255).reshape(batch, height, width * 3)  # rows of numbers are summed quickest
    right = jnp.concatenate([levels[:, :, 3:] - levels[:, :, :-3], levels[:, :, -3:] - levels[:, :, -6:-3]], 2)
    below = jnp.concatenate([levels[:, 1:] - levels[:, :-1], levels[:, -1:] - levels[:, -2:-1]], 1)
    side = height // patch_size
    shares = []
    for from_zero in (levels, 255 - levels, right, below):
        near = jnp.maximum(1 - jnp.square(from_zero), 0)
        rows = near.reshape(batch, side, patch_size, width * 3).mean(2)
        shares.append(rows.reshape(batch, side * side, patch_size, 3).mean(2))
    return 2 * jnp.sqrt(jnp.concatenate(shares, -1) + 1e-4) - 1
