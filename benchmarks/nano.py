"""How `liqe_nano` does on photographs that it was not trained on.

    python benchmarks/nano.py photos/test [--limit 8] [--sections synthetic other jpeg webp sizes edits good]

PHOTOS is a folder of pristine photographs (`python tools/photographs.py --out photos` makes photos/test). Sections:

- synthetic: KADID-10k's 25 types at 5 levels by this package; other: by FFmpeg, scikit-image, SciPy and Pillow
  (pip install '.[benchmarks]'); jpeg and webp: by this package, then encoded with quality 90. SRCC is with KADID-10k's
  mean MOS of the type and level, which knows nothing of the photograph. P is the share of pairs of images whose MOS
  differ by more than 1 that have the right order. Types whose category is least often
  right are listed.
- sizes: the same photograph at longest sides of 512, 1024, 2048 and 4000 pixels.
- edits: a photograph against a worse edit of it, such as strong blur, heavy JPEG, or one half out of focus.
- good: how many of the photographs score above 4.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent.parent))

import liqe_jax
from liqe_jax.compare.ranktest import p_test
from liqe_jax.errors import ImageError
from liqe_jax.synthetic import KINDS, LEVELS, distort
from liqe_jax.synthetic.mos import mean_mos

SIDES = (512, 1024, 2048, 4000)

# Types whose accuracy is printed.
HARDEST = 5


class Picture(NamedTuple):
    """A distorted picture and what is known of it."""

    pixels: np.ndarray
    mos: float
    kind: int


def shrunk(photo: Image.Image, side: int) -> Image.Image:
    """A photograph with a longest side of `side` pixels; smaller ones stay as they are."""
    photo = photo.copy()
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    return photo


def encoded(pixels: np.ndarray, form: str, quality: int) -> np.ndarray:
    """Pixels after lossy compression."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Values in 0..1 as uint8."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def distorted(photos: list[Image.Image], section: str) -> Iterator[Picture]:
    """All types and levels of every photograph, as far as the section has them."""
    make: Callable = distort
    kinds = list(KINDS)
    if section == "other":
        from benchmarks.other_implementations import OTHER_IMPLEMENTATIONS, other_distort

        make, kinds = other_distort, list(OTHER_IMPLEMENTATIONS)
    for number, photo in enumerate(photos):
        image = np.asarray(shrunk(photo, 512)).astype(np.float32) / 255
        for kind in kinds:
            for level in LEVELS:
                try:
                    pixels = to_bytes(make(image, kind, level, number))
                except ImageError:  # no setting of the library is as strong as this level
                    continue
                if section in ("jpeg", "webp"):
                    pixels = encoded(pixels, section, 90)
                yield Picture(pixels, mean_mos(kind, level)[0], kind)


class Figures(NamedTuple):
    """How well scores agree with the MOS on one section's images; `category` is the accuracy of the category."""

    images: int
    srcc: float
    category: float
    p: float
    category_of_kinds: dict[int, float]


def measure_distortions(model: liqe_jax.Model, photos: list[Image.Image], section: str) -> Figures:
    """SRCC, accuracy of the category and P of one section."""
    facts: list[tuple[float, int]] = []

    def pixels() -> Iterator[np.ndarray]:
        for picture in distorted(photos, section):
            facts.append((picture.mos, picture.kind))
            yield picture.pixels

    scores = list(model.score_many(pixels()))
    quality = np.asarray([score.quality for score in scores])
    mos = np.asarray([fact[0] for fact in facts])
    kinds = np.asarray([fact[1] for fact in facts])
    right = np.asarray([score.distortion == KINDS[kind].category for score, kind in zip(scores, kinds, strict=True)])
    of_kinds = {int(kind): right[kinds == kind].mean() for kind in np.unique(kinds)}
    return Figures(
        len(mos), spearmanr(mos, quality).statistic, right.mean(), p_test(quality, mos).consistency, of_kinds
    )


