"""From decoded images to crops: presets, resizing as torchvision does it, what is reported."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from liqe_jax.cli.settings import PRESET_NAMES
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD
from liqe_jax.errors import UsageError
from liqe_jax.images.decode import DecodedImage, decode
from liqe_jax.images.preprocess import (
    PRESETS,
    PreparedImage,
    Preset,
    enlarge_to_crop,
    prepare,
    resize_short_side,
)


def picture(height: int, width: int) -> np.ndarray:
    """Random colours with some detail, uint8 [height, width, 3]."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(8, 248, (40, 40, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    # A grain, lest it be taken for the small picture that it was made of.
    return np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def prepared(height: int, width: int, preset: str | Preset, crop_size: int = 224) -> PreparedImage:
    if isinstance(preset, str):
        preset = PRESETS[preset]
    return prepare(DecodedImage(picture(height, width)), preset, crop_size)


def warned(image: PreparedImage, text: str) -> bool:
    return any(text in warning for warning in image.warnings)


# Shrinking.

SHRUNK = [(768, 769), (769, 768), (769, 769), (1170, 2532), (2532, 1170), (1000, 1333), (800, 1067), (1537, 1536)]


@pytest.mark.parametrize(("height", "width"), SHRUNK)
def test_short_side_becomes_768_as_in_torchvision(height: int, width: int):
    pixels = picture(height, width)
    short, long = min(height, width), max(height, width)
    new_long = int(768 * long / short)  # torchvision cuts the fraction off
    size = (768, new_long) if width <= height else (new_long, 768)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_short_side(pixels), expected)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(2532, 1170, (1662, 768)), (2796, 1290, (1664, 768)), (2400, 1080, (1706, 768)), (3000, 4000, (768, 1024))],
)
def test_shrunk_sizes_by_hand(height: int, width: int, expected: tuple[int, int]):
    assert resize_short_side(np.zeros((height, width, 3), np.uint8)).shape[:2] == expected


@pytest.mark.parametrize(("height", "width"), [(768, 768), (768, 1024), (2000, 768), (767, 4000), (4000, 500), (1, 1)])
def test_only_images_with_both_sides_above_768_are_shrunk(height: int, width: int):
    pixels = np.zeros((height, width, 3), np.uint8)
    assert resize_short_side(pixels) is pixels


def test_pyiqa_never_shrinks():
    assert prepared(900, 1000, "pyiqa").pixels.shape == (900, 1000, 3)
    assert prepared(900, 1000, "paper").pixels.shape == (768, 853, 3)


# Enlarging.


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1, 1, (224, 224)),
        (150, 200, (224, 299)),
        (200, 150, (299, 224)),
        (223, 1000, (224, 1004)),
        (4000, 10, (4096, 224)),  # 89600 long if the aspect ratio were kept
        (10, 4000, (224, 4096)),
        (10, 6000, (224, 6000)),  # longer than the bound already: not stretched, not shrunk
        (1, 300, (224, 4096)),
    ],
)
def test_small_images_are_enlarged_to_a_crop(height: int, width: int, expected: tuple[int, int]):
    assert enlarge_to_crop(picture(height, width)).shape[:2] == expected
    for preset in set(PRESETS) - {"whole"}:
        image = prepared(height, width, preset)
        assert image.pixels.shape[:2] == expected
        assert (image.height, image.width) == (height, width)
        message = f"{width}x{height} is smaller than a 224-pixel crop: enlarged to {expected[1]}x{expected[0]}"
        assert message in image.warnings
        assert image.crops().shape == (len(image.corners), 224, 224, 3)


