"""Damaged crops of pristine photographs, by the ten thousand: what `liqe_nano` is trained on.

    python -m liqe_jax.synthetic.crops photos data/crops --rounds 4

A crop sees a photograph at a random scale, damaged by one of KADID-10k's types at any strength between the
levels 1 and 5, in our make or in another (`variants`), now and then by two or three types at once or none,
and may be shrunk afterwards. Its opinion score is the mean of KADID-10k's for the type and level (`opinion`).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pictures
from tqdm import tqdm

from liqe_jax.errors import DataError
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.opinion import mean_opinion
from liqe_jax.synthetic.variants import variant

SIDE = 224  # pixels of a crop
PER_SCENE = 2  # crops of every damaged view

# Views are a little larger than a crop; KADID-10k's 512x384 would take twice the time. Types that put a
# number of things somewhere into the picture need the whole of it.
VIEW, WHOLE_VIEW = (288, 352), (384, 512)
WHOLE_KINDS = (20, 23)

# Short sides that photographs are shrunk to, pixels, log-uniform. The scorer shrinks to 768 itself.
SMALLEST, LARGEST = 232, 1024

# Share of damaged views that are shrunk afterwards, down to SHRUNK of their size, as scorers and people
# do with large photographs. What has a size in pixels fades with it (share of the distance from pristine
# that is left: the factor); tones and colours stay.
SHRUNK_SHARE, SHRUNK = 0.15, 0.55
FADING_KINDS = (1, 2, 3, 5, 9, 10, 11, 12, 13, 14, 15, 19, 21, 24)

# Share of damage that is of another make.
VARIANT_SHARE = 0.45

# What KADID-10k's observers gave to images that a type leaves as they are (18 at level 3, 1 at level 1).
PRISTINE = 4.61

# Views a round, beside one for each type: undamaged, and damaged by two or three types.
PRISTINE_ROUNDS, PAIR_ROUNDS, TRIPLE_ROUNDS = 5, 3, 1

PIXELS, LABELS = "pixels.npy", "labels.json"


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


def make_view(photo: Pictures.Image, kinds: tuple[int, ...], seed: tuple[int, ...]) -> Crops:
    """Crops of one damaged view.

    Args:
      photo: RGB, both sides at least `SMALLEST`.
      kinds: numbers of types, in the order they come; 0 stands for a random one.
      seed: of everything random.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    chosen = [kind or int(rng.integers(1, len(KINDS) + 1)) for kind in kinds]
    view = _view(photo, WHOLE_VIEW if set(chosen) & set(WHOLE_KINDS) else VIEW, rng)
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
    pixels = np.rint(view * 255).astype(np.uint8)
    if factor < 1:
        size = [round(side * factor) for side in pixels.shape[1::-1]]
        pixels = np.asarray(Pictures.fromarray(pixels).resize((size[0], size[1]), Pictures.Resampling.BILINEAR))
    pixels = _finished(pixels, rng)
    corners = [_corner(pixels.shape[:2], rng) for _ in range(PER_SCENE)]
    crops = np.stack([pixels[top : top + SIDE, left : left + SIDE] for top, left in corners])
    raw = KINDS[chosen[0]].raw_label if len(chosen) == 1 else ""
    name = "+".join(str(kind) for kind in chosen) or "pristine"
    return Crops(crops, opinion, raw, name)


