"""Damaged views of one pristine photograph, and crops of them with their labels.

`varied_views`: a photograph at a random scale, damaged by one of KADID-10k's types at any strength between the
levels 1 and 5, in our make or in another (`variants`), now and then by two or three types at once or none; some
are shrunk afterwards. `table_views`: every type at every whole level as KADID-10k has them, in our make.
`pair_views`: the same in our make or another, of photographs some of which are enlarged first, and two crops side
by side of each, for training with the mean of several patches, as LIQE's is. `resized_views`: pairs of pictures that
were enlarged after the damage, as many on the web are. `whole_views`: six crops all over a photograph, some of which
may show nothing but sky.
Any of them takes other `looks` of the photograph, if it is told to, for training on few photographs, and stores most
pictures as photographs are (`stored`), instead of a quarter as a JPEG.
Opinion scores are the means of KADID-10k's for the type and level (`opinion`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pictures

from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.compression import to_bytes
from liqe_jax.synthetic.implementations import distort_otherwise as variant
from liqe_jax.synthetic.looks import look
from liqe_jax.synthetic.mos import LEVELS
from liqe_jax.synthetic.mos import mean_mos as mean_opinion
from liqe_jax.synthetic.stored import as_jpeg, stored

SIDE = 224  # pixels of a crop
PER_SCENE = 2  # crops of every damaged view

# Views are a little larger than a crop; KADID-10k's 512x384 would take twice the time. Types that put a
# number of things somewhere into the picture need the whole of it.
VIEW, WHOLE_VIEW, PAIR_VIEW = (288, 352), (384, 512), (288, 480)
WHOLE_KINDS = (20, 23)

# Short sides that photographs are shrunk to, pixels, log-uniform. The scorer shrinks to 768 itself.
SMALLEST, LARGEST = 232, 1024

# How far photographs are enlarged for pairs. Many are no larger than a screen, and users' are often enlarged before
# they are scored; the scorer shrinks to a short side of 768, so that of a larger factor little would be left.
ENLARGED = 1.5

# Share of damaged views that are shrunk afterwards, down to SHRUNK of their size, as scorers and people
# do with large photographs. What has a size in pixels fades with it (share of the distance from pristine
# that is left: the factor); tones and colours stay.
SHRUNK_SHARE, SHRUNK = 0.15, 0.55
FADING_KINDS = (1, 2, 3, 5, 9, 10, 11, 12, 13, 14, 15, 19, 21, 24)

# Share of damage that is of another make: of varied views, and of pairs.
VARIANT_SHARE, PAIR_VARIANT_SHARE = 0.45, 0.5

# Of the table: undamaged crops beside its 125 cells, more of them among pairs, and crops of one scale, since shrinking
# takes longest.
PRISTINE_CELLS, PAIR_PRISTINE_CELLS, PER_SCALE = 15, 25, 20

# With looks: crops of one look, and how far the longer side is squeezed besides.
PER_LOOK, SQUEEZED = 10, 0.8

# How far damaged pictures are enlarged afterwards, log-uniform: the scorer makes 1152x768 of one of 512x341 that
# somebody enlarged. Opinions stay, since people see the same picture. At the last level it may be more, since what is
# worse than it is not better.
ENLARGED_AFTER, WORST_ENLARGED_AFTER = 2.25, 5.0

# Share of pictures that are stored as a JPEG, and its qualities from and to.
FINISHED_SHARE, FINISHED_JPEG = 0.25, (88, 97)

PAIR = 2  # crops of every view of `pair_views`

# Of `whole_views`: crops in rows and columns (of a photograph in landscape), the longest short side, pixels, how far a
# crop may lie from its place in the grid, and how many of the cells a photograph goes through.
WHOLE_GRID, WHOLE_LARGEST, WHOLE_SHIFT, WHOLE_CELLS = (2, 3), 560, 24, 40
WHOLE = WHOLE_GRID[0] * WHOLE_GRID[1]

# What KADID-10k's observers gave to images that a type leaves as they are (18 at level 3, 1 at level 1).
PRISTINE = 4.61

# Views a round, beside one for each type: undamaged, and damaged by two or three types.
PRISTINE_ROUNDS, PAIR_ROUNDS, TRIPLE_ROUNDS = 5, 3, 1


class Extras(NamedTuple):
    """What happens to a photograph besides the damage.

    Attributes:
      looks: before it, another look.
      stored: after it, mostly stored well in one of several ways, instead of a quarter of the time as a good JPEG.
    """

    looks: bool = False
    stored: bool = False


PLAIN = Extras()


class Crops(NamedTuple):
    """What one view gives: pixels, and the label that its crops share."""

    pixels: UInt8[np.ndarray, "N S S 3"]
    opinion: float
    raw_distortion: str
    kind: str


def views_of(rounds: int) -> list[tuple[int, ...]]:
    """The types that a photograph goes through: () for none, 0 for a random one."""
    several: list[tuple[int, ...]] = [()] * PRISTINE_ROUNDS + [(0, 0)] * PAIR_ROUNDS + [(0, 0, 0)] * TRIPLE_ROUNDS
    single: list[tuple[int, ...]] = [(kind,) for kind in KINDS]
    return (single + several) * rounds


def varied_views(photo: Pictures.Image, rounds: int, seed: tuple[int, ...], extras: Extras = PLAIN) -> list[Crops]:
    """One view for each of `views_of(rounds)`."""
    return [make_view(photo, kinds, (*seed, turn), extras) for turn, kinds in enumerate(views_of(rounds))]


def table_views(photo: Pictures.Image, rounds: int, seed: tuple[int, ...], extras: Extras = PLAIN) -> list[Crops]:
    """A crop for each of `cells_of(rounds)`, in an order and at scales of their own.

    Args:
      photo: RGB, both sides at least `SMALLEST`.
      rounds: how often everything comes.
      seed: of everything random.
      extras: what happens besides.
    """

    def cut(scaled: Pictures.Image, kind: int, level: int, rng: np.random.Generator) -> np.ndarray:
        view = _window(scaled, WHOLE_VIEW if kind in WHOLE_KINDS else VIEW, rng)
        if kind:
            view = distort(view, kind, level, int(rng.integers(2**31)))
        pixels = to_bytes(view)
        return _crop(stored(pixels, rng) if extras.stored else pixels, rng)[None]

    return _of_table(photo, cells_of(rounds), seed, (SMALLEST, min(LARGEST, *photo.size)), cut, extras.looks)


def pair_views(photo: Pictures.Image, rounds: int, seed: tuple[int, ...], extras: Extras = PLAIN) -> list[Crops]:
    """Two crops for each of `pair_cells_of(rounds)`, side by side as far as the photograph has room.

    Args:
      photo: RGB, both sides at least `SMALLEST`.
      rounds: how often everything comes.
      seed: of everything random.
      extras: what happens besides.
    """
    return _pairs(photo, rounds, seed, extras, lambda pixels, level, rng: pixels)


def resized_views(photo: Pictures.Image, rounds: int, seed: tuple[int, ...], extras: Extras = PLAIN) -> list[Crops]:
    """The same, enlarged after the damage, undamaged ones not."""

    def enlarged(pixels: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
        factor = np.exp(rng.uniform(0, np.log(WORST_ENLARGED_AFTER if level == LEVELS[-1] else ENLARGED_AFTER)))
        filters = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
        return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=filters[rng.integers(3)])

    return _pairs(photo, rounds, seed, extras, enlarged)


def whole_views(photo: Pictures.Image, rounds: int, seed: tuple[int, ...], extras: Extras = PLAIN) -> list[Crops]:
    """`WHOLE` crops of the whole photograph, evenly over it, for some of `pair_cells_of(rounds)`.

    For training with the mean over a photograph as it is scored, where many crops may show nothing but sky.

    Args:
      photo: RGB, both sides at least `SMALLEST`.
      rounds: for how many times `WHOLE_CELLS` of them.
      seed: of everything random.
      extras: what happens besides.
    """

    def cut(scaled: Pictures.Image, kind: int, level: int, rng: np.random.Generator) -> np.ndarray:
        view = np.asarray(scaled).astype(np.float32) / 255
        if kind:
            view = _damaged(view, kind, level, rng)
        return _spread(_finished(to_bytes(view), rng, extras), rng)

    scales = SMALLEST, min(WHOLE_LARGEST, *photo.size)
    return _of_table(photo, pair_cells_of(rounds), seed, scales, cut, extras.looks, whole_count(rounds))


def _pairs(
    photo: Pictures.Image,
    rounds: int,
    seed: tuple[int, ...],
    extras: Extras,
    after: Callable[[UInt8[np.ndarray, "H W 3"], int, np.random.Generator], UInt8[np.ndarray, "h w 3"]],
) -> list[Crops]:
    def cut(scaled: Pictures.Image, kind: int, level: int, rng: np.random.Generator) -> np.ndarray:
        size = WHOLE_VIEW if kind in WHOLE_KINDS else PAIR_VIEW
        view = _window(scaled, size if scaled.width >= scaled.height else size[::-1], rng)
        if kind:
            view = _damaged(view, kind, level, rng)
        pixels = to_bytes(view)
        return _pair(_finished(after(pixels, level, rng) if kind else pixels, rng, extras), rng)

    short, long = sorted(photo.size)
    smallest = min(short, max(SMALLEST, round(PAIR * SIDE * short / long)))  # room for both
    scales = smallest, min(LARGEST, round(ENLARGED * short))
    return _of_table(photo, pair_cells_of(rounds), seed, scales, cut, extras.looks)


def _damaged(view: np.ndarray, kind: int, level: int, rng: np.random.Generator) -> np.ndarray:
    make = variant if rng.random() < PAIR_VARIANT_SHARE else distort
    return make(view, kind, level, int(rng.integers(2**31)))


# (photograph at its scale, kind, level, generator) -> crops of one view.
_Cut = Callable[[Pictures.Image, int, int, np.random.Generator], UInt8[np.ndarray, "N S S 3"]]


def _of_table(
    photo: Pictures.Image,
    cells: list[tuple[int, int]],
    seed: tuple[int, ...],
    scales: tuple[int, int],
    cut: _Cut,
    looks: bool,
    count: int | None = None,
) -> list[Crops]:
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    views = []
    for turn, cell in enumerate(rng.permutation(len(cells))[:count]):
        if turn % (PER_LOOK if looks else PER_SCALE) == 0:
            scaled = _scaled(photo, scales, rng, looks)
        kind, level = cells[cell]
        pixels = cut(scaled, kind, level, rng)
        opinion = mean_opinion(kind, level)[0] if kind else PRISTINE
        views.append(Crops(pixels, opinion, *((KINDS[kind].raw_label, str(kind)) if kind else ("", "pristine"))))
    return views


def cells_of(rounds: int) -> list[tuple[int, int]]:
    """Types and levels of KADID-10k's table, and (0, 0) for none."""
    return _cells(PRISTINE_CELLS) * rounds


