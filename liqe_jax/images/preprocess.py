"""From an image to the crops that are scored: presets, resizing, choice of crops.

`paper` is what LIQE was tested with (ImageDataset2.py of the reference), `pyiqa` what IQA-PyTorch does instead, `even`
what we recommend for photographs that the first two treat badly, and `whole` the preset of `liqe_nano`.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from liqe_jax.errors import UsageError
from liqe_jax.images.decode import DecodedImage, DecodeOptions, memory_errors_are_of_the_image
from liqe_jax.images.grid import CROP_SIZE, FINE_STRIDE, covered_share, cut, even_corners, every_sth, grid
from liqe_jax.messages import quoted

# Images with both sides at least this are resized to it by their short side (utils.py:155).
SHORT_SIDE = 768

# Crops per image in tests (ImageDataset2.py:84).
CROP_COUNT = 15

# Most crops per image that are scored in one call: 154 MB of pixels, and a hundred times LIQE's fifteen would not
# change a mean. "all" has no such limit.
MOST_CROPS = 1024

# Below this share of either side, the chosen crops do not stand for the image, and the result
# says so. The smallest share on landscape images of the six training sets is 0.79 (LIVE, 768x512).
LEAST_SHARE = 0.6

# An enlarged image's long side stops here: a 10x4000 strip would otherwise become 224x89600.
LONGEST_ENLARGED = 4096


@dataclasses.dataclass(frozen=True)
class Preset:
    """One way to choose crops; make your own with `dataclasses.replace(PRESETS["even"], ...)`.

    Attributes:
      name: as it appears in results.
      resize: shrink large images to a short side of `SHORT_SIDE`.
      stride: of the grid in pixels; None takes the reference's 32 or 48 by size.
      even: spread the crops over both axes instead of taking every s-th of the grid.
      whole: squeeze the whole picture into one square crop, whatever its aspect ratio; `resize`, `stride` and `even`
        then have no effect.
      count: crops per image; None takes the whole grid.
      apply_exif, white_background, raw_previews: see `DecodeOptions`.
    """

    name: str
    resize: bool = True
    stride: int | None = None
    even: bool = False
    whole: bool = False
    count: int | None = CROP_COUNT
    apply_exif: bool = False
    white_background: bool = False
    raw_previews: bool = False

    def __post_init__(self) -> None:
        if self.count is not None and not 1 <= self.count <= MOST_CROPS:
            raise UsageError(
                f"An image needs at least one crop and at most {MOST_CROPS}; got count {quoted(self.count)}. For the "
                'whole grid, which is scored in parts, take "all" (count None).'
            )
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"The grid needs a stride of at least one pixel; got stride {self.stride}.")

    def with_crops(self, crops: int | str | None) -> Preset:
        """The same with at most so many crops, or "all", in its name too ("paper-30"); None changes nothing.

        Raises UsageError for another value.
        """
        if crops is None or crops == self.count:
            return self
        if crops == "all":
            return dataclasses.replace(self, name=f"{self.name}-all", count=None)
        if not isinstance(crops, int) or isinstance(crops, bool):
            raise UsageError(f'crops must be a number from 1, or "all"; got {quoted(crops)}.')
        checked = dataclasses.replace(self, count=crops)  # first, since Python prints no numbers of any length
        return dataclasses.replace(checked, name=f"{self.name}-{crops}")

    def dense(self, image_size: int) -> Preset:
        """The same with every crop of a grid, for maps; crops of over 224 pixels lie a quarter of their side apart."""
        stride = self.stride if image_size <= CROP_SIZE else image_size // 4
        return dataclasses.replace(self, even=False, whole=False, count=None, stride=stride)

    def decode_options(self, allow_truncated: bool = False) -> DecodeOptions:
        """What this preset asks of the decoder."""
        return DecodeOptions(self.apply_exif, self.white_background, allow_truncated, self.raw_previews)


PRESETS = MappingProxyType(
    {
        "paper": Preset("paper"),
        "pyiqa": Preset("pyiqa", resize=False, stride=FINE_STRIDE),
        "even": Preset("even", even=True, apply_exif=True, white_background=True),
        "whole": Preset("whole", whole=True, count=1, apply_exif=True, white_background=True),
    }
)


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """An image after resizing, the (top, left) corners of its crops, and its size as decoded, in pixels."""

    pixels: UInt8[np.ndarray, "H W 3"]
    corners: Int[np.ndarray, "P 2"]
    width: int
    height: int
    crop_size: int
    warnings: tuple[str, ...]

    @memory_errors_are_of_the_image()
    def crops(self) -> UInt8[np.ndarray, "P S S 3"]:
        """The chosen crops, and no others, as a new array; ImageError where the memory does not suffice."""
        return cut(self.pixels, self.corners, self.crop_size)


def resize_short_side(pixels: UInt8[np.ndarray, "H W 3"], short: int = SHORT_SIDE) -> UInt8[np.ndarray, "h w 3"]:
    """Shrinks an image whose sides are both over `short`, with PIL's antialiased bilinear filter.

    The long side is cut down to an integer (torchvision/transforms/functional.py, `_compute_resized_output_size`).
    """
    height, width = pixels.shape[:2]
    if min(height, width) <= short:
        return pixels
    long = int(short * max(height, width) / min(height, width))
    size = (short, long) if width <= height else (long, short)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def enlarge_to_crop(pixels: UInt8[np.ndarray, "H W 3"], crop_size: int = CROP_SIZE) -> UInt8[np.ndarray, "h w 3"]:
    """Enlarges (bicubic) the short side to `crop_size`; the long side stops at `LONGEST_ENLARGED` or its own length."""
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    if short >= crop_size:
        return pixels
    new_long = max(crop_size, min(round(long * crop_size / short), max(long, LONGEST_ENLARGED)))
    size = (crop_size, new_long) if width <= height else (new_long, crop_size)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def squeezed(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """The whole picture as a square, with PIL's antialiased bicubic filter."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


@memory_errors_are_of_the_image()
def prepare(image: DecodedImage, preset: Preset, crop_size: int = CROP_SIZE) -> PreparedImage:
    """Resizes an image that is decoded with `preset.decode_options()`, and chooses its crops.

    `crop_size` is the model's `image_size`, pixels. ImageError where the memory does not suffice.
    """
    height, width = image.pixels.shape[:2]
    warnings = list(image.warnings)
    if preset.whole:
        corner = np.zeros((1, 2), np.int64)
        return PreparedImage(squeezed(image.pixels, crop_size), corner, width, height, crop_size, tuple(warnings))
    resized = resize_short_side(image.pixels) if preset.resize else image.pixels
    pixels = enlarge_to_crop(resized, crop_size)
    h, w = pixels.shape[:2]
    if pixels is not resized:
        warnings.append(f"{width}x{height} is smaller than a {crop_size}-pixel crop: enlarged to {w}x{h}")
    if preset.even and preset.count is not None:
        corners = even_corners(h, w, preset.count, crop_size)
        remedy = "; more crops reach more (--crops)"
    else:
        cells = grid(h, w, preset.stride, crop_size)
        corners = cells.corners(every_sth(cells, preset.count or len(cells)))
        remedy = ", as in the reference; preprocess 'even' spreads them"
    if preset.count is not None:
        if len(corners) < preset.count:
            warnings.append(f"room for only {len(corners)} of {preset.count} crops")
        for share, side in zip(covered_share(corners, h, w, crop_size), ("height", "width"), strict=True):
            if share < LEAST_SHARE:
                warnings.append(f"the crops reach only {share:.0%} of the {side}{remedy}")
    return PreparedImage(pixels, corners, width, height, crop_size, tuple(warnings))
