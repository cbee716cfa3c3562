"""From an image to the patches that are scored: presets, resizing, choice of patches.

`paper` is what LIQE was tested with (ImageDataset2.py of the reference), `pyiqa` what
IQA-PyTorch does instead, `even` what we recommend for photographs that the first two treat
badly. The first two give the same patches for most landscape images of moderate size.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from liqe_jax.errors import UsageError
from liqe_jax.images.decode import DecodedImage, DecodeOptions
from liqe_jax.images.enough_memory import memory_errors_are_of_the_image
from liqe_jax.images.grid import FINE_STRIDE, PATCH, covered_share, cut, even_corners, every_sth, grid
from liqe_jax.messages import quoted

# Images with both sides at least this are resized to it by their short side (utils.py:155).
SHORT_SIDE = 768

# Patches per image in tests (ImageDataset2.py:84).
PATCH_COUNT = 15

# Most patches per image that are scored in one call: 154 MB of pixels, and a hundred times LIQE's fifteen would not
# change a mean. "all" has no such limit.
MOST_PATCHES = 1024

# Below this share of either side, the chosen patches do not stand for the image, and the result
# says so. The smallest share on landscape images of the six training sets is 0.79 (LIVE, 768x512).
LEAST_SHARE = 0.6

# An enlarged image's long side stops here: a 10x4000 strip would otherwise become 224x89600.
LONGEST_ENLARGED = 4096


@dataclasses.dataclass(frozen=True)
class Preset:
    """One way to choose patches; make your own with `dataclasses.replace(PRESETS["even"], ...)`.

    Attributes:
      name: as it appears in results.
      resize: shrink large images to a short side of `SHORT_SIDE`.
      stride: of the grid in pixels; None takes the reference's 32 or 48 by size.
      even: spread the patches over both axes instead of taking every s-th of the grid.
      whole: squeeze the whole picture into one square crop, whatever its aspect ratio; `resize`, `stride` and `even`
        then have no effect.
      count: patches per image; None takes the whole grid.
      apply_exif, white_background: see `DecodeOptions`.
    """

    name: str
    resize: bool = True
    stride: int | None = None
    even: bool = False
    whole: bool = False
    count: int | None = PATCH_COUNT
    apply_exif: bool = False
    white_background: bool = False

    def __post_init__(self) -> None:
        if self.count is not None:
            _check_count(self.count)
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"The grid needs a stride of at least one pixel; got stride {self.stride}.")

    def with_patches(self, patches: int | str | None) -> Preset:
        """The same with another number of patches, which its name then tells: "paper-30", "even-all".

        Args:
          patches: at most so many per image, or "all" of the grid; None changes nothing.

        Raises:
          UsageError: it is no such number.
        """
        if patches is None or patches == self.count:
            return self
        if patches == "all":
            return dataclasses.replace(self, name=f"{self.name}-all", count=None)
        if not isinstance(patches, int) or isinstance(patches, bool):
            raise UsageError(f'patches must be a number from 1, or "all"; got {quoted(patches)}.')
        _check_count(patches)
        return dataclasses.replace(self, name=f"{self.name}-{patches}", count=patches)

    def dense(self, image_size: int) -> Preset:
        """The same with every crop of a grid, for maps; the reference's stride for crops of 224 pixels.

        Args:
          image_size: side of a crop, pixels. Larger crops lie a quarter of their side apart.
        """
        stride = self.stride if image_size <= PATCH else image_size // 4
        return dataclasses.replace(self, even=False, whole=False, count=None, stride=stride)

    def decode_options(self, allow_truncated: bool = False) -> DecodeOptions:
        """What this preset asks of the decoder."""
        return DecodeOptions(self.apply_exif, self.white_background, allow_truncated)


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_PATCHES:
        raise UsageError(
            f"An image needs at least one patch and at most {MOST_PATCHES}; got count {quoted(count)}. For the whole "
            'grid, which is scored in parts, take "all" (count None).'
        )


PRESETS = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("paper"),
            Preset("pyiqa", resize=False, stride=FINE_STRIDE),
            Preset("even", even=True, apply_exif=True, white_background=True),
            Preset("whole", whole=True, count=1, apply_exif=True, white_background=True),
        )
    }
)


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """An image after resizing, and the patches chosen from it.

    Attributes:
      pixels: what the patches are cut from.
      corners: (top, left) of each patch.
      width, height: of the image as decoded, before resizing, in pixels.
      warnings: everything the reader of the score should know.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    corners: Int[np.ndarray, "P 2"]
    width: int
    height: int
    patch: int
    warnings: tuple[str, ...]

    @memory_errors_are_of_the_image()
    def crops(self) -> UInt8[np.ndarray, "P S S 3"]:
        """The chosen crops, and no others, as a new array.

        Raises:
          ImageError: the memory does not suffice for them.
        """
        return cut(self.pixels, self.corners, self.patch)


