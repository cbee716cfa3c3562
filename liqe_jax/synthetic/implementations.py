"""Other implementations of the distortions, so that a model does not overfit to one library.

Each has a strength, 0 to 1, at which the root mean square difference to the original is that of `distort` at a level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image as Pictures
from PIL import ImageFilter
from scipy.interpolate import PchipInterpolator

from liqe_jax.synthetic import other_codecs as codecs
from liqe_jax.synthetic.blur import Image
from liqe_jax.synthetic.compression import to_bytes
from liqe_jax.synthetic.distort import distort
from liqe_jax.synthetic.matching import Implementation, distance, match_strength

# KADID-10k's contrast change is the identity at amount -0.2, which is level 3.5.
_CONTRAST_UNCHANGED = 3.5


def _pillow(filtered: Callable[[Pictures.Image], Pictures.Image], image: Image) -> Image:
    return np.asarray(filtered(Pictures.fromarray(to_bytes(image)))).astype(np.float32) / 255


def _blurred(kind: Callable[[float], ImageFilter.Filter], least: float, slope: float) -> Implementation:
    """By a filter of Pillow's with a radius of least + slope * strength."""
    return lambda image, strength, rng: _pillow(lambda picture: picture.filter(kind(least + slope * strength)), image)


def _shrunk_and_back(slope: float, interpolation: int) -> Implementation:
    """Downscaled to a part of 1 + slope * strength, and upscaled."""

    def resize(image: Image, strength: float, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        factor = 1 + slope * strength
        small = (max(2, round(width / factor)), max(2, round(height / factor)))
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, (width, height), interpolation=interpolation)

    return resize