def test_enlarging_is_bicubic():
    pixels = picture(150, 200)
    expected = np.asarray(Image.fromarray(pixels).resize((299, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(enlarge_to_crop(pixels), expected)


def test_crop_sized_images_are_left_alone():
    pixels = picture(224, 300)
    assert enlarge_to_crop(pixels) is pixels
    assert not warned(prepared(224, 300, "paper"), "enlarged")


# Choice of crops.


@pytest.mark.parametrize(
    ("height", "width", "room"), [(224, 224, 1), (224, 256, 2), (255, 300, 3), (320, 288, 12), (271, 1024, 17)]
)
@pytest.mark.parametrize("preset", ["paper", "pyiqa"])
def test_images_with_room_for_few_crops(height: int, width: int, room: int, preset: str):
    image = prepared(height, width, preset)
    if preset == "pyiqa" and width == 1024:
        room = 52  # 2x26 at a stride of 32
    assert len(image.corners) == min(room, 15)
    assert len(np.unique(image.corners, axis=0)) == len(image.corners)
    assert (f"room for only {room} of 15 crops" in image.warnings) == (room < 15)


@pytest.mark.parametrize(("height", "width"), [(2532, 1170), (2796, 1290), (2400, 1080)])
def test_phone_portraits_are_reported_in_paper_and_cured_by_even(height: int, width: int):
    image = prepared(height, width, "paper")
    assert (image.corners[:, 1] == 0).all()
    assert warned(image, "only 29% of the width")
    assert warned(image, "preprocess 'even'")
    even = prepared(height, width, "even")
    assert len(np.unique(even.corners[:, 1])) >= 3
    assert even.warnings == ()


def test_left_column_in_pyiqa_is_reported():
    image = prepared(675, 1200, "pyiqa")
    assert (image.corners[:, 1] == 0).all()
    assert warned(image, "of the width")
    assert not warned(image, "of the height")


def test_top_rows_only_are_reported():
    # There is room for 29 crops, less than twice fifteen, so the first fifteen are taken.
    image = prepared(224 + 28 * 48, 224, "paper")
    assert warned(image, "of the height")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("height", "width"), [(768, 1024), (384, 512), (512, 768), (500, 500)])
def test_sizes_of_the_training_sets_raise_no_warning(height: int, width: int, preset: str):
    assert prepared(height, width, preset).warnings == ()


def test_paper_takes_three_columns_of_live():
    lefts = np.unique(prepared(512, 768, "paper").corners[:, 1])
    np.testing.assert_array_equal(lefts, [0, 6 * 32, 12 * 32])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("height", "width"), [(384, 512), (900, 1200), (224, 224), (100, 300)])
def test_crops_are_slices_of_the_pixels(height: int, width: int, preset: str):
    image = prepared(height, width, preset)
    crops = image.crops()
    assert crops.dtype == np.uint8
    assert len(crops) == len(image.corners)
    for crop, (top, left) in zip(crops, image.corners, strict=True):
        np.testing.assert_array_equal(crop, image.pixels[top : top + 224, left : left + 224])


def test_crops_are_copies():
    image = prepared(384, 512, "paper")
    before = image.pixels.copy()
    image.crops()[:] = 0
    np.testing.assert_array_equal(image.pixels, before)


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"whole"}))
def test_another_crop_size(preset: str):
    image = prepared(400, 500, preset, crop_size=336)
    assert image.crops().shape == (len(image.corners), 336, 336, 3)
    small = prepared(300, 400, preset, crop_size=336)
    assert small.pixels.shape[:2] == (336, 448)
    assert warned(small, "336-pixel crop")


@pytest.mark.parametrize(("height", "width"), [(50, 70), (400, 500), (224, 224)])
def test_the_whole_image_is_squeezed_into_one_crop(height: int, width: int):
    pixels = picture(height, width)
    image = prepared(height, width, "whole")
    (crop,) = image.crops()
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(crop, pixels if (height, width) == (224, 224) else expected)
    assert (image.height, image.width) == (height, width)
    assert not image.warnings


def test_size_before_resizing_is_kept():
    image = prepared(900, 1200, "paper")
    assert (image.height, image.width) == (900, 1200)
    assert image.pixels.shape == (768, 1024, 3)


def test_decoding_warnings_come_first():
    decoded = DecodedImage(picture(224, 224), ("from the decoder",))
    warnings = prepare(decoded, PRESETS["paper"]).warnings
    assert warnings[0] == "from the decoder"
    assert len(warnings) == 2


# Presets.


