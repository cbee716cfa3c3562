"""Kinds 9 and 10: JPEG 2000 and JPEG."""

from __future__ import annotations

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pictures

from liqe_jax.synthetic.blur import Image


def to_bytes(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """Rounded to eight bits."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def jpeg2000(image: Image, ratio: float, rng: np.random.Generator) -> Image:
    """JPEG 2000 (lossy 9/7 wavelet) to 1 / `ratio` of three bytes a pixel, by OpenJPEG's rate control."""
    file = io.BytesIO()
    settings = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True}
    Pictures.fromarray(to_bytes(image)).save(file, format="JPEG2000", no_jp2=True, **settings)
    return np.asarray(Pictures.open(file).convert("RGB")).astype(np.float32) / 255


def jpeg(image: Image, quality: float, rng: np.random.Generator) -> Image:
    """JPEG of the given quality (libjpeg's 1..100, rounded), chroma at half resolution."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
    _, file = cv2.imencode(".jpg", cv2.cvtColor(to_bytes(image), cv2.COLOR_RGB2BGR), settings)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32) / 255
