"""Photographs of kinds that are not read are refused by name, and never judged by a thumbnail."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from liqe_jax.errors import ImageError
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.images.unread import kind_of

from .heic import HEIC


def tiff(*tags: tuple[int, int, bytes | int]) -> bytes:
    """A small TIFF with (tag, type, value)s."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in tags:
        info.tagtype[tag] = kind
        info[tag] = value
    file = io.BytesIO()
    Image.new("RGB", (160, 120), (200, 90, 30)).save(file, "TIFF", tiffinfo=info)
    return file.getvalue()


BYTE, LONG = 1, 4


@pytest.mark.parametrize("tags", [[(254, LONG, 1)], [(50706, BYTE, b"\x01\x04\x00\x00")]], ids=["thumbnail", "dng"])
def test_a_raw_file_is_not_judged_by_its_thumbnail(tags):
    with pytest.raises(ImageError, match=r"a camera's raw file, which is not read. Export it as JPEG, or pass --raw"):
        decode(tiff(*tags))


def test_canons_mark_is_known():
    # CR2: "CR" and a version stand between TIFF's header and its first directory, which is moved by eight bytes.
    encoded = bytearray(tiff())
    (first,) = [int.from_bytes(encoded[4:8], "little")]
    end = encoded[first:]  # the directory goes to the end of a longer file
    encoded += b"\0" * (len(encoded) % 2)
    encoded[4:8] = len(encoded).to_bytes(4, "little")
    encoded += end
    encoded[8:12] = b"CR\x02\x00"
    with pytest.raises(ImageError, match="raw file"):
        decode(bytes(encoded))


@pytest.mark.parametrize("tags", [[], [(254, LONG, 0)], [(254, LONG, 2)]], ids=["plain", "full", "page"])
def test_other_tiffs_are_read(tags):
    assert decode(tiff(*tags)).pixels.shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"),
        (b"FUJIFILMCCD-RAW 0201FF383501", "a camera's raw file"),
        (b"IIRO\x08\0\0\0", "a camera's raw file"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
    ],
)
def test_what_no_reader_takes_is_called_by_its_name(start, kind, monkeypatch):
    monkeypatch.setattr("liqe_jax.images.decode.reads_heic", lambda: False)
    assert kind_of(start) == kind
    remedy = {"HEIC": r"Install .*liqe_jax\[heic\]", "JPEG XL": "Export"}.get(kind, "Export it as JPEG, or pass --raw-")
    with pytest.raises(ImageError, match=f"The file is {kind}, which is not read. {remedy}"):
        decode(start + bytes(200))


def test_what_says_nothing_of_itself_is_just_no_image():
    assert kind_of(b"plain text") is None
    assert kind_of(b"") is None
    with pytest.raises(ImageError, match="Readable formats"):
        decode(b"plain text, long enough to be looked at")


def test_heic_is_decoded_upright_with_its_extra():
    pytest.importorskip("pi_heif")
    pixels = decode(HEIC).pixels
    assert pixels.shape == (64, 48, 3)
    assert np.abs(pixels[16, 24].astype(int) - (200, 0, 150)).max() <= 8
    assert np.abs(pixels[48, 24].astype(int) - (200, 0, 0)).max() <= 8
    with pytest.raises(ImageError, match="HEIC, which is corrupt"):
        decode(HEIC[:300])


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (20, 120, 60)).save(file, "JPEG")
    return file.getvalue()


def test_the_largest_preview_of_a_raw_file_is_decoded_on_request():
    raw = b"FUJIFILMCCD-RAW 0201FF383501" + jpeg(40, 30) + b"\xff\xd8\xff sensor" + jpeg(160, 120) + bytes(500)
    options = DecodeOptions(raw_previews=True)
    decoded = decode(raw, options)
    assert decoded.pixels.shape == (120, 160, 3)
    assert decoded.warnings == ("raw file: its embedded preview of 160x120 pixels was scored, not the sensor's data",)
    with pytest.raises(ImageError, match="No JPEG preview"):
        decode(b"FUJIFILMCCD-RAW 0201FF383501" + bytes(500), options)
    # Too large ones are passed over, and a file of nothing but beginnings ends.
    assert decode(raw, DecodeOptions(raw_previews=True, max_pixels=2000)).pixels.shape == (30, 40, 3)
    with pytest.raises(ImageError, match="No JPEG preview"):
        decode(b"FUJIFILMCCD-RAW 0201FF383501" + b"\xff\xd8\xff" * 100_000, options)
