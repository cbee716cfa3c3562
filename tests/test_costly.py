"""Small files that would keep a decoder busy are refused before it begins."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from liqe_jax.errors import ImageError
from liqe_jax.images.costly import MOST_COMMENT, MOST_SCANS, check_cost
from liqe_jax.images.decode import decode


def encoded(form: str, side: int = 64, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    plain = encoded("JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:-2] + plain[last:-2] * count + plain[-2:]


def with_comment(length: int) -> bytes:
    """A GIF with a comment after its palette."""
    plain = encoded("GIF")
    start = 13 + (3 << ((plain[10] & 7) + 1))
    whole, rest = divmod(length, 255)
    blocks = (b"\xff" + b"x" * 255) * whole + (bytes([rest]) + b"x" * rest if rest else b"")
    return plain[:start] + b"\x21\xfe" + blocks + b"\0" + plain[start:]


def test_jpegs_of_many_scans_are_refused():
    assert decode(with_scans(20)).pixels.shape == (64, 64, 3)
    many = with_scans(5000)
    began = time.monotonic()
    with pytest.raises(ImageError, match=f"scans; at most {MOST_SCANS} are read. Re-save it"):
        decode(many)
    assert time.monotonic() - began < 1


def test_gifs_of_long_comments_are_refused():
    assert decode(with_comment(1000)).pixels.shape == (64, 64, 3)
    check_cost(with_comment(MOST_COMMENT))
    with pytest.raises(ImageError, match=f"comments of {MOST_COMMENT + 1} bytes; at most {MOST_COMMENT}"):
        decode(with_comment(MOST_COMMENT + 1))


def test_comments_are_found_behind_pictures_and_in_pieces():
    frames = [Image.new("P", (8, 8), n) for n in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], comment=b"y" * 700)
    animated = file.getvalue()
    assert animated.endswith(b";")
    behind = animated[:-1] + b"\x21\xfe" + (b"\xff" + b"z" * 255) * (MOST_COMMENT // 255 + 1) + b"\0;"
    with pytest.raises(ImageError, match="comments of"):
        check_cost(behind)
    check_cost(animated)


@pytest.mark.parametrize("kept", [4, 6, 11, 13, 14, 500, 900])
def test_cut_files_are_left_to_the_decoder(kept):
    check_cost(with_comment(1000)[:kept])
    check_cost(with_scans(1)[:kept])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_none_of_its_business(form):
    check_cost(encoded(form) + b"\xff\xda" * 1000)
