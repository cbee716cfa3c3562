"""Anything that holds an image to RGB bytes, with a note of everything that was lost on the way.

Files are recognised by content, never by name. The bytes that come out equal those of
`PIL.Image.open(...).convert("RGB")`, which is what the reference uses, except where that
would be wrong: 16-bit greys are scaled instead of clipped.
"""

from __future__ import annotations

import dataclasses
import io
import os
from typing import Union

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from liqe_jax.errors import ImageError

ImageSource = Union[str, os.PathLike, bytes, Image.Image, np.ndarray]

# What is tried, in this order. Formats that run other programs (EPS) or render (SVG, PDF, WMF)
# are left out: a folder of photographs may come from anywhere.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "DIB", "TGA")

# Pillow's own limit for refusing an image (twice Image.MAX_IMAGE_PIXELS): 179 megapixels, which
# a few kilobytes of PNG can claim. Decoding needs about seven bytes a pixel.
MAX_PIXELS = 178_956_970


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """RGB pixels [H, W, 3] and what a reader of the score should know about them."""

    pixels: UInt8[np.ndarray, "H W 3"]
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
    """Choices that change pixels.

    Attributes:
      apply_exif: rotate as the EXIF orientation says. The reference does not.
      white_background: put transparent pixels on white. The reference drops the alpha channel
        and shows whatever colour lies under it.
      allow_truncated: use what can be decoded of a cut file, instead of refusing it.
      max_pixels: larger images are refused before anything is decoded.
    """

    apply_exif: bool = False
    white_background: bool = False
    allow_truncated: bool = False
    max_pixels: int = MAX_PIXELS


def decode(source: ImageSource, options: DecodeOptions | None = None) -> DecodedImage:
    """Decodes a path, encoded bytes, a PIL image or an array.

    Arrays are RGB [H, W, 3], grey [H, W] or RGBA [H, W, 4], either uint8 or floating with
    values in [0, 1]; floats are rounded to the nearest of 256 levels.

    Raises:
      ImageError: it is no such thing, cannot be decoded, is cut off, or is too large.
    """
    options = options or DecodeOptions()
    if isinstance(source, np.ndarray) or (hasattr(source, "__array__") and not isinstance(source, Image.Image)):
        image, notes = _from_array(np.asarray(source)), []
    elif isinstance(source, Image.Image):
        image, notes = source, []
    elif isinstance(source, (bytes, bytearray, memoryview)):
        image, notes = _from_bytes(bytes(source), options)
    elif isinstance(source, (str, os.PathLike)):
        image, notes = _from_bytes(_read(source), options)
    else:
        raise ImageError(
            f"Expected a path, bytes, a PIL image or an array; got {type(source).__name__}. "
            "Convert tensors with numpy.asarray first."
        )
    rgb, colour_notes = _to_rgb(image, options)
    return DecodedImage(np.asarray(rgb), (*notes, *colour_notes))


def _read(path: str | os.PathLike) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ImageError(f"Cannot read the file: {error.strerror or error}. Check the path and its permissions.") from (
            error
        )


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "transpose it with array.transpose(1, 2, 0)" if channels_first else "give one image at a time"
        raise ImageError(f"Expected an array [H, W, 3] (RGB), [H, W] or [H, W, 4]; got shape {array.shape}: {hint}.")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError(f"The array holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite values.")
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 1:
            raise ImageError(
                f"Floating arrays must lie in [0, 1]; got [{low:.4g}, {high:.4g}]. "
                "Divide by 255, or pass uint8, or undo a normalisation."
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"Expected an array of uint8 or of floats in [0, 1]; got {array.dtype}.")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def _from_bytes(encoded: bytes, options: DecodeOptions) -> tuple[Image.Image, list[str]]:
    if not encoded:
        raise ImageError("The file is empty (0 bytes).")
    try:
        image = _open(encoded)
    except Exception as error:  # parsers of untrusted bytes raise all sorts of things
        raise ImageError(
            f"Not an image that can be read ({len(encoded)} bytes, beginning {encoded[:8]!r}): {error}. "
            f"Readable formats: {', '.join(FORMATS)}."
        ) from error
    width, height = image.size
    if width * height > options.max_pixels:
        raise ImageError(
            f"The image claims {width}x{height} = {width * height / 1e6:.0f} megapixels; the limit is "
            f"{options.max_pixels / 1e6:.0f}. Shrink it, or raise max_pixels if you trust the file."
        )
    notes = []
    if getattr(image, "n_frames", 1) > 1 and getattr(image, "is_animated", False):
        notes.append(f"animated: the first of {image.n_frames} frames was scored")
    try:
        image.load()
    except Exception as error:
        notes.append(_salvage(image, error, options))
    return image, notes