def _view(photo: Pictures.Image, largest: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    short = min(photo.size)
    target = round(np.exp(rng.uniform(np.log(SMALLEST), np.log(min(LARGEST, short)))))
    filters = (Pictures.Resampling.LANCZOS, Pictures.Resampling.BICUBIC, Pictures.Resampling.BILINEAR)
    if target < short:
        size = [max(target, round(side * target / short)) for side in photo.size]
        photo = photo.resize((size[0], size[1]), filters[rng.integers(3)])
    width, height = photo.size
    h, w = min(largest[0], height), min(largest[1], width)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return np.asarray(photo.crop((left, top, left + w, top + h))).astype(np.float32) / 255


def _finished(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sometimes stored as a JPEG of a quality that nobody sees, as most photographs are."""
    if rng.random() >= 0.25:
        return pixels
    import io

    file = io.BytesIO()
    Pictures.fromarray(pixels).save(file, "jpeg", quality=int(rng.integers(88, 98)), subsampling=int(rng.integers(3)))
    return np.asarray(Pictures.open(file))


def _corner(size: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Half of them on JPEG's grid, where the patches of the presets `paper` and `pyiqa` are."""
    step = 8 if rng.random() < 0.5 else 1
    top, left = (int(rng.integers((side - SIDE) // step + 1)) * step for side in size)
    return top, left


def _photo_crops(path: str, number: int, rounds: int, seed: int) -> list[Crops]:
    import cv2

    cv2.setNumThreads(1)  # processes share the cores
    photo = Pictures.open(path).convert("RGB")
    return [make_view(photo, kinds, (seed, number, turn)) for turn, kinds in enumerate(views_of(rounds))]


class Photograph(NamedTuple):
    """A pristine photograph, its part, and the scenes that it shows."""

    path: Path
    part: str
    scenes: tuple[str, ...]


def read_list(folder: Path) -> list[Photograph]:
    """The photographs that `tools/photographs.py` put into a folder, or all images of any other.

    Of the latter, one in ten is for validation.

    Raises:
      DataError: nothing there is large enough, or the list is damaged.
    """
    table = folder / "photographs.json"
    if table.exists():
        try:
            rows = json.loads(table.read_text("utf-8"))["photographs"]
            found = [Photograph(folder / row["file"], row["split"], tuple(row["scenes"])) for row in rows]
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{table} is damaged ({error}). Collect the photographs again.") from error
    else:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        found = [Photograph(path, "val" if n % 10 == 9 else "train", ()) for n, path in enumerate(paths)]
    large = []
    for photograph in found:
        with Pictures.open(photograph.path) as picture:
            if min(picture.size) >= SMALLEST:
                large.append(photograph)
    if not large:
        raise DataError(f"{folder} holds no photograph with both sides of {SMALLEST} pixels or more.")
    return large


def make_crops(photos: Path, out: Path, *, rounds: int, seed: int = 0, workers: int | None = None) -> int:
    """Writes crops of all training and validation photographs; returns their number.

    Args:
      photos: folder of pristine photographs, with `photographs.json` or without.
      out: new folder for `pixels.npy` (uint8 [N, 224, 224, 3]) and `labels.json`.
      rounds: views of every photograph under every type.
      seed: same seed, same crops, on any number of workers.
      workers: processes; None takes all cores.

    Raises:
      DataError: no photographs, or `out` exists.
    """
    if (out / LABELS).exists():
        raise DataError(f"{out} holds crops already. Remove it, or choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_list(photos) if row.part in ("train", "val")]
    per_photo = len(views_of(rounds)) * PER_SCENE
    shape = (len(rows) * per_photo, SIDE, SIDE, 3)
    pixels = np.lib.format.open_memmap(out / PIXELS, "w+", np.uint8, shape)
    labels: list[dict[str, object]] = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        jobs = [pool.submit(_photo_crops, str(row.path), number, rounds, seed) for number, row in enumerate(rows)]
        for row, job in tqdm(zip(rows, jobs, strict=True), total=len(rows), unit="photo"):
            for crops in job.result():
                for crop in crops.pixels:
                    pixels[len(labels)] = crop
                    labels.append(
                        {
                            "name": f"{row.path.stem}/{len(labels) % per_photo:04d}_{crops.kind}",
                            "photo": row.path.name,
                            "part": row.part,
                            "scenes": row.scenes,
                            "mos": round(crops.opinion, 4),
                            "distortion": crops.raw_distortion,
                        }
                    )
    pixels.flush()
    (out / LABELS).write_text(json.dumps(labels))
    return len(labels)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make damaged crops of pristine photographs.")
    parser.add_argument("photos", type=Path, help="folder of pristine photographs")
    parser.add_argument("out", type=Path, help="new folder for the crops")
    parser.add_argument("--rounds", type=int, default=4, help="views of every photograph under every type")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    options = parser.parse_args()
    count = make_crops(options.photos, options.out, rounds=options.rounds, seed=options.seed, workers=options.workers)
    print(f"{count} crops in {options.out}")


if __name__ == "__main__":
    main()
