"""The 25 kinds of distortion of KADID-10k and their parameters at five levels.

H. Lin, V. Hosu, D. Saupe, "KADID-10k: a large-scale artificially distorted IQA database", QoMEX 2019, section III, and
the authors' published generator (the MATLAB function imdist_generator of the KADIS-700k code). Lengths are in pixels
of their 512x384 images, values are 0..1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from liqe_jax.synthetic import blur, colour, compression, noise, quantization, spatial
from liqe_jax.synthetic.blur import Image
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION

LEVELS = (1, 2, 3, 4, 5)

Operator = Callable[[Image, float, np.random.Generator], Image]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of distortion: KADID-10k's number (1..25), names, meaning of the parameter and its values by level.

    `raw_label` is the name in LIQE's label files (zwx8981/LIQE, IQA_Database/kadid10k/splits2). `function` maps
    (image, parameter, generator) to an unclipped image.
    """

    number: int
    name: str
    raw_label: str
    parameter: str
    parameters: tuple[float, float, float, float, float]
    function: Operator

    @property
    def category(self) -> str:
        """Category in `taxonomy.DISTORTION`."""
        return CATEGORY_OF_RAW_DISTORTION[self.raw_label]

    def at(self, level: float) -> float:
        """The parameter at a level of 1 to 5, interpolated linearly."""
        return float(np.interp(level, LEVELS, self.parameters))

    def __str__(self) -> str:
        return self.name


_KINDS = (
    ("Gaussian blur", "gaussian blur", "sigma, pixels", (0.1, 0.5, 1, 2, 5), blur.gaussian_blur),
    ("lens blur", "lens", "radius, pixels", (1, 2, 4, 6, 8), blur.lens_blur),
    ("motion blur", "motion", "length, pixels", (1, 2, 4, 6, 10), blur.motion_blur),
    ("colour diffusion", "diffusion", "amount", (1, 3, 6, 8, 12), colour.colour_diffusion),
    ("colour shift", "shifting", "distance, pixels", (1, 3, 6, 8, 12), colour.colour_shift),
    ("colour quantization", "color quantization", "colours", (64, 48, 32, 16, 8), quantization.colour_quantization),
    ("desaturation, HSV", "oversaturation", "factor", (0.4, 0.2, 0.1, 0, -0.4), colour.saturation_hsv),
    ("saturation, CIELAB", "desaturation", "factor", (1, 2, 3, 6, 9), colour.saturation_lab),
    ("JPEG 2000", "jpeg2000 compression", "compression ratio", (16, 32, 45, 120, 400), compression.jpeg2000),
    ("JPEG", "jpeg compression", "quality", (43, 36, 24, 7, 4), compression.jpeg),
    ("white noise", "white noise", "variance", (0.001, 0.002, 0.003, 0.005, 0.01), noise.white_noise),
    ("white noise in YCbCr", "white with color", "variance", (1e-4, 5e-4, 0.001, 0.002, 0.003), noise.colour_noise),
    ("impulse noise", "impulse", "density", (0.001, 0.005, 0.01, 0.02, 0.03), noise.impulse_noise),
    ("multiplicative noise", "multiplicative", "variance", (0.001, 0.005, 0.01, 0.02, 0.05), noise.multiplicative),
    ("denoised", "white noise with denoise", "variance", (0.01, 0.03, 0.05, 0.1, 0.15), noise.denoised),
    ("brightened", "brighten", "amount", (0.1, 0.2, 0.4, 0.7, 1.1), colour.brighten),
    ("darkened", "darken", "amount", (0.05, 0.1, 0.2, 0.4, 0.8), colour.darken),
    ("mean shift", "shifting the mean", "amount", (0.15, 0.08, 0, -0.08, -0.15), colour.mean_shift),
    ("jitter", "jitter", "standard deviation, pixels", (0.05, 0.1, 0.2, 0.5, 1), spatial.jitter),
    ("misplaced patches", "noneccentricity patch", "patches", (20, 40, 60, 80, 100), spatial.patches),
    ("pixelated", "pixelate", "strength", (0.01, 0.05, 0.1, 0.2, 0.5), spatial.pixelate),
    ("quantization", "quantization", "thresholds", (20, 16, 13, 10, 7), quantization.quantization),
    ("colour blocks", "color blocking", "blocks", (2, 4, 6, 8, 10), spatial.colour_blocks),
    ("sharpened", "sharpness", "amount", (1, 2, 3, 6, 12), colour.high_sharpen),
    ("contrast change", "contrast", "amount", (0.3, 0.15, 0, -0.4, -0.6), colour.contrast),
)

KINDS = MappingProxyType({number: Kind(number, *facts) for number, facts in enumerate(_KINDS, 1)})