def pair_cells_of(rounds: int) -> list[tuple[int, int]]:
    """The same for pairs."""
    return _cells(PAIR_PRISTINE_CELLS) * rounds


def whole_count(rounds: int) -> int:
    """How many of these `whole_views` takes."""
    return min(WHOLE_CELLS * rounds, len(pair_cells_of(rounds)))


def _cells(pristine: int) -> list[tuple[int, int]]:
    return [(kind, level) for kind in KINDS for level in LEVELS] + [(0, 0)] * pristine


def make_view(photo: Pictures.Image, kinds: tuple[int, ...], seed: tuple[int, ...], extras: Extras = PLAIN) -> Crops:
    """Crops of one damaged view.

    Args:
      photo: RGB, both sides at least `SMALLEST`.
      kinds: numbers of types, in the order they come; 0 stands for a random one.
      seed: of everything random.
      extras: what happens besides.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    chosen = [kind or int(rng.integers(1, len(KINDS) + 1)) for kind in kinds]
    scaled = _scaled(photo, (SMALLEST, min(LARGEST, *photo.size)), rng, extras.looks)
    view = _window(scaled, WHOLE_VIEW if set(chosen) & set(WHOLE_KINDS) else VIEW, rng)
    factor = float(rng.uniform(SHRUNK, 1)) if chosen and rng.random() < SHRUNK_SHARE else 1.0
    factor = max(factor, SIDE / min(view.shape[:2]))
    opinion = PRISTINE
    for kind in chosen:
        # Whole levels as in KADID-10k, and everything between.
        level = float(rng.integers(1, 6)) if rng.random() < 0.4 else float(rng.uniform(1, 5))
        make = variant if rng.random() < VARIANT_SHARE else distort
        view = make(view, kind, level, int(rng.integers(2**31)))
        lost = (PRISTINE - mean_opinion(kind, level)[0]) * (factor if kind in FADING_KINDS else 1)
        # Several at once: what each leaves of the others' distance from the worst.
        opinion = 1 + (opinion - 1) * (1 - lost / (PRISTINE - 1))
    pixels = to_bytes(view)
    if factor < 1:
        size = [round(side * factor) for side in pixels.shape[1::-1]]
        pixels = np.asarray(Pictures.fromarray(pixels).resize((size[0], size[1]), Pictures.Resampling.BILINEAR))
    pixels = _finished(pixels, rng, extras)
    crops = np.stack([_crop(pixels, rng) for _ in range(PER_SCENE)])
    raw = KINDS[chosen[0]].raw_label if len(chosen) == 1 else ""
    name = "+".join(str(kind) for kind in chosen) or "pristine"
    return Crops(crops, opinion, raw, name)


def _scaled(
    photo: Pictures.Image, scales: tuple[int, int], rng: np.random.Generator, looks: bool = False
) -> Pictures.Image:
    """With a short side between two, log-uniform."""
    squeezed = 1.0
    if looks:
        photo, squeezed = look(photo, rng), float(np.exp(rng.uniform(np.log(SQUEEZED), 0)))
    short, long, (least, most) = min(photo.size), max(photo.size), scales
    target = round(np.exp(rng.uniform(np.log(least), np.log(max(least, most)))))
    filters = (Pictures.Resampling.LANCZOS, Pictures.Resampling.BICUBIC, Pictures.Resampling.BILINEAR)
    if target != short or squeezed != 1:
        size = target, max(target, round(squeezed * long * target / short))
        photo = photo.resize(size if photo.width == short else size[::-1], filters[rng.integers(3)])
    return photo


def _window(photo: Pictures.Image, largest: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    width, height = photo.size
    h, w = min(largest[0], height), min(largest[1], width)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return np.asarray(photo.crop((left, top, left + w, top + h))).astype(np.float32) / 255


def _finished(pixels: np.ndarray, rng: np.random.Generator, extras: Extras) -> np.ndarray:
    """Sometimes stored as a JPEG of a quality that nobody sees, as most photographs are; or in many ways."""
    if extras.stored:
        return stored(pixels, rng)
    return as_jpeg(pixels, rng, FINISHED_JPEG) if rng.random() < FINISHED_SHARE else pixels


def _crop(pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "S S 3"]:
    """Half of them on JPEG's grid, where the patches of the presets `paper` and `pyiqa` are."""
    step = 8 if rng.random() < 0.5 else 1
    top, left = (int(rng.integers((side - SIDE) // step + 1)) * step for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def _pair(pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "2 S S 3"]:
    """A crop of each half, the upper and the lower or the left and the right; halves too small for one overlap."""
    axis = 1 if pixels.shape[1] >= pixels.shape[0] else 0
    length = pixels.shape[axis]
    half = max(SIDE, length // 2)
    start = (length - half) // 8 * 8  # JPEG's grid goes on
    halves = (pixels[:, :half], pixels[:, start:]) if axis else (pixels[:half], pixels[start:])
    return np.stack([_crop(part, rng) for part in halves])


def _spread(pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "N S S 3"]:
    """Crops in a grid from edge to edge, each a little beside its place."""
    height, width = pixels.shape[:2]
    rows, columns = WHOLE_GRID if width >= height else WHOLE_GRID[::-1]
    crops = []
    for y in np.linspace(0, height - SIDE, rows):
        for x in np.linspace(0, width - SIDE, columns):
            top, left = (
                int(np.clip(round(place + rng.uniform(-WHOLE_SHIFT, WHOLE_SHIFT)), 0, side - SIDE))
                for place, side in ((y, height), (x, width))
            )
            crops.append(pixels[top : top + SIDE, left : left + SIDE])
    return np.stack(crops)
