"""Kinds 9 and 10: JPEG 2000 and JPEG."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pictures

from liqe_jax.synthetic.blur import Image

Pixels = UInt8[np.ndarray, "H W 3"]


def to_bytes(image: Image) -> Pixels:
    """Rounded to eight bits."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def by_pillow(image: Image, file_format: str, **settings: Any) -> Image:
    """Encoded and decoded by Pillow."""
    return encoded_by_pillow(to_bytes(image), file_format, **settings).astype(np.float32) / 255


def encoded_by_pillow(pixels: Pixels, file_format: str, **settings: Any) -> Pixels:
    """Encoded and decoded by Pillow, eight bits."""
    file = io.BytesIO()
    Pictures.fromarray(pixels).save(file, file_format, **settings)
    return np.asarray(Pictures.open(file).convert("RGB"))


def by_opencv(image: Image, suffix: str, settings: list[int]) -> Image:
    """Encoded and decoded by OpenCV."""
    _, file = cv2.imencode(suffix, cv2.cvtColor(to_bytes(image), cv2.COLOR_RGB2BGR), settings)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32) / 255


def jpeg2000(image: Image, ratio: float, rng: np.random.Generator) -> Image:
    """JPEG 2000 (lossy 9/7 wavelet) to 1 / `ratio` of three bytes a pixel, by OpenJPEG's rate control."""
    settings = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True}
    return by_pillow(image, "JPEG2000", no_jp2=True, **settings)


def jpeg(image: Image, quality: float, rng: np.random.Generator) -> Image:
    """JPEG of the given quality (libjpeg's 1..100, rounded), chroma at half resolution."""
    return by_opencv(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
