"""Decoding: every kind of input gives the reference's pixels, a stated deviation, or an ImageError."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import os
import struct
import subprocess
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from liqe_jax.errors import ImageError
from liqe_jax.images.decode import DecodedImage, DecodeOptions, decode


def picture(height: int = 90, width: int = 120, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random colours: unlike noise they compress, unlike a ramp they tell all orientations apart."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, channels), np.uint8)
    planes = [
        Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def encode(image: Image.Image | np.ndarray, form: str, **settings) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **settings)
    return buffer.getvalue()


def pil_rgb(encoded: bytes) -> np.ndarray:
    """What the reference sees."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def pillow_loads_truncated() -> Iterator[None]:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, for the kinds that Pillow reads but does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def warned(decoded: DecodedImage, text: str) -> bool:
    return any(text in warning for warning in decoded.warnings)


@pytest.fixture(autouse=True)
def no_global_state() -> Iterator[None]:
    """Every test here also checks that nothing of the process was touched."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    yield
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


# Formats.

FORMATS = {
    "JPEG": {"quality": 90},
    "progressive JPEG": {"progressive": True, "quality": 75},
    "PNG": {},
    "BMP": {},
    "DIB": {},
    "TIFF": {},
    "LZW TIFF": {"compression": "tiff_lzw"},
    "JPEG TIFF": {"compression": "jpeg"},
    "WEBP": {"quality": 80},
    "lossless WEBP": {"lossless": True},
    "AVIF": {"quality": 80},
    "GIF": {},
    "JPEG2000": {},
    "PPM": {},
    "TGA": {},
    "RLE TGA": {"compression": "tga_rle"},
}


def encoded_as(form: str, image: Image.Image | np.ndarray | None = None) -> bytes:
    return encode(picture() if image is None else image, form.rsplit(maxsplit=1)[-1], **FORMATS[form])


@pytest.mark.parametrize("form", FORMATS)
def test_pixels_equal_pillows(form: str):
    encoded = encoded_as(form)
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert decoded.pixels.dtype == np.uint8
    assert decoded.warnings == ()


@pytest.mark.parametrize(
    "name", ["photo.jpg", "no extension", "wrong.gif", "ünï/ço dé 日本.png", "new\nline.png", "-x"]
)
def test_files_are_recognised_by_content(tmp_path: Path, name: str):
    encoded = encoded_as("PNG")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded)
    for source in (path, str(path)):
        np.testing.assert_array_equal(decode(source).pixels, picture())


def test_relative_path_and_any_path_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.png").write_bytes(encoded_as("PNG"))
    monkeypatch.chdir(tmp_path)
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    for source in ("a.png", entry):
        np.testing.assert_array_equal(decode(source).pixels, picture())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_encoded_bytes(kind: type):
    np.testing.assert_array_equal(decode(kind(encoded_as("PNG"))).pixels, picture())


def test_cmyk_jpeg():
    encoded = encode(Image.fromarray(picture()).convert("CMYK"), "JPEG")
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert warned(decoded, "CMYK")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "PPM"])
def test_grey_files_become_three_equal_channels(form: str):
    # Lossy WebP would come out slightly coloured.
    encoded = encode(Image.fromarray(picture()).convert("L"), form, **({"lossless": True} if form == "WEBP" else {}))
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert warned(decoded, "grey image")


def test_grey_is_noticed_only_where_every_pixel_is():
    # More rows than are compared at a time; only the very last pixel has a colour.
    pixels = np.repeat(picture(600, 20, 1), 3, axis=-1)
    assert warned(decode(pixels), "grey image")
    pixels[-1, -1, 2] ^= 1
    assert not warned(decode(pixels), "grey image")


def test_one_bit_png():
    encoded = encode(Image.fromarray(picture()).convert("1"), "PNG")
    np.testing.assert_array_equal(decode(encoded).pixels, pil_rgb(encoded))


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(form: str):
    encoded = encode(Image.fromarray(picture()).quantize(200), form)
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert decoded.warnings == ()


def transparent_palette(kind: str) -> bytes:
    image = Image.fromarray(picture()).quantize(16)
    if kind == "one colour":
        return encode(image, "PNG", transparency=3)
    if kind == "GIF":
        return encode(image, "GIF", transparency=3)
    return encode(image, "PNG", transparency=bytes(range(0, 256, 16)))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # Pillow's own, in pil_rgb
@pytest.mark.parametrize("kind", ["one colour", "GIF", "levels"])
def test_transparent_palette_keeps_the_colours_beneath(kind: str):
    encoded = transparent_palette(kind)
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert warned(decoded, "alpha channel dropped")


@pytest.mark.parametrize("kind", ["one colour", "GIF", "levels"])
def test_transparent_palette_lets_no_warning_out(kind: str):
    # Pillow warns of losing "Transparency expressed in bytes"; here warnings are errors.
    assert warned(decode(transparent_palette(kind)), "alpha channel dropped")


@pytest.mark.parametrize("kind", ["one colour", "GIF", "levels"])
def test_transparent_palette_on_white(kind: str):
    encoded = transparent_palette(kind)
    decoded = decode(encoded, DecodeOptions(white_background=True))
    rgba = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))
    np.testing.assert_allclose(decoded.pixels, on_white(rgba), atol=1)
    assert warned(decoded, "put on white")


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("LA", 2)])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_alpha(mode: str, channels: int, form: str):
    encoded = encode(Image.fromarray(picture(channels=channels), mode), form)
    dropped, composited = decode(encoded), decode(encoded, DecodeOptions(white_background=True))
    np.testing.assert_array_equal(dropped.pixels, pil_rgb(encoded))
    assert warned(dropped, "alpha channel dropped")
    rgba = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))
    np.testing.assert_allclose(composited.pixels, on_white(rgba), atol=1)
    assert warned(composited, "put on white")


@pytest.mark.parametrize("white", [False, True])
def test_opaque_alpha_is_no_event(white: bool):
    rgba = np.dstack([picture(), np.full((90, 120), 255, np.uint8)])
    decoded = decode(encode(rgba, "PNG"), DecodeOptions(white_background=white))
    np.testing.assert_array_equal(decoded.pixels, picture())
    assert decoded.warnings == ()


def test_transparent_colour_of_an_rgb_png():
    pixels = picture()
    pixels[:30] = (1, 2, 3)
    encoded = encode(pixels, "PNG", transparency=(1, 2, 3))
    np.testing.assert_array_equal(decode(encoded).pixels, pixels)
    composited = decode(encoded, DecodeOptions(white_background=True)).pixels
    assert (composited[:30] == 255).all()
    np.testing.assert_array_equal(composited[30:], pixels[30:])


def test_premultiplied_alpha():
    image = Image.fromarray(picture(channels=4), "RGBA").convert("RGBa")
    np.testing.assert_array_equal(decode(image).pixels, np.asarray(image.convert("RGB")))


# Deep images.


def grey_levels() -> np.ndarray:
    """All of 0..65535, both ends included."""
    return np.linspace(0, 65535, 256 * 64).round().astype(np.uint16).reshape(64, 256)


def test_16_bit_grey_png_is_scaled():
    levels = grey_levels()
    decoded = decode(encode(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(decoded.pixels[..., 0], levels // 256)
    assert decoded.pixels.min() == 0
    assert decoded.pixels.max() == 255
    # Pillow clips: everything above 255 of 65535 comes out white.
    assert (pil_rgb(encode(Image.fromarray(levels), "PNG")) == 255).mean() > 0.99
    assert warned(decoded, "16-bit")
    assert warned(decoded, "grey image")


def test_16_bit_grey_png_with_a_transparent_level_is_scaled_too():
    levels = grey_levels()
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    encoded = png(256, 64, 16, 0, rows, (b"tRNS", struct.pack(">H", 655)))
    np.testing.assert_array_equal(decode(encoded).pixels[..., 1], levels // 256)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_tiff_of_both_byte_orders(order: str):
    # A TIFF by hand: Pillow writes only its own byte order.
    levels, little = grey_levels(), order == "<u2"
    tags = {256: 256, 257: 64, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: levels.size * 2}
    ends = "<" if little else ">"
    body = levels.astype(order).tobytes()
    entries = b"".join(struct.pack(ends + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II*\0" if little else b"MM\0*") + struct.pack(ends + "I", 8 + len(body))
    encoded = head + body + struct.pack(ends + "H", len(tags)) + entries + bytes(4)
    np.testing.assert_array_equal(decode(encoded).pixels[..., 0], levels // 256)


def test_16_bit_rgb_png_is_what_pillow_makes_of_it():
    colours = np.random.default_rng(0).integers(0, 65536, (9, 11, 3)).astype(">u2")
    colours[0, 0], colours[0, 1] = 0, 65535
    encoded = png(11, 9, 16, 2, b"".join(b"\0" + row.tobytes() for row in colours))
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    np.testing.assert_allclose(decoded.pixels, colours.astype(float) / 257, atol=1)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_float_tiff(scale: float):
    levels = np.linspace(0, scale, 300, dtype=np.float32).reshape(15, 20)
    decoded = decode(encode(Image.fromarray(levels), "TIFF"))
    np.testing.assert_array_equal(decoded.pixels[..., 2], np.rint(levels / scale * 255))
    assert warned(decoded, "mode F")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 1e9])
def test_float_tiff_that_fits_no_scale_is_refused(bad: float):
    levels = np.full((15, 20), 0.5, np.float32)
    levels[3, 4] = bad
    with pytest.raises(ImageError, match="8-bit RGB"):
        decode(encode(Image.fromarray(levels), "TIFF"))


def test_32_bit_integer_tiff():
    levels = grey_levels().astype(np.int32)
    decoded = decode(encode(Image.fromarray(levels), "TIFF"))
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.rint(levels * 255 / 65535))


# Several pictures in a file.


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_give_their_first_frame(form: str):
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    encoded = encode(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert decoded.warnings == ("animated: the first of 3 frames was scored",)


def test_pages_of_a_tiff():
    pages = [Image.fromarray(picture(seed=seed)) for seed in range(2)]
    decoded = decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    np.testing.assert_array_equal(decoded.pixels, picture())
    assert decoded.warnings == ("the first of 2 pages was scored",)


def test_photographs_with_previews_are_not_animations():
    # Many cameras append previews to a JPEG (multi-picture format).
    encoded = encode(Image.fromarray(picture()), "MPO", save_all=True, append_images=[Image.fromarray(picture(9, 12))])
    assert Image.open(io.BytesIO(encoded)).format == "MPO"
    decoded = decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))
    assert decoded.warnings == ()


# EXIF.

# What a viewer has to do to the stored pixels, as the EXIF standard words it.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_exif_orientation(orientation: int, form: str):
    encoded = encode(picture(), form, exif=exif_of(orientation), **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(decode(encoded).pixels, picture())
    upright = decode(encoded, DecodeOptions(apply_exif=True))
    np.testing.assert_array_equal(upright.pixels, UPRIGHT[orientation](picture()))
    assert upright.warnings == ()


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_of_jpeg_and_of_pil_images(orientation: int):
    encoded = encode(picture(), "JPEG", exif=exif_of(orientation))
    stored = pil_rgb(encoded)
    for source in (encoded, Image.open(io.BytesIO(encoded))):
        np.testing.assert_array_equal(decode(source).pixels, stored)
        upright = decode(source, DecodeOptions(apply_exif=True)).pixels
        np.testing.assert_array_equal(upright, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("apply_exif", [False, True])
def test_tiff_orientation_is_applied_once_and_always(orientation: int, apply_exif: bool):
    # Pillow turns TIFFs while loading, so the reference sees them upright.
    encoded = encode(picture(), "TIFF", exif=exif_of(orientation))
    upright = decode(encoded, DecodeOptions(apply_exif=apply_exif)).pixels
    np.testing.assert_array_equal(upright, pil_rgb(encoded))
    np.testing.assert_array_equal(upright, UPRIGHT[orientation](picture()))


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


ORIENTATION_6 = entry(274, 3, 1, struct.pack("<H", 6))
BROKEN_EXIF = {
    "no TIFF header": b"garbage garbage",
    "cut in an entry": b"II*\0\x08\0\0\0\x05\0" + ORIENTATION_6[:6],
    "value outside": b"II*\0\x08\0\0\0\x02\0" + entry(270, 2, 99, b"\xff\xff") + ORIENTATION_6 + bytes(4),
    "orientation is text": b"II*\0\x08\0\0\0\x01\0" + entry(274, 2, 4, b"abc\0") + bytes(4),
    "orientation 9": b"II*\0\x08\0\0\0\x01\0" + entry(274, 3, 1, b"\x09") + bytes(4),
}


# Pillow's own warnings; to silence them would change filters for the whole process.
@pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data:UserWarning",
    "ignore:Truncated File Read:UserWarning",
    "ignore:Tag data larger than file:UserWarning",
)
@pytest.mark.parametrize("kind", BROKEN_EXIF)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_image(kind: str, form: str):
    encoded = encode(picture(), form, exif=b"Exif\0\0" + BROKEN_EXIF[kind])
    stored = pil_rgb(encoded)
    np.testing.assert_array_equal(decode(encoded).pixels, stored)
    upright = decode(encoded, DecodeOptions(apply_exif=True)).pixels
    assert sorted(upright.shape) == sorted(stored.shape)


def test_unreadable_exif_is_reported():
    encoded = encode(picture(), "PNG", exif=b"Exif\0\0" + BROKEN_EXIF["no TIFF header"])
    decoded = decode(encoded, DecodeOptions(apply_exif=True))
    np.testing.assert_array_equal(decoded.pixels, picture())
    assert warned(decoded, "unreadable EXIF")


# Damage.

# TIFF with compression keeps its directory at the end and cannot be read at all when cut;
# WebP and AVIF decode whole frames.
CUTTABLE = ["JPEG", "progressive JPEG", "PNG", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "TGA", "RLE TGA"]


@pytest.mark.parametrize("share", [0.45, 0.7, 0.95])
@pytest.mark.parametrize("form", CUTTABLE)
def test_truncated_files_are_refused_unless_allowed(form: str, share: float):
    encoded = encoded_as(form)
    cut = encoded[: int(len(encoded) * share)]
    with pytest.raises(ImageError, match=r"corrupt.*allow_truncated"):
        decode(cut)
    decoded = decode(cut, DecodeOptions(allow_truncated=True))
    with pillow_loads_truncated():
        expected = pil_rgb(cut)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.pixels != decode(encoded).pixels).any()
    assert warned(decoded, "missing part")


def test_every_cut_of_a_jpeg_gives_what_pillow_gives():
    # libjpeg holds back rows until it sees the end of the image; where exactly depends on the cut.
    encoded = encode(picture(40, 50), "JPEG")
    scan = encoded.index(b"\xff\xda")
    for length in range(scan + 20, len(encoded), 7):
        decoded = decode(encoded[:length], DecodeOptions(allow_truncated=True))
        with pillow_loads_truncated():
            np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded[:length]))


def test_truncated_tiff_is_turned_upright_too():
    encoded = encode(picture(), "TIFF", exif=exif_of(6))
    cut = encoded[: int(len(encoded) * 0.7)]
    decoded = decode(cut, DecodeOptions(allow_truncated=True))
    with pillow_loads_truncated():
        np.testing.assert_array_equal(decoded.pixels, pil_rgb(cut))
    assert decoded.pixels.shape == (120, 90, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("form", ["WEBP", "AVIF", "LZW TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_truncation_that_leaves_nothing_is_refused_in_any_case(form: str, share: float):
    encoded = encoded_as(form)
    cut = encoded[: int(len(encoded) * share)]
    for allow in (False, True):
        with pytest.raises(ImageError):
            decode(cut, DecodeOptions(allow_truncated=allow))
    with pillow_loads_truncated(), pytest.raises((OSError, SyntaxError)):
        pil_rgb(cut)


def test_allowing_truncation_changes_nothing_for_whole_files():
    for form in FORMATS:
        decoded = decode(encoded_as(form), DecodeOptions(allow_truncated=True))
        np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded_as(form)))
        assert decoded.warnings == ()


def test_damage_in_a_later_frame_costs_no_more_than_the_count():
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decoded = decode(encoded[: int(len(encoded) * 0.8)])
    np.testing.assert_array_equal(decoded.pixels, pil_rgb(encoded))


# Sizes.


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_one_pixel(form: str):
    encoded = encode(picture(1, 1), form)
    np.testing.assert_array_equal(decode(encoded).pixels, pil_rgb(encoded))


@pytest.mark.parametrize(("height", "width"), [(10, 4000), (4000, 10), (256, 3), (257, 3), (512, 3)])
def test_strips(height: int, width: int):
    pixels = picture(height, width)
    np.testing.assert_array_equal(decode(encode(pixels, "PNG")).pixels, pixels)


def test_108_megapixels_without_warning_or_second_copy():
    # Above Image.MAX_IMAGE_PIXELS, where Image.open would warn, and warnings are errors here.
    small = Image.fromarray(picture(9, 12))
    encoded = encode(small.resize((12000, 9000), Image.Resampling.NEAREST), "JPEG")
    assert Image.MAX_IMAGE_PIXELS < 12000 * 9000
    tracemalloc.start()  # sees NumPy's memory, not Pillow's four bytes a pixel
    decoded = decode(encoded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded.pixels.shape == (9000, 12000, 3)
    assert decoded.warnings == ()
    assert peak < 1.2 * decoded.pixels.nbytes
    # Flat 1000-pixel squares survive compression nearly as they were.
    np.testing.assert_allclose(decoded.pixels[500::1000, 500::1000], np.asarray(small), atol=3)


def bomb() -> bytes:
    return png(60000, 60000, 8, 2, bytes(1000))


def test_decompression_bombs_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the bomb was decoded"))
    with pytest.raises(ImageError, match="60000x60000 = 3600 megapixels"):
        decode(bomb())
    with pytest.raises(ImageError, match="3600 megapixels"):
        decode(bomb(), DecodeOptions(allow_truncated=True))


def test_max_pixels_is_inclusive():
    encoded = encoded_as("PNG")
    assert decode(encoded, DecodeOptions(max_pixels=90 * 120)).pixels.shape == (90, 120, 3)
    with pytest.raises(ImageError, match="max_pixels"):
        decode(encoded, DecodeOptions(max_pixels=90 * 120 - 1))


# No images.

NO_IMAGES = {
    "text.jpg": b"This is not an image.\n" * 10,
    "page.png": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "paper.pdf": b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj",
    "figure.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "binary.eps": b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIIIH", 32, 60, 0, 0, 0, 0, 0xFFFF) + b"%!PS-Adobe-3.0\n" * 4,
    "one byte.jpg": b"\xff",
    "zeros.png": bytes(5000),
    "archive.png": b"PK\x03\x04" + bytes(range(256)),
}


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        pytest.fail(f"decode started a program: {args}")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr(os, "system", refuse)


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize("name", NO_IMAGES)
def test_other_files_are_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(NO_IMAGES[name])
    for source in (tmp_path / name, NO_IMAGES[name]):
        with pytest.raises(ImageError, match=r"Not an image.*Readable formats: JPEG, PNG"):
            decode(source)


def test_empty_file(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    for source in (tmp_path / "empty.jpg", b""):
        with pytest.raises(ImageError, match="empty"):
            decode(source)


def test_missing_file(tmp_path: Path):
    with pytest.raises(ImageError, match=r"No such file.*Check the path"):
        decode(tmp_path / "absent.jpg")


def test_folder(tmp_path: Path):
    with pytest.raises(ImageError, match="folder"):
        decode(tmp_path)


def test_name_that_no_file_can_have():
    with pytest.raises(ImageError, match="null"):
        decode("photo\0.jpg")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded_as("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def forbidden(*args, **kwargs):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(ImageError, match="Permission denied"):
        decode(path)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], io.BytesIO(b"x")])
def test_other_types_are_refused(source: object):
    with pytest.raises(ImageError, match=f"got {type(source).__name__}"):
        decode(source)


# PIL images.


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "RGBX", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pil_images(mode: str):
    image = Image.fromarray(picture())
    image = Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)
    before = image.tobytes()
    np.testing.assert_array_equal(decode(image).pixels, np.asarray(image.convert("RGB")))
    assert (image.mode, image.tobytes()) == (mode, before)


def test_a_colour_called_a_is_no_opacity():
    """CIELAB's bands are L, A and B."""
    image = Image.merge("LAB", Image.fromarray(picture()).split())
    for options in (DecodeOptions(), DecodeOptions(white_background=True)):
        decoded = decode(image, options)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(image.convert("RGB")))
        assert not decoded.warnings