def _open(encoded: bytes) -> ImageFile.ImageFile:
    # Image.open would also warn about (or refuse) large images by a limit that is global to the
    # process; the limit here is an argument, so its steps are taken one by one.
    Image.init()
    reasons = []
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or (accepts and accepts(encoded[:16]) is not True):
            continue
        try:
            return factory(io.BytesIO(encoded), "")
        except Exception as error:
            reasons.append(f"{name}: {error}")
    raise UnidentifiedImageError("; ".join(reasons) or "no known signature")


def _salvage(image: ImageFile.ImageFile, error: Exception, options: DecodeOptions) -> str:
    """Keeps what was decoded before `error`, if that is wanted and there is anything."""
    truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
    if not (truncated and options.allow_truncated and image.tile):
        advice = "Pass allow_truncated (--allow-truncated) to score what is there." if truncated else "Re-save it."
        raise ImageError(f"The {image.format} file is damaged: {error}. {advice}") from error
    # Image.load keeps its partial picture but would start again as long as tiles are pending.
    # This is what LOAD_TRUNCATED_IMAGES does, without a switch that is global to the process.
    image.tile = []
    return f"truncated file: {error}; the missing part was scored as it decodes (grey or black)"


def _to_rgb(image: Image.Image, options: DecodeOptions) -> tuple[Image.Image, list[str]]:
    notes = []
    try:
        turned = ImageOps.exif_transpose(image) if options.apply_exif else image
    except Exception as error:  # broken EXIF must not cost the image
        turned = image
        notes.append(f"unreadable EXIF orientation ignored: {error}")
    image = turned
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if has_alpha:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] < 255:
            if options.white_background:
                notes.append("transparent pixels were put on white")
                backdrop = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(backdrop, image.convert("RGBA"))
            else:
                notes.append("alpha channel dropped, as in the reference; 'even' puts transparent pixels on white")
    elif image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, note = _scale_deep_grey(image)
        notes.append(note)
    elif image.mode == "CMYK":
        notes.append("CMYK converted without colour management")
    rgb = image.convert("RGB")
    if _is_grey(rgb):
        notes.append("grey image: LIQE was trained on colour photographs and tends to score grey ones low")
    return rgb, notes


def _scale_deep_grey(image: Image.Image) -> tuple[Image.Image, str]:
    levels = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((levels >> 8).astype(np.uint8)), "16-bit grey reduced to 8 bits"
    if not np.isfinite(levels).all():
        raise ImageError(f"The {image.format or 'image'} holds NaN or infinite values. Re-save it as 8-bit RGB.")
    low, high = float(levels.min()), float(levels.max())
    # Mode I holds 16-bit PNGs in older Pillows and 32-bit TIFFs; mode F holds float TIFFs.
    full = 1.0 if image.mode == "F" and 0 <= low and high <= 1 else 255.0 if high <= 255 else 65535.0
    if low < 0 or high > full:
        raise ImageError(
            f"Grey levels from {low:.4g} to {high:.4g} fit neither [0, 1] nor 8 nor 16 bits. Re-save it as 8-bit RGB."
        )
    scaled = np.rint(levels * (255.0 / full)).astype(np.uint8)
    return Image.fromarray(scaled), f"grey levels of mode {image.mode} reduced to 8 bits"


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