def _line_blur(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Linear motion in a random direction."""
    angle = rng.uniform(0, np.pi)
    way = np.linspace(-0.5, 0.5, 200)
    return _moved(image, (1 + 30 * strength) * np.stack([way * np.cos(angle), way * np.sin(angle)], axis=1))


def _shaken(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Camera shake: a random walk of direction and speed."""
    turns = np.cumsum(rng.normal(0, 0.12, 200)) + rng.uniform(0, 2 * np.pi)
    speed = np.exp(np.cumsum(rng.normal(0, 0.1, 200)))[:, None]
    way = np.cumsum(speed * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
    way -= way.mean(0)
    return _moved(image, (1 + 30 * strength) * way / np.ptp(way, axis=0).max())


def _moved(image: Image, way: Float[np.ndarray, "T 2"]) -> Image:
    """Averages over a path of offsets x, y during one exposure."""
    half = int(np.ceil(np.abs(way).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for x, y in way + half:
        left, top = int(x), int(y)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[top + dy, left + dx] += (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _gray_noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return image + np.float32(0.4 * strength) * rng.standard_normal((*image.shape[:2], 1), np.float32)


def _shot_noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Shot noise of a sensor: its variance is proportional to the intensity."""
    deviation = np.float32(0.5 * strength) * np.sqrt(np.float32(0.05) + image)
    return image + deviation * rng.standard_normal(image.shape, np.float32)


def _grain(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Noise after a camera's processing: smoothed."""
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, np.float32), (0, 0), 0.5 + 0.8 * rng.random())
    return image + np.float32(0.8 * strength) * grain / grain.std()


def _power(exponent: Callable[[float], float]) -> Implementation:
    """All values to a power that depends on the strength."""
    return lambda image, strength, rng: image ** np.float32(exponent(strength))


def _odds(slope: float) -> Implementation:
    """Changes mid-tones; black and white stay."""

    def change(image: Image, strength: float, rng: np.random.Generator) -> Image:
        factor = np.exp(np.float32(slope * strength))
        return factor * image / (1 + (factor - 1) * image)

    return change


def _stretched(centre: float | Callable[[Image], Any], slope: float) -> Implementation:
    """The difference to the centre, a value or a function of the image, times 1 + slope * strength."""

    def stretch(image: Image, strength: float, rng: np.random.Generator) -> Image:
        middle = centre(image) if callable(centre) else np.float32(centre)
        return middle + np.float32(1 + slope * strength) * (image - middle)

    return stretch


def _gray(image: Image) -> Image:
    return (image @ np.asarray([0.299, 0.587, 0.114], np.float32))[..., None]


def _posterised(image: Image, strength: float, rng: np.random.Generator) -> Image:
    levels = 2 + 62 * (1 - strength) ** 3
    return np.rint(image * np.float32(levels - 1)) / np.float32(levels - 1)


def _unsharp(image: Image, strength: float, rng: np.random.Generator) -> Image:
    radius = float(rng.uniform(1, 4))
    blurred = cv2.GaussianBlur(image, (0, 0), radius)
    return image + np.float32(14 * strength) * (image - blurred)


def _bled(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Chroma blur in YCrCb."""
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    side = 2 * round(2 + 40 * strength) + 1
    ycc[..., 1:] = cv2.blur(np.ascontiguousarray(ycc[..., 1:]), (side, side)) - np.float32(0.5)
    ycc[..., 1:] = ycc[..., 1:] * np.float32(1 + 10 * strength) + np.float32(0.5)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def _fringed(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Lateral chromatic aberration: red and blue are magnified differently around a random center."""
    height, width = image.shape[:2]
    x, y = rng.uniform(-0.5, 1.5) * width, rng.uniform(-0.5, 1.5) * height
    result = image.copy()
    for channel, sign in ((0, 1), (2, -1)):
        zoom = 1 + sign * 0.08 * strength
        move = np.array([[zoom, 0, x * (1 - zoom)], [0, zoom, y * (1 - zoom)]], np.float32)
        plane = np.ascontiguousarray(image[..., channel])
        result[..., channel] = cv2.warpAffine(plane, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return result


def _palette(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """A palette of few colours, chosen by an octree or by median cut."""
    colours = max(4, round(96 * (1 - strength) ** 2))
    method = (Pictures.Quantize.MEDIANCUT, Pictures.Quantize.FASTOCTREE)[rng.integers(2)]

    def fewer(picture: Pictures.Image) -> Pictures.Image:
        # Chosen in a small copy, which is ten times faster for median cut.
        chosen = picture.reduce(3).quantize(colours, method)
        return picture.quantize(palette=chosen, dither=Pictures.Dither.NONE).convert("RGB")

    return _pillow(fewer, image)


def _specks(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Impulse noise: black, white or random pixels in all channels at once."""
    hit = rng.random(image.shape[:2]) < 0.15 * strength
    extreme = rng.integers(0, 2, (*image.shape[:2], 1)).repeat(3, -1)
    values = extreme if rng.random() < 0.5 else rng.random(image.shape)
    return np.where(hit[..., None], values.astype(np.float32), image)


def _smeared(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Noise and edge-preserving smoothing, like a camera's."""
    noisy = image + np.float32(0.5 * strength) * rng.standard_normal(image.shape, np.float32)
    pixels = to_bytes(np.clip(noisy, 0, 1))
    if rng.random() < 0.5:
        side = 3 + 2 * round(2 * strength)
        smooth = cv2.medianBlur(pixels, side)
    else:
        smooth = cv2.bilateralFilter(pixels, 7, 20 + 300 * strength, 1 + 6 * strength)
    return smooth.astype(np.float32) / 255


def _guided(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Noise and a self-guided filter (He et al., "Guided Image Filtering", PAMI 2013)."""
    noisy = image + np.float32(0.5 * strength) * rng.standard_normal(image.shape, np.float32)
    side = (2 * round(1 + 7 * strength) + 1,) * 2
    mean = cv2.blur(noisy, side)
    variance = cv2.blur(noisy * noisy, side) - mean * mean
    share = variance / (variance + np.float32(0.3 * strength + 1e-6))
    return cv2.blur(share, side) * noisy + cv2.blur((1 - share) * mean, side)


def _crushed(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Crushed shadows: values below a threshold become black."""
    threshold = np.float32(0.95 * strength)
    return (image - threshold) / (1 - threshold)


def _curve_up(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """A random tone curve that never darkens, as drawn in an image editor."""
    places = np.linspace(0, 1, 6)
    heights = np.maximum.accumulate(places + (1 - places) * rng.random(6) * [rng.integers(2), 1, 1, 1, 1, 1])
    tones = np.linspace(0, 1, 1024)
    curve = np.maximum(PchipInterpolator(places, heights)(tones), tones).astype(np.float32)
    share = np.float32(strength)
    return (1 - share) * image + share * curve[np.rint(1023 * image).astype(np.int32)]


def _curve_down(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return 1 - _curve_up(1 - image, strength, rng)


def _laplace(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Sharpening by the Laplacian."""
    return image - np.float32(4 * strength) * cv2.Laplacian(image, -1)


def _offset_lightness(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Adds a constant to the lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 0] = lab[..., 0] + np.float32((30 if rng.random() < 0.5 else -30) * strength)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


_BOX_BLUR = _blurred(ImageFilter.BoxBlur, 0.1, 14)
_ENLARGED = _shrunk_and_back(11, cv2.INTER_CUBIC)  # the blur of a zoomed photograph

# KADID-10k's number of the kind -> other implementations.
IMPLEMENTATIONS: Mapping[int, tuple[Implementation, ...]] = MappingProxyType(
    {
        1: (_blurred(ImageFilter.GaussianBlur, 0.2, 12), _BOX_BLUR, _ENLARGED),
        2: (_BOX_BLUR, _ENLARGED),
        3: (_line_blur, _shaken),
        4: (_bled,),
        5: (_fringed,),
        6: (_palette,),
        7: (_stretched(_gray, -1.4),),
        8: (_stretched(_gray, 12),),
        9: (codecs.pillow_jpeg2000, codecs.opencv_jpeg2000, codecs.wavelet),
        10: (codecs.pillow_jpeg, codecs.own_tables_jpeg, codecs.webp),
        11: (_gray_noise, _shot_noise, _grain),
        12: (_shot_noise, _grain),
        13: (_specks,),
        14: (_shot_noise,),
        15: (_smeared, _guided),
        # The fourth is veiling glare, which adds light to the whole image: values move towards white.
        16: (_power(lambda s: 1 / (1 + 5 * s)), _stretched(0, 3), _odds(5), _stretched(1, -0.95), _curve_up),
        17: (_power(lambda s: 1 + 5 * s), _stretched(0, -0.98), _odds(-5), _crushed, _curve_down),
        18: (_offset_lightness,),
        21: (_shrunk_and_back(23, cv2.INTER_NEAREST),),
        22: (_posterised,),
        24: (_unsharp, _laplace),
    }
)


def distort_otherwise(image: Image, kind: int, level: float, seed: int) -> Image:
    """Like `distort`, by another implementation whose distance to the image is the same within a tenth.

    Returns the result of `distort` if there is no other implementation, or if the chosen one does not reach that
    distance; the MOS of the level would be wrong for its result. The seed chooses the implementation and its noise.
    """
    ours = distort(image, kind, level, seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, kind, 1]))
    choices = IMPLEMENTATIONS.get(kind, ())
    if kind == 25:
        choices = (_stretched(np.mean, 5 if level < _CONTRAST_UNCHANGED else -0.97),)
    if not choices:
        return ours
    chosen = choices[rng.integers(len(choices))]
    match = match_strength(chosen, image, distance(ours, image), int(rng.integers(2**31)))
    return match.image if match.reached else ours
