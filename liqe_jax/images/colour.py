"""From a Pillow image of any mode to RGB bytes, with a note of everything that is lost on the way."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from liqe_jax.errors import ImageError
from liqe_jax.messages import printable

# What undoes each EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_BITS_PER_SAMPLE = 258  # TIFF 6.0

# Rows that are copied or compared at a time, so that large images need no second copy.
_STRIP = 256


def to_rgb(
    image: Image.Image, apply_exif: bool, white_background: bool
) -> tuple[UInt8[np.ndarray, "H W 3"], list[str]]:
    """RGB pixels and notes, or Pillow's exception; the options are those of `DecodeOptions`."""
    notes = []
    image.load()  # turns TIFFs upright, after which there is nothing left to turn
    bits = _bits(image)
    if apply_exif:
        try:
            turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception as error:  # broken EXIF must not cost the image
            turn = None
            notes.append(f"unreadable EXIF orientation ignored: {printable(error)}")
        if turn is not None:
            image = image.transpose(turn)
    if image.mode == "La":  # Pillow goes nowhere else from there
        image = image.convert("LA")
    alpha = _alpha(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, note = _scale_deep_grey(image, bits)
        notes.append(note)
    elif image.mode == "CMYK":
        notes.append("CMYK converted without colour management")
    if "transparency" in image.info:  # Pillow would warn that it gets lost
        image = image.copy()
        del image.info["transparency"]
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None and white_background:
        notes.append("transparent pixels were put on white")
        on_white = Image.new("RGB", rgb.size, "white")
        on_white.paste(rgb, mask=alpha)
        rgb = on_white
    elif alpha is not None:
        notes.append("alpha channel dropped, as in the reference; 'even' puts transparent pixels on white")
    # np.asarray(rgb) would hold the pixels twice more while it works.
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top in range(0, rgb.height, _STRIP):
        bottom = min(top + _STRIP, rgb.height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, rgb.width, bottom)))
    strips = (pixels[top : top + _STRIP] for top in range(0, len(pixels), _STRIP))
    if all((strip[..., :1] == strip[..., 1:]).all() for strip in strips):
        notes.append("grey image: LIQE was trained on colour photographs and tends to score grey ones low")
    return pixels, notes


def _alpha(image: Image.Image) -> Image.Image | None:
    """The opacity of an image that is not opaque everywhere."""
    if image.mode in ("RGBA", "LA", "PA"):  # CIELAB has an A too, which is a colour
        alpha = image.getchannel("A")
    elif image.mode == "RGBa" or "transparency" in image.info:
        # A copy, since Pillow writes the transparency into the palette of what it converts.
        alpha = image.copy().convert("RGBA").getchannel("A")
    else:
        return None
    return alpha if any(alpha.histogram()[:255]) else None


def _bits(image: Image.Image) -> int:
    """Bits of a deep grey: a TIFF may use fewer than the sixteen that Pillow keeps them in."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 16)
    bits = bits[0] if isinstance(bits, tuple) and bits else bits
    return bits if isinstance(bits, int) and 8 <= bits <= 16 else 16


def _scale_deep_grey(image: Image.Image, bits: int) -> tuple[Image.Image, str]:
    levels = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((levels >> (bits - 8)).astype(np.uint8)), f"{bits}-bit grey reduced to 8 bits"
    if not np.isfinite(levels).all():
        raise ImageError(f"The {image.format or 'image'} holds NaN or infinite values. Re-save it as 8-bit RGB.")
    low, high = float(levels.min()), float(levels.max())
    # Mode I holds 16-bit PNGs in older Pillows and 32-bit TIFFs; mode F holds float TIFFs.
    full = 1.0 if image.mode == "F" and low >= 0 and high <= 1 else 255.0 if high <= 255 else 65535.0
    if low < 0 or high > full:
        raise ImageError(
            f"Grey levels from {low:.4g} to {high:.4g} fit neither [0, 1] nor 8 nor 16 bits. Re-save it as 8-bit RGB."
        )
    scaled = np.rint(levels * (255.0 / full)).astype(np.uint8)
    return Image.fromarray(scaled), f"grey levels of mode {image.mode} reduced to 8 bits"
