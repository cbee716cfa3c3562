"""Photographs of kinds that are not read, told from what is: HEIC, and what cameras call raw.

A raw file is mostly a TIFF whose first picture is a thumbnail. Pillow opens it without a word, and its score would be
that of the thumbnail.
"""

from __future__ import annotations

from PIL import Image

# By which folders know them.
UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jxl"}
    | {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".nef", ".nrw"}
    | {".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"}
)

ADVICE = "Export it as JPEG first."

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
        return "HEIC" if brand in _HEIC_BRANDS else "a camera's raw file" if brand == b"crx " else None
    if encoded.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")):
        return "a camera's raw file"
    return "JPEG XL" if encoded.startswith(_JXL) else None


def is_raw(image: Image.Image, encoded: bytes) -> bool:
    """Whether a TIFF that has been opened is a camera's raw file, or a thumbnail with the picture somewhere behind."""
    if image.format != "TIFF":
        return False
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(_SUBFILE, 0)  # of a damaged file it may be anything
    smaller = isinstance(kind, int) and bool(kind & _SMALLER)
    return smaller or _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _OF_SENSOR or encoded[8:10] == b"CR"
