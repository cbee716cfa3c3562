"""Where the crops of an image are: the reference's grid, and an even one.

Corners are (top, left) in pixels. The reference cuts a grid in row order and keeps every s-th crop (it says patch),
s = N // 15 (zwx8981/LIQE, ImageDataset2.py:75-89).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int

CROP_SIZE = 224  # pixels; CLIP's input and the reference's crop

# The grid is coarser where a side has 1024 pixels or more (ImageDataset2.py:75-78).
FINE_STRIDE = 32
COARSE_STRIDE = 48
COARSE_FROM = 1024


@dataclasses.dataclass(frozen=True)
class Grid:
    """Crop positions at multiples of `stride`, `rows` x `cols` of them, in row order."""

    rows: int
    cols: int
    stride: int

    def __len__(self) -> int:
        return self.rows * self.cols

    def corners(self, indices: Int[np.ndarray, " P"]) -> Int[np.ndarray, "P 2"]:
        """(top, left) of the crops with these indices."""
        return np.stack(np.divmod(indices, self.cols), axis=-1) * self.stride


def grid(height: int, width: int, stride: int | None = None, crop_size: int = CROP_SIZE) -> Grid:
    """The grid of an image whose sides are at least `crop_size`; `stride` None takes the reference's."""
    if stride is None:
        stride = COARSE_STRIDE if max(height, width) >= COARSE_FROM else FINE_STRIDE
    return Grid((height - crop_size) // stride + 1, (width - crop_size) // stride + 1, stride)


def every_sth(grid: Grid, count: int) -> Int[np.ndarray, " P"]:
    """Indices 0, s, 2s, ... with s = N // count: at most `count`, all of them where N < count.

    If s is a multiple of the number of columns, every crop lies in the left column, as in the reference.
    """
    step = max(len(grid) // count, 1)
    return np.arange(min(count, len(grid))) * step


def even_corners(height: int, width: int, count: int, crop_size: int = CROP_SIZE) -> Int[np.ndarray, "P 2"]:
    """Exactly `count` corners spread over both axes, the first row flush with the top and the last with the bottom.

    The number of rows is the one that makes vertical and horizontal spacing most alike; where `count` does not divide
    by it, the upper rows hold one crop more. Four crops and more reach every corner of the image.
    Corners coincide where there is no room for different ones.
    """
    free_y, free_x = height - crop_size, width - crop_size

    def spacing_gap(rows: int) -> float:
        y_step = free_y / max(rows - 1, 1)
        x_step = free_x / max(count / rows - 1, 1)
        return abs(y_step - x_step)

    if free_y == 0:
        rows = 1
    elif free_x == 0:
        rows = count
    else:  # at least two rows and two columns, if there are crops for them
        rows = min(range(2, count // 2 + 1) if count >= 4 else range(1, count + 1), key=spacing_gap)
    sizes = [count // rows + (row < count % rows) for row in range(rows)]
    tops = np.linspace(0, free_y, rows) if rows > 1 else np.array([free_y / 2])
    corners = []
    for top, size in zip(tops, sizes, strict=True):
        lefts = np.linspace(0, free_x, size) if size > 1 else np.array([free_x / 2])
        corners += [(top, left) for left in lefts]
    return np.rint(corners).astype(np.int64)


def covered_share(
    corners: Int[np.ndarray, "P 2"], height: int, width: int, crop_size: int = CROP_SIZE
) -> tuple[float, float]:
    """Shares of the height and of the width that the crops reach, each in (0, 1]."""
    starts = (np.unique(axis) for axis in corners.T)
    rows, columns = (int(np.minimum(np.diff(tops), crop_size).sum()) + crop_size for tops in starts)
    return rows / height, columns / width


def cut(image: np.ndarray, corners: Int[np.ndarray, "P 2"], crop_size: int = CROP_SIZE) -> np.ndarray:
    """The crops at `corners` of an image [H, W, 3], as [P, crop_size, crop_size, 3]; nothing else is copied."""
    return np.stack([image[top : top + crop_size, left : left + crop_size] for top, left in corners])