def test_premultiplied_grey_is_put_on_white():
    image = Image.new("LA", (60, 50), (40, 128)).convert("La")
    decoded = decode(image, DecodeOptions(white_background=True))
    assert abs(int(decoded.pixels[0, 0, 0]) - (40 + 255) // 2) <= 2
    assert decoded.warnings[0] == "transparent pixels were put on white"


@pytest.mark.parametrize("apply_exif", [False, True])
def test_a_tiff_of_twelve_bits_is_as_bright_as_it_was(apply_exif: bool):
    levels = np.linspace(0, 4095, 40 * 30).astype(np.uint16).reshape(30, 40)
    pairs = levels.reshape(-1, 2)  # three bytes hold two
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    data = packed.astype(np.uint8).tobytes()
    tags = [(256, 40), (257, 30), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 30), (279, len(data))]
    tags = sorted([*tags, (274, 3)])  # upside down
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    encoded = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)
    decoded = decode(encoded, DecodeOptions(apply_exif=apply_exif))
    np.testing.assert_allclose(decoded.pixels[::-1, ::-1, 0], levels / 16.06, atol=1)
    assert "12-bit grey reduced to 8 bits" in decoded.warnings


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_deep_pil_images_are_scaled(mode: str):
    levels = grey_levels()
    kind = {"I;16": "<u2", "I;16B": ">u2", "I": np.int32, "F": np.float32}[mode]
    image = Image.fromarray(levels.astype(kind))
    assert image.mode == mode
    np.testing.assert_allclose(decode(image).pixels[..., 0], levels / 257, atol=1)