def measure_sizes(model: liqe_jax.Model, photos: list[Image.Image]) -> str:
    """How much a score depends on the size of the photograph."""
    large = [photo for photo in photos if max(photo.size) >= SIDES[1]]
    quality = np.asarray([[model.score(np.asarray(shrunk(photo, side))).quality for side in SIDES] for photo in large])
    orders = [spearmanr(quality[:, 0], quality[:, k]).statistic for k in range(1, len(SIDES))]
    means = ", ".join(f"{side}: {mean:.2f}" for side, mean in zip(SIDES, quality.mean(0), strict=True))
    return (
        f"sizes: {len(large)} photographs, mean score {means}; mean range {np.ptp(quality, axis=1).mean():.3f}; "
        f"SRCC of the order with that at {SIDES[0]}: {', '.join(f'{order:.3f}' for order in orders)}"
    )


def edits_of(image: np.ndarray) -> dict[str, np.ndarray]:
    """Worse versions of a photograph, by name."""
    blurred = cv2.GaussianBlur(image, (0, 0), 3)
    half = image.copy()
    half[:, : image.shape[1] // 2] = blurred[:, : image.shape[1] // 2]
    rng = np.random.default_rng(0)
    return {
        "blur": blurred,
        "half out of focus": half,
        "JPEG 10": encoded(to_bytes(image), "jpeg", 10).astype(np.float32) / 255,
        "noise": image + rng.normal(0, 0.1, image.shape).astype(np.float32),
        "dark": image * 0.25,
        "bright": np.clip(image * 1.8 + 0.15, 0, 1),
    }


def measure_edits(model: liqe_jax.Model, photos: list[Image.Image]) -> dict[str, list[float]]:
    """By how much each edit lowers the score of each photograph."""
    drops: dict[str, list[float]] = {}
    for photo in photos:
        image = np.asarray(shrunk(photo, 1024)).astype(np.float32) / 255
        before = model.score(to_bytes(image)).quality
        for name, edit in edits_of(image).items():
            drops.setdefault(name, []).append(before - model.score(to_bytes(edit)).quality)
    return drops


def line_of_edits(model: liqe_jax.Model, photos: list[Image.Image]) -> str:
    """In how many photographs each edit scores lower, in how many of them by 0.3, and by how much on the average."""
    drops = measure_edits(model, photos)
    noise = model.score(np.random.default_rng(0).integers(0, 256, (384, 512, 3), np.uint8)).quality
    black = model.score(np.zeros((384, 512, 3), np.uint8)).quality
    lines = [
        f"{name} {sum(d > 0 for d in drop)}/{len(drop)} ({sum(d >= 0.3 for d in drop)} by 0.3; {-np.mean(drop):+.2f})"
        for name, drop in drops.items()
    ]
    return f"edits: {', '.join(lines)}; noise alone {noise:.2f}, black {black:.2f}"


def line_of_good(model: liqe_jax.Model, photos: list[Image.Image]) -> str:
    """How many photographs score above 4."""
    quality = np.asarray([score.quality for score in model.score_many(np.asarray(photo) for photo in photos)])
    return f"good: {int((quality > 4).sum())} of {len(quality)} photographs above 4, mean {quality.mean():.2f}"


def line_of_distortions(model: liqe_jax.Model, photos: list[Image.Image], section: str) -> str:
    """The figures of one section."""
    found = measure_distortions(model, photos, section)
    hardest = sorted(found.category_of_kinds.items(), key=lambda item: item[1])[:HARDEST]
    return (
        f"{section}: {len(photos)} photographs, {found.images} images, SRCC {found.srcc:.3f}, "
        f"category {found.category:.3f}, P {found.p:.3f}; category is least often right for "
        + ", ".join(f"{KINDS[kind].name} ({accuracy:.2f})" for kind, accuracy in hardest)
    )


def main() -> None:
    """Prints a line per section."""
    sections = ("synthetic", "other", "jpeg", "webp", "sizes", "edits", "good")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--limit", type=int, help="photographs of each section")
    parser.add_argument("--sections", nargs="+", choices=sections, default=list(sections))
    options = parser.parse_args()
    files = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = [Image.open(path).convert("RGB") for path in files[: options.limit]]
    model = liqe_jax.load(options.model)
    for section in options.sections:
        special = {"sizes": measure_sizes, "edits": line_of_edits, "good": line_of_good}
        measured = (
            special[section](model, photos) if section in special else line_of_distortions(model, photos, section)
        )
        print(measured, flush=True)


if __name__ == "__main__":
    main()
