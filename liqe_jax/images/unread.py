"""Suffixes of images, and kinds of photographs that Pillow does not read: HEIC, JPEG XL, and cameras' raw files.

A raw file is usually a TIFF whose first picture is a thumbnail, which Pillow opens without an error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io

from PIL import Image, ImageFile, JpegImagePlugin

# By these, folders and archives are searched.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".tga"}
)
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".nef", ".nrw"}
    | {".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"}
)
# Images that are passed over, and counted.
UNREAD_SUFFIXES = HEIC_SUFFIXES | RAW_SUFFIXES | {".jxl"}

RAW = "a camera's raw file"
# Raw files have up to five JPEG streams; the limit bounds the time that a hostile file takes.
_MOST_STREAMS = 32
_JPEG_START = b"\xff\xd8\xff"
ADVICE = "Export it as JPEG first."
HEIC_ADVICE = "Install the reader with: pip install 'liqe_jax[heic]'. Or export it as JPEG."

# TIFF 6.0: kind of picture (1: a smaller version of another), and what its numbers stand for; DNG 1.4: the version;
# and of the numbers, those of the sensor's pixels before and after colours were put together.
_SUBFILE, _PHOTOMETRIC, _DNG_VERSION = 254, 262, 50706
_SMALLER, _OF_SENSOR = 1, (32803, 34892)

# ISO base media files: the brand stands after "ftyp".
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JXL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")


def kind_of(encoded: bytes) -> str | None:
    """What a file is that no reader took, if its first bytes say so."""
    if encoded[4:8] == b"ftyp":
        brand = encoded[8:12]
        return "HEIC" if brand in _HEIC_BRANDS else RAW if brand == b"crx " else None
    if encoded.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")):
        return RAW
    return "JPEG XL" if encoded.startswith(_JXL) else None


def reads_heic() -> bool:
    """Whether the package that reads HEIC is installed."""
    return importlib.util.find_spec("pi_heif") is not None


def open_heic(encoded: bytes) -> ImageFile.ImageFile:
    """The first picture of a HEIC file, upright and with 8 bits per channel; its pixels are decoded later."""
    from pi_heif.as_plugin import HeifImageFile

    return HeifImageFile(io.BytesIO(encoded))


def preview_of(encoded: bytes, max_pixels: int) -> ImageFile.ImageFile | None:
    """The largest JPEG of at most `max_pixels` inside a raw file that Pillow can decode, or None."""
    found: list[ImageFile.ImageFile] = []
    start = -1
    for _ in range(_MOST_STREAMS):
        start = encoded.find(_JPEG_START, start + 1)
        if start < 0:
            break
        with contextlib.suppress(Exception):  # these three bytes occur by chance too
            found.append(JpegImagePlugin.JpegImageFile(io.BytesIO(encoded[start:])))
    for picture in sorted(found, key=lambda one: one.width * one.height, reverse=True):
        if picture.width * picture.height <= max_pixels:
            with contextlib.suppress(Exception):
                picture.load()
                return picture
    return None


def is_raw(image: Image.Image, encoded: bytes) -> bool:
    """Whether a TIFF that has been opened is a camera's raw file, or a thumbnail with the picture somewhere behind."""
    if image.format != "TIFF":
        return False
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(_SUBFILE, 0)  # of a corrupt file it may be anything
    smaller = isinstance(kind, int) and bool(kind & _SMALLER)
    return smaller or _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _OF_SENSOR or encoded[8:10] == b"CR"