@pytest.mark.parametrize("form", ["TIFF", "JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_undone_once(form: str, orientation: int):
    """Pillow turns TIFFs by itself, when it loads them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    encoded = encode(picture(60, 90), form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
    options = DecodeOptions(apply_exif=True)
    expected = decode(encoded, options).pixels
    assert expected.shape == ((60, 90, 3) if orientation < 5 else (90, 60, 3))
    np.testing.assert_array_equal(decode(Image.open(io.BytesIO(encoded)), options).pixels, expected)


def test_pil_images_are_left_as_they_were():
    image = Image.open(io.BytesIO(transparent_palette("levels")))
    palette, info = image.palette.getdata(), dict(image.info)
    decode(image)
    assert (image.palette.getdata(), image.info, image.im.getpalettemode()) == (palette, info, "RGB")


def test_pil_image_of_a_cut_file():
    encoded = encoded_as("JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode(Image.open(io.BytesIO(encoded[: len(encoded) // 2])))


def test_pil_image_without_pixels():
    with pytest.raises(ImageError, match="no pixels"):
        decode(Image.new("RGB", (0, 5)))


# Arrays.


def test_uint8_array_is_taken_as_it_is():
    pixels = picture()
    decoded = decode(pixels)
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert not np.shares_memory(decoded.pixels, pixels)
    assert decoded.warnings == ()


@pytest.mark.parametrize("view", ["mirrored", "transposed", "BGR", "every second", "read-only"])
def test_views_of_arrays(view: str):
    pixels = picture()
    pixels.flags.writeable = False
    array = {
        "mirrored": pixels[:, ::-1],
        "transposed": pixels.transpose(1, 0, 2),
        "BGR": pixels[..., ::-1],
        "every second": pixels[::2, ::2],
        "read-only": pixels,
    }[view]
    np.testing.assert_array_equal(decode(array).pixels, array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_arrays_are_rounded(dtype: type):
    # Every level comes back from its float, and nothing is cut down to the level below.
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([levels, levels.T, levels[::-1]], axis=-1)
    array = (pixels / 255).astype(dtype)
    before = array.copy()
    np.testing.assert_array_equal(decode(array).pixels, pixels)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("as_float", [False, True])
def test_grey_and_transparent_arrays(as_float: bool):
    def given(array: np.ndarray) -> np.ndarray:
        return (array / 255).astype(np.float32) if as_float else array

    rgba = picture(channels=4)
    grey = rgba[..., 0]
    for array in (grey, grey[..., None]):
        decoded = decode(given(array))
        np.testing.assert_array_equal(decoded.pixels, np.dstack([grey] * 3))
        assert warned(decoded, "grey image")
    np.testing.assert_array_equal(decode(given(rgba)).pixels, rgba[..., :3])
    composited = decode(given(rgba), DecodeOptions(white_background=True)).pixels
    np.testing.assert_allclose(composited, on_white(rgba), atol=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite(bad: float):
    array = np.full((8, 9, 3), 0.5, np.float32)
    array[1, 2, 0] = array[3, 4, 1] = bad
    with pytest.raises(ImageError, match="2 NaN or infinite"):
        decode(array)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0, 1.5), (0, 255), (-1, 1)])
def test_floats_out_of_range(low: float, high: float):
    with pytest.raises(ImageError, match=r"lie in \[0, 1\].*Divide by 255"):
        decode(np.linspace(low, high, 8 * 9 * 3).reshape(8, 9, 3))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, bool, complex])
def test_other_dtypes(dtype: type):
    with pytest.raises(ImageError, match=rf"got {np.dtype(dtype)}.*astype"):
        decode(np.zeros((8, 9, 3), dtype))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((3, 20, 30), "transpose"),
        ((1, 20, 30), "transpose"),
        ((4, 20, 30), "transpose"),
        ((5, 20, 30, 3), "one image at a time"),
        ((1, 20, 30, 3), "one image at a time"),
        ((20, 30, 2), "got shape"),
        ((20,), "got shape"),
        ((), "got shape"),
        ((0, 20, 3), "empty"),
        ((20, 0), "empty"),
    ],
)
def test_other_shapes(shape: tuple[int, ...], hint: str):
    with pytest.raises(ImageError, match=hint):
        decode(np.zeros(shape, np.uint8))


def test_array_likes():
    class Frame:
        def __init__(self, pixels: np.ndarray | None):
            self.pixels = pixels

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            if self.pixels is None:
                raise RuntimeError("call detach first")  # as tensors with a gradient do
            return self.pixels

    for array in (jnp.asarray(picture()), Frame(picture())):
        np.testing.assert_array_equal(decode(array).pixels, picture())
    with pytest.raises(ImageError, match=r"this Frame: call detach first"):
        decode(Frame(None))


# Many at a time, and anything at all.


def test_threads_get_the_same_pixels():
    sources = [encoded_as(form) for form in FORMATS] * 4
    options = DecodeOptions(allow_truncated=True)
    sources += [encoded_as(form)[:-200] for form in CUTTABLE] * 4

    def outcome(source: bytes) -> tuple:
        decoded = decode(source, options)
        return decoded.pixels.tobytes(), decoded.warnings

    alone = [outcome(source) for source in sources]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, sources)) == alone


@pytest.mark.parametrize(
    "warnings_are", ["errors", pytest.param("ignored", marks=pytest.mark.filterwarnings("ignore::Warning"))]
)
@pytest.mark.parametrize("form", ["JPEG", "progressive JPEG", "PNG", "WEBP", "GIF", "TIFF", "LZW TIFF", "AVIF"])
def test_corrupt_bytes_give_an_image_or_an_image_error(form: str, warnings_are: str):
    rng = np.random.default_rng(list(form.encode()))
    encoded = encode(
        picture(24, 32),
        form.rsplit(maxsplit=1)[-1],
        exif=exif_of(6),
        **{k: v for k, v in FORMATS[form].items() if k != "lossless"},
    )
    outcomes = set()
    for _ in range(200):
        corrupt = bytearray(encoded)
        for position in rng.integers(0, len(corrupt), rng.integers(1, 6)):
            corrupt[position] ^= 1 << rng.integers(0, 8)
        if rng.random() < 0.3:
            del corrupt[rng.integers(0, len(corrupt)) :]
        # A small limit, since a flipped bit of the size may ask for gigabytes.
        options = DecodeOptions(True, True, allow_truncated=bool(rng.integers(2)), max_pixels=1_000_000)
        try:
            decoded = decode(corrupt, options)
        except ImageError:
            outcomes.add("refused")
        else:
            outcomes.add("decoded")
            assert decoded.pixels.ndim == 3
    assert "refused" in outcomes
