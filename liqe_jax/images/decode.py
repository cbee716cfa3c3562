"""Anything that holds an image to RGB bytes, with a note of everything that was lost on the way.

Files are recognised by content, never by name. Pixels are those of `PIL.Image.open(...).convert("RGB")`, as in the
reference, except that 16-bit greys are scaled instead of clipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Union

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from liqe_jax.bounded_io import read_bytes
from liqe_jax.errors import ImageError
from liqe_jax.images.colour import to_rgb
from liqe_jax.images.costly import check_cost
from liqe_jax.images.unread import ADVICE, HEIC_ADVICE, RAW, is_raw, kind_of, open_heic, preview_of, reads_heic
from liqe_jax.messages import printable, reason_of

ImageSource = Union[str, os.PathLike, bytes, Image.Image, np.ndarray]

# What is tried, in this order. Formats that run other programs (EPS) or render (SVG, PDF, WMF)
# are left out: a folder of photographs may come from anywhere.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "DIB", "TGA")

# Pillow's own limit for refusing an image (twice Image.MAX_IMAGE_PIXELS): 179 megapixels, which
# a few kilobytes of PNG can claim. Decoding a JPEG needs eight bytes a pixel, deep greys and JPEG 2000 up to 25.
MAX_PIXELS = 178_956_970

# The end of the message about cut files; who offers no such option says something else.
CUT_ADVICE = "Pass allow_truncated (--allow-truncated) to score what is there."

RAW_ADVICE = "Export it as JPEG, or pass --raw-previews to score the preview inside."


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
      raw_previews: decode the JPEG preview inside a camera's raw file, with a warning, instead of refusing the file.
      max_pixels: larger images are refused before anything is decoded.
    """

    apply_exif: bool = False
    white_background: bool = False
    allow_truncated: bool = False
    raw_previews: bool = False
    max_pixels: int = MAX_PIXELS


@contextlib.contextmanager
def memory_errors_are_of_the_image() -> Iterator[None]:
    """Turns a `MemoryError` into an `ImageError`, so that the other images go on; also a decorator."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(
            "The memory does not suffice to decode and prepare this image. Shrink it, or score with more memory or "
            "fewer workers."
        ) from error


@memory_errors_are_of_the_image()
def decode(source: ImageSource, options: DecodeOptions | None = None) -> DecodedImage:
    """Decodes a path, encoded bytes, a PIL image or an array.

    Arrays are RGB [H, W, 3], grey [H, W] or RGBA [H, W, 4], either uint8 or floating in [0, 1], which are
    rounded to 256 levels.
    ImageError: it is none of these, cannot be decoded, is cut off, is too large, or is not a regular file.
    """
    options = options or DecodeOptions()
    notes: list[str] = []
    if isinstance(source, (str, os.PathLike)):
        image, notes = _from_bytes(_read(source), options)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        image, notes = _from_bytes(bytes(source), options)
    elif isinstance(source, Image.Image):
        image = source
    elif hasattr(source, "__array__"):  # after text and bytes, since NumPy's have it too
        image = _from_array(source)
    else:
        raise ImageError(
            f"Expected a path, bytes, a PIL image or an array; got {type(source).__name__}. "
            "Convert tensors with numpy.asarray first."
        )
    if 0 in image.size:
        raise ImageError(f"The image has no pixels: its size is {image.width}x{image.height}.")
    try:
        pixels, colour_notes = to_rgb(image, options.apply_exif, options.white_background)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a PIL image that is read only now, or a mode that Pillow cannot convert
        raise ImageError(f"The image (mode {image.mode}) cannot be turned into RGB: {printable(error)}.") from error
    return DecodedImage(pixels, (*notes, *colour_notes))


def decode_upright(source: ImageSource, longest: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels as people see them: upright, on white, no side longer than `longest` (0: any); errors as in `decode`."""
    picture = Image.fromarray(decode(source, DecodeOptions(apply_exif=True, white_background=True)).pixels)
    if longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _read(path: str | os.PathLike) -> bytes:
    try:
        return read_bytes(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise ImageError(f"Cannot read the file: {reason_of(error)}. Check the path and its permissions.") from error


def _from_array(source: object) -> Image.Image:
    try:
        array = np.asarray(source)
    except Exception as error:  # tensors on other devices, or with a gradient
        raise ImageError(f"Cannot make an array of this {type(source).__name__}: {error}.") from error
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        if 0 in array.shape:
            hint = "it is empty"
        elif array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "transpose it with array.transpose(1, 2, 0)"
        else:
            hint = "give one image at a time"
        raise ImageError(f"Expected an array [H, W, 3] (RGB), [H, W] or [H, W, 4]; got shape {array.shape}: {hint}.")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"The array holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite values.")
        if low < 0 or high > 1:
            raise ImageError(
                f"Floating arrays must lie in [0, 1]; got [{low:.4g}, {high:.4g}]. "
                "Divide by 255, or pass uint8, or undo a normalisation."
            )
        scaled = array * 255
        array = np.rint(scaled, out=scaled).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f"Expected an array of uint8 or of floats in [0, 1]; got {array.dtype}. "
            "Convert it with array.astype(numpy.uint8) if its values lie in 0..255."
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def _from_bytes(encoded: bytes, options: DecodeOptions) -> tuple[Image.Image, list[str]]:
    if not encoded:
        raise ImageError("The file is empty (0 bytes).")
    check_cost(encoded)
    kind = kind_of(encoded)
    try:
        image = open_heic(encoded) if kind == "HEIC" and reads_heic() else _open(encoded)
        kind = RAW if is_raw(image, encoded) else None
    except MemoryError:
        raise
    except Exception as error:  # parsers of untrusted bytes raise all sorts of things
        if kind is None:
            raise ImageError(
                f"Not an image that can be read ({len(encoded)} bytes, beginning {encoded[:8]!r}): "
                f"{printable(error, 400)}. Readable formats: {', '.join(FORMATS)}."
            ) from error
        if kind == "HEIC" and reads_heic():
            raise ImageError(f"The file is HEIC, which is corrupt: {printable(error, 400)}.") from error
        if kind != RAW:
            advice = HEIC_ADVICE if kind == "HEIC" else ADVICE
            raise ImageError(f"The file is {kind}, which is not read. {advice}") from error
    notes = []
    if kind == RAW:
        preview = preview_of(encoded, options.max_pixels) if options.raw_previews else None
        if preview is None:
            remedy = "No JPEG preview was found in it." if options.raw_previews else RAW_ADVICE
            raise ImageError(f"The file is {RAW}, which is not read. {remedy}")
        image, size = preview, f"{preview.width}x{preview.height}"
        notes.append(f"raw file: its embedded preview of {size} pixels was scored, not the sensor's data")
    width, height = image.size
    if width * height > options.max_pixels:
        raise ImageError(
            f"The image claims {width}x{height} = {width * height / 1e6:.0f} megapixels; the limit is "
            f"{options.max_pixels / 1e6:.0f}. Shrink it, or raise max_pixels if you trust the file."
        )
    notes += _frame_notes(image)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        image, note = _salvage(image, encoded, error, options)
        notes.append(note)
    return image, notes