def test_presets_are_named_and_read_only():
    assert {name: preset.name for name, preset in PRESETS.items()} == {
        n: n for n in ("paper", "pyiqa", "even", "whole")
    }
    assert tuple(PRESETS) == PRESET_NAMES  # of the command
    with pytest.raises(TypeError):
        PRESETS["paper"] = Preset("paper")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["paper"].count = 3  # type: ignore[misc]


def test_decode_options_of_presets():
    for name in ("paper", "pyiqa"):
        options = PRESETS[name].decode_options()
        assert (options.apply_exif, options.white_background, options.allow_truncated) == (False, False, False)
    options = PRESETS["even"].decode_options(allow_truncated=True)
    assert (options.apply_exif, options.white_background, options.allow_truncated) == (True, True, True)


def test_whole_grid():
    image = prepared(768, 1024, Preset("dense", count=None))
    assert len(image.corners) == 12 * 17
    assert image.warnings == ()


def test_even_says_where_it_does_not_reach():
    """Fifteen crops do not cover a panorama; of an ordinary photograph they reach everything."""
    wide = prepare(DecodedImage(np.zeros((768, 10000, 3), np.uint8)), PRESETS["even"])
    assert any("reach only" in told and "of the width; more crops reach more" in told for told in wide.warnings)
    for height, width in ((768, 1024), (1024, 768), (768, 1366), (1662, 768), (512, 341), (224, 300)):
        assert not prepare(DecodedImage(np.zeros((height, width, 3), np.uint8)), PRESETS["even"]).warnings


def test_whole_grid_of_a_small_image_is_no_event():
    # One crop is all there is, and all was asked for.
    image = prepared(224, 224, Preset("dense", count=None))
    assert len(image.corners) == 1
    assert image.warnings == ()


def test_whole_grid_overrides_even():
    dense = dataclasses.replace(PRESETS["even"], count=None)
    np.testing.assert_array_equal(
        prepared(384, 512, dense).corners, prepared(384, 512, Preset("dense", count=None)).corners
    )


@pytest.mark.parametrize("even", [False, True])
def test_thirty_crops(even: bool):
    image = prepared(768, 1024, Preset("thirty", even=even, count=30))
    assert image.crops().shape == (30, 224, 224, 3)
    assert len(np.unique(image.corners, axis=0)) == 30


def test_custom_stride():
    image = prepared(384, 512, Preset("coarse", stride=100, count=None))
    assert image.corners.tolist() == [[top, left] for top in (0, 100) for left in (0, 100, 200)]


@pytest.mark.parametrize("count", [0, -1])
def test_invalid_count(count: int):
    with pytest.raises(UsageError, match=f"at least one crop and at most 1024; got count {count}"):
        Preset("none", count=count)


@pytest.mark.parametrize("stride", [0, -32])
def test_invalid_stride(stride: int):
    with pytest.raises(UsageError, match=f"got stride {stride}"):
        Preset("still", stride=stride)


# Parity.


@pytest.mark.goldens
def test_prepared_images_match_the_reference(golden, golden_images):
    for name, image in golden("scores_tiny.json")["images"].items():
        for preprocessing, expected in image.items():
            preset = PRESETS[preprocessing]
            ready = prepare(decode(golden_images / name, preset.decode_options()), preset)
            assert ready.pixels.shape == (expected["height"], expected["width"], 3), name
            if "top_left" in expected:
                np.testing.assert_array_equal(ready.corners, expected["top_left"])
            if "resized_uint8_sha256" in expected:
                digest = hashlib.sha256(np.ascontiguousarray(ready.pixels).tobytes()).hexdigest()
                assert digest == expected["resized_uint8_sha256"], name
            if "first_patch_normalized_corner" in expected:
                # The 2x2 pixels at the top left of the first crop, channel by channel.
                corner = (ready.crops()[0, :2, :2] / 255 - np.asarray(PIXEL_MEAN)) / np.asarray(PIXEL_STD)
                figures = expected["first_patch_normalized_corner"]
                np.testing.assert_allclose(corner.transpose(2, 0, 1).ravel(), figures, atol=1e-6)
