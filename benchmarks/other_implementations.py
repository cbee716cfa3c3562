"""KADID-10k's distortions as other libraries implement them: FFmpeg, scikit-image, SciPy and Pillow.

None of these implementations is used in training. Each has one strength. It is chosen such that the image moves as far
from the original (root mean square, within a tenth) as under this package's implementation of the type at the level.
Some levels are out of reach: FFmpeg's strongest JPEG changes some photographs less than our levels 4 and 5, and colour
that fades to Pillow's grey changes less than HSV's saturation of levels 4 and 5. They need
`pip install 'liqe_jax[benchmarks]'`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np
import scipy.ndimage
import skimage.draw
import skimage.filters
import skimage.restoration
import skimage.transform
import skimage.util
from PIL import Image as Pictures
from PIL import ImageEnhance, ImageFilter

from liqe_jax.errors import ImageError
from liqe_jax.synthetic import distort
from liqe_jax.synthetic.blur import Image
from liqe_jax.synthetic.compression import to_bytes
from liqe_jax.synthetic.matching import Implementation, distance, match_strength

# In the error about a level that an implementation cannot reach, and in no other.
OUT_OF_REACH = "Out of reach"


def _pillow(image: Image, change) -> Image:
    return np.asarray(change(Pictures.fromarray(to_bytes(image))).convert("RGB")).astype(np.float32) / 255


def _gaussian(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return skimage.filters.gaussian(image, 0.05 + 9 * strength, channel_axis=-1, mode="nearest", truncate=3)


def _disc(image: Image, strength: float, rng: np.random.Generator) -> Image:
    radius = 0.3 + 10 * strength
    y, x = np.mgrid[-11:12, -11:12]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return scipy.ndimage.convolve(image, (kernel / kernel.sum())[..., None], mode="mirror")


def _motion(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """A straight stroke in any direction, drawn with smooth edges."""
    half = 1 + 14 * strength
    angle, size, fine = float(rng.uniform(0, np.pi)), 15, 5
    down, right = fine * half * np.sin(angle), fine * half * np.cos(angle)
    # Strokes end at whole pixels, so it is drawn on finer ones: lengths between would be out of reach.
    side = fine * (2 * size + 1)
    drawn = np.zeros((side, side))
    ends = [round(side // 2 + sign * step) for sign in (-1, 1) for step in (down, right)]
    rows, columns, values = skimage.draw.line_aa(*ends)
    drawn[rows, columns] = values
    kernel = drawn.reshape(2 * size + 1, fine, -1, fine).sum((1, 3))
    # Below the shortest stroke: a mixture with no stroke.
    share = min(1.0, 20 * strength)
    blurred = scipy.ndimage.convolve(image, (kernel / kernel.sum())[..., None], mode="mirror")
    return image + np.float32(share) * (blurred - image)


def _ffmpeg(image: Image, codec: str, form: str, quality: int, options: dict[str, str]) -> bytes:
    frame = av.VideoFrame.from_ndarray(to_bytes(image), "rgb24").reformat(format=form)
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = image.shape[1], image.shape[0], form
    encoder.time_base, encoder.options = Fraction(1, 25), options
    if quality:
        encoder.qmin = encoder.qmax = quality
        encoder.flags |= av.codec.context.Flags.qscale
        encoder.global_quality = quality * 118  # FF_QP2LAMBDA
    return b"".join(bytes(packet) for turn in (frame, None) for packet in encoder.encode(turn))


def _opened(file: bytes) -> Image:
    return np.asarray(Pictures.open(io.BytesIO(file)).convert("RGB")).astype(np.float32) / 255


def _jpeg2000(image: Image, strength: float, rng: np.random.Generator) -> Image:
    rate = 4 * 150.0**strength
    return _opened(_ffmpeg(image, "jpeg2000", "rgb24", 0, {"layer_rates": f"{rate:.0f}", "format": "j2k"}))


def _jpeg(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return _opened(_ffmpeg(image, "mjpeg", "yuvj444p", round(2 + 198 * strength), {}))


def _noise(mode: str, name: str, most: float) -> Implementation:
    def make(image: Image, strength: float, rng: np.random.Generator) -> Image:
        return skimage.util.random_noise(image, mode, rng=rng, **{name: most * strength + 1e-9})

    return make


def _tv_denoised(image: Image, strength: float, rng: np.random.Generator) -> Image:
    noisy = image + np.float32(strength) * rng.standard_normal(image.shape, np.float32)
    smooth = skimage.restoration.denoise_tv_chambolle(noisy, 1.5 * strength + 1e-3, channel_axis=-1, max_num_iter=20)
    return smooth.astype(np.float32)


def _brighter(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Shadows lifted, lights kept."""
    return 1 - (1 - image) ** np.float32(1 + 6 * strength)


def _darker(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Fading to black, shadows first."""
    return image * np.float32(1 - strength) + np.float32(strength) * image**4 * np.float32(0.5)


def _colour(most: float) -> Implementation:
    def make(image: Image, strength: float, rng: np.random.Generator) -> Image:
        # Pillow cuts values off to whole ones, which moves an image farther than a little colour does.
        share = min(1.0, 100 * strength)
        enhanced = _pillow(image, lambda picture: ImageEnhance.Color(picture).enhance(1 + most * strength))
        return image + np.float32(share) * (enhanced - image)

    return make


def _blocks(image: Image, strength: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    factor = 1 + 15 * strength
    small = (max(2, round(height / factor)), max(2, round(width / factor)))
    shrunk = skimage.transform.resize(image, small, order=1, anti_aliasing=True)
    return skimage.transform.resize(shrunk, (height, width), order=0).astype(np.float32)


def _posterised(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Steps of equal height, rounded down."""
    step = np.float32(0.02 + 0.5 * strength)
    return np.floor(image / step) * step + step / 2


def _sharpened(image: Image, strength: float, rng: np.random.Generator) -> Image:
    unsharp = ImageFilter.UnsharpMask(radius=2, percent=round(1500 * strength), threshold=0)
    return _pillow(image, lambda picture: picture.filter(unsharp))


# KADID-10k's number of the type -> another library's implementation of it.
OTHER_IMPLEMENTATIONS: Mapping[int, Implementation] = MappingProxyType(
    {
        1: _gaussian,
        2: _disc,
        3: _motion,
        7: _colour(-1.4),  # KADID-10k goes no farther beyond grey
        8: _colour(24.0),
        9: _jpeg2000,
        10: _jpeg,
        11: _noise("gaussian", "var", 0.1),
        13: _noise("s&p", "amount", 0.2),
        14: _noise("speckle", "var", 0.5),
        15: _tv_denoised,
        16: _brighter,
        17: _darker,
        21: _blocks,
        22: _posterised,
        24: _sharpened,
    }
)


def other_distort(image: Image, kind: int, level: float, seed: int) -> Image:
    """Another library's implementation of `distort(image, kind, level, seed)`, as far from the image within a tenth.

    Raises:
      ImageError: no strength of it is as far; `OUT_OF_REACH` is in the message.
    """
    wanted = distance(distort(image, kind, level, seed), image)
    match = match_strength(OTHER_IMPLEMENTATIONS[kind], image, wanted, seed)
    if not match.reached:
        raise ImageError(
            f"{OUT_OF_REACH}: type {kind} at level {level} moves the image by {wanted:.4f}, and the other "
            f"implementation comes no nearer than {distance(match.image, image):.4f}. Leave this picture out."
        )
    return match.image
