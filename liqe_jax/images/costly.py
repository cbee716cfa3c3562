"""Files that cost far more than their size: small ones that keep a decoder busy for minutes."""

from __future__ import annotations

from liqe_jax.errors import ImageError

# A progressive JPEG has about ten scans, and thumbnails or second views a few more. Each is a pass over all pixels,
# whatever it holds: a tenth of a second at a hundred megapixels.
MOST_SCANS = 100

# Pillow joins the comments of a GIF piece by piece, which takes the square of their length.
MOST_COMMENT = 1 << 18

_START_OF_SCAN = b"\xff\xda"  # within pictures' data 0xff is followed by 0x00
_EXTENSION, _IMAGE, _COMMENT = 0x21, 0x2C, 0xFE


def check_cost(encoded: bytes) -> None:
    """Refuses (ImageError) what keeps a decoder busy: a JPEG of too many scans, a GIF with too much of a comment."""
    if encoded.startswith(b"\xff\xd8") and (scans := encoded.count(_START_OF_SCAN)) > MOST_SCANS:
        raise ImageError(f"The JPEG has {scans} scans; at most {MOST_SCANS} are read. Re-save it.")
    if encoded.startswith(b"GIF8") and (length := _comments(encoded)) > MOST_COMMENT:
        raise ImageError(f"The GIF has comments of {length} bytes; at most {MOST_COMMENT} are read. Re-save it.")


def _comments(encoded: bytes) -> int:
    """Bytes of comments in a GIF (its specification of 1989, sections 15 to 27); of a corrupt one up to the fault."""
    total, place = 0, 13 + _palette(encoded, 10)
    while place < len(encoded):
        kind = encoded[place]
        if kind == _EXTENSION:
            label, place = encoded[place + 1 : place + 2], place + 2
        elif kind == _IMAGE:
            label, place = b"", place + 11 + _palette(encoded, place + 9)  # one more for the size of its codes
        else:
            break
        while place < len(encoded) and (size := encoded[place]):
            total += size if label == bytes([_COMMENT]) else 0
            place += 1 + size
        place += 1
    return total


def _palette(encoded: bytes, flags_at: int) -> int:
    """Bytes of the palette that these flags announce."""
    flags = encoded[flags_at] if flags_at < len(encoded) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