def _frame_notes(image: ImageFile.ImageFile) -> list[str]:
    if image.format == "MPO":  # a photograph with previews or a second view behind it
        return []
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # later frames are corrupt; the first may not be
        return ["corrupt after the first frame, which was scored"]
    if frames == 1:
        return []
    if image.format == "TIFF":
        return [f"the first of {frames} pages was scored"]
    return [f"animated: the first of {frames} frames was scored"]


def _open(encoded: bytes) -> ImageFile.ImageFile:
    # Image.open would also warn about (or refuse) large images by a limit that is global to the
    # process; the limit here is an argument, so its steps are taken one by one.
    Image.init()
    reasons = []
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        try:
            if factory is None or (accepts and accepts(encoded[:16]) is not True):
                continue
            return factory(io.BytesIO(encoded), "")
        except Exception as error:
            # TGA takes every file and DIB nearly every one, so their reasons tell nothing.
            if accepts and name != "DIB":
                reasons.append(f"{name}: {error}")
    raise UnidentifiedImageError("; ".join(reasons) or "no known signature")


def _salvage(
    image: ImageFile.ImageFile, encoded: bytes, error: Exception, options: DecodeOptions
) -> tuple[ImageFile.ImageFile, str]:
    """What was decoded before `error`, if it is wanted; as LOAD_TRUNCATED_IMAGES, which is global to the process."""
    reason = printable(error)
    # The second is what decoders say that stopped in the middle, JPEG 2000's of cut files too.
    partial = "truncated" in reason.lower() or "when reading image file" in reason
    if not (partial and options.allow_truncated):
        advice = CUT_ADVICE if partial else "Re-save it."
        raise ImageError(f"The {image.format} file is corrupt: {reason}. {advice}") from error
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            # libjpeg holds rows back until it sees the end-of-image marker.
            image = _open(encoded + b"\xff\xd9")
            with contextlib.suppress(Exception):
                image.load()
        # load() keeps its partial picture but would start again as long as tiles are pending.
        image.tile = []
        with contextlib.suppress(Exception):
            image.load_end()  # turns TIFFs upright
        image.load()
    except Exception:
        raise ImageError(f"The {image.format} file is corrupt and nothing of it can be decoded: {reason}.") from error
    return image, f"corrupt file: {reason}; the missing part was scored as it decodes (grey or black)"