def resize_short_side(pixels: UInt8[np.ndarray, "H W 3"], short: int = SHORT_SIDE) -> UInt8[np.ndarray, "h w 3"]:
    """Shrinks an image whose sides are both at least `short`; returns others as they are.

    PIL's antialiased bilinear filter, and torchvision's rounding: the long side is cut down to
    an integer (torchvision/transforms/functional.py, `_compute_resized_output_size`).
    """
    height, width = pixels.shape[:2]
    if min(height, width) < short or min(height, width) == short:
        return pixels
    long = int(short * max(height, width) / min(height, width))
    size = (short, long) if width <= height else (long, short)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def enlarge_to_patch(pixels: UInt8[np.ndarray, "H W 3"], patch: int = PATCH) -> UInt8[np.ndarray, "h w 3"]:
    """Enlarges (bicubic) an image with a side under `patch` so that the short side equals it.

    The aspect ratio is kept as long as the long side stays within `LONGEST_ENLARGED`, or
    within what it was.
    """
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    if short >= patch:
        return pixels
    new_long = max(patch, min(round(long * patch / short), max(long, LONGEST_ENLARGED)))
    size = (patch, new_long) if width <= height else (new_long, patch)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def squeezed(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """The whole picture as a square, with PIL's antialiased bicubic filter."""
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


@memory_errors_are_of_the_image()
def prepare(image: DecodedImage, preset: Preset, patch: int = PATCH) -> PreparedImage:
    """Resizes an image and chooses its patches.

    Args:
      image: decoded with `preset.decode_options()`.
      preset: how to.
      patch: side of a patch in pixels, the model's `image_size`.

    Raises:
      ImageError: the memory does not suffice for this image.
    """
    height, width = image.pixels.shape[:2]
    warnings = list(image.warnings)
    pixels = image.pixels
    if preset.whole:
        corner = np.zeros((1, 2), np.int64)
        return PreparedImage(squeezed(pixels, patch), corner, width, height, patch, tuple(warnings))
    pixels = resize_short_side(pixels) if preset.resize else pixels
    if min(pixels.shape[:2]) < patch:
        pixels = enlarge_to_patch(pixels, patch)
        warnings.append(
            f"{width}x{height} is smaller than a {patch}-pixel patch: enlarged to {pixels.shape[1]}x{pixels.shape[0]}"
        )
    h, w = pixels.shape[:2]
    if preset.even and preset.count is not None:
        corners = even_corners(h, w, preset.count, patch)
        warnings += _reach_warnings(corners, h, w, patch, "; more patches reach more (--patches)")
    else:
        cells = grid(h, w, preset.stride, patch)
        corners = cells.corners(every_sth(cells, preset.count or len(cells)))
        if preset.count is not None:
            warnings += _coverage_warnings(corners, h, w, preset.count, patch)
    return PreparedImage(pixels, corners, width, height, patch, tuple(warnings))


def _coverage_warnings(corners: np.ndarray, height: int, width: int, count: int, patch: int) -> list[str]:
    warnings = []
    if len(corners) < count:
        warnings.append(f"room for only {len(corners)} of {count} patches")
    remedy = ", as in the reference; preprocess 'even' spreads them"
    return warnings + _reach_warnings(corners, height, width, patch, remedy)


def _reach_warnings(corners: np.ndarray, height: int, width: int, patch: int, remedy: str) -> list[str]:
    down, across = covered_share(corners, height, width, patch)
    return [
        f"the patches reach only {share:.0%} of the {side}{remedy}"
        for share, side in ((down, "height"), (across, "width"))
        if share < LEAST_SHARE
    ]
