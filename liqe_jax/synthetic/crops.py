"""Damaged crops of pristine photographs, by the ten thousand: what `liqe_nano` is trained on.

    python -m liqe_jax.synthetic.crops photos data/crops --rounds 2
    python -m liqe_jax.synthetic.crops photos data/crops-table --table
    python -m liqe_jax.synthetic.crops photos data/crops-pairs --pairs
    python -m liqe_jax.synthetic.crops photos data/crops-resized --resized --looks --stored
    python -m liqe_jax.synthetic.crops photos data/crops-whole --whole --looks

`views` says what the damage is.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image as Pictures
from tqdm import tqdm

from liqe_jax.errors import DataError, LiqeError, UsageError
from liqe_jax.synthetic.views import (
    PAIR,
    PER_SCENE,
    SIDE,
    SMALLEST,
    WHOLE,
    Crops,
    Extras,
    cells_of,
    pair_cells_of,
    pair_views,
    resized_views,
    table_views,
    varied_views,
    views_of,
    whole_count,
    whole_views,
)

PIXELS, LABELS = "pixels.npy", "labels.json"


class Plan(NamedTuple):
    """What a photograph becomes.

    Attributes:
      views: (photograph, rounds, seed, extras) -> its damaged views.
      count: rounds -> how many those are.
      crops: of each.
    """

    views: Callable[[Pictures.Image, int, tuple[int, ...], Extras], list[Crops]]
    count: Callable[[int], int]
    crops: int


VARIED, TABLE, PAIRS, RESIZED, WHOLES = "varied", "table", "pairs", "resized", "whole"
PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        VARIED: Plan(varied_views, lambda rounds: len(views_of(rounds)), PER_SCENE),
        TABLE: Plan(table_views, lambda rounds: len(cells_of(rounds)), 1),
        PAIRS: Plan(pair_views, lambda rounds: len(pair_cells_of(rounds)), PAIR),
        RESIZED: Plan(resized_views, lambda rounds: len(pair_cells_of(rounds)), PAIR),
        WHOLES: Plan(whole_views, whole_count, WHOLE),
    }
)


def _photo_crops(path: str, number: int, rounds: int, seed: int, plan: str, extras: Extras) -> list[Crops]:
    import cv2

    cv2.setNumThreads(1)  # processes share the cores
    photo = Pictures.open(path).convert("RGB")
    return PLANS[plan].views(photo, rounds, (seed, number), extras)


class Photograph(NamedTuple):
    """A pristine photograph, its part, and the scenes that it shows."""

    path: Path
    part: str
    scenes: tuple[str, ...]


def read_list(folder: Path) -> list[Photograph]:
    """The photographs that `tools/photographs.py` put into a folder, or all images of any other.

    Of the latter, one in ten is for validation.

    Raises:
      DataError: there is no such folder, nothing there is large enough, or the list or a photograph is damaged.
    """
    table = folder / "photographs.json"
    if table.exists():
        try:
            rows = json.loads(table.read_text("utf-8"))["photographs"]
            found = [Photograph(folder / row["file"], row["split"], tuple(row["scenes"])) for row in rows]
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{table} is damaged ({error}). Collect the photographs again.") from error
    else:
        if not folder.is_dir():
            raise DataError(f"No folder {folder}. Give the one that holds the photographs.")
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        found = [Photograph(path, "val" if n % 10 == 9 else "train", ()) for n, path in enumerate(paths)]
    large = []
    for photograph in found:
        try:
            with Pictures.open(photograph.path) as picture:
                if min(picture.size) >= SMALLEST:
                    large.append(photograph)
        except OSError as error:
            raise DataError(f"{photograph.path} cannot be read ({error}). Remove it or fetch it again.") from error
    if not large:
        raise DataError(f"{folder} holds no photograph with both sides of {SMALLEST} pixels or more.")
    return large


def make_crops(
    photos: Path,
    out: Path,
    *,
    rounds: int,
    seed: int = 0,
    workers: int | None = None,
    plan: str = VARIED,
    limit: int | None = None,
    looks: bool = False,
    stored: bool = False,
) -> int:
    """Writes crops of all training and validation photographs; returns their number.

    Args:
      photos: folder of pristine photographs, with `photographs.json` or without.
      out: new folder for `pixels.npy` (uint8 [N, 224, 224, 3]) and `labels.json`.
      rounds: how often every photograph goes through every type.
      seed: same seed, same crops, on any number of workers.
      workers: processes; None takes all cores.
      plan: a key of `PLANS`: varied damage, KADID-10k's table, pairs of crops of the table's damage, or the same of
        pictures that were enlarged after the damage.
      limit: only so many photographs, evenly out of the list.
      looks: with other looks of the photographs for training (`looks`); those for validation stay as they are.
      stored: most pictures are stored as photographs are, after the damage, those for validation too.

    Raises:
      DataError: no photographs, or `out` exists.
      UsageError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"A limit is 1 photograph or more; got {limit}.")
    if (out / LABELS).exists():
        raise DataError(f"{out} holds crops already. Remove it, or choose another folder.")
    rows = [row for row in read_list(photos) if row.part in ("train", "val")]
    kept = len(rows) if limit is None else min(limit, len(rows))
    rows = [rows[n * len(rows) // kept] for n in range(kept)]
    out.mkdir(parents=True, exist_ok=True)
    per_view = PLANS[plan].crops
    per_photo = PLANS[plan].count(rounds) * per_view
    shape = (len(rows) * per_photo, SIDE, SIDE, 3)
    pixels = np.lib.format.open_memmap(out / PIXELS, "w+", np.uint8, shape)
    labels: list[dict[str, object]] = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        jobs = [
            pool.submit(
                _photo_crops, str(row.path), number, rounds, seed, plan, Extras(looks and row.part == "train", stored)
            )
            for number, row in enumerate(rows)
        ]
        for row, job in tqdm(zip(rows, jobs, strict=True), total=len(rows), unit="photo"):
            for crops in job.result():
                for crop in crops.pixels:
                    pixels[len(labels)] = crop
                    labels.append(
                        {
                            "name": f"{row.path.stem}/{len(labels) % per_photo:04d}_{crops.kind}",
                            "view": len(labels) // per_view,
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
    """The command; a refusal is one line, and status 2."""
    parser = argparse.ArgumentParser(description="Make damaged crops of pristine photographs.")
    parser.add_argument("photos", type=Path, help="folder of pristine photographs")
    parser.add_argument("out", type=Path, help="new folder for the crops")
    parser.add_argument("--rounds", type=int, default=1, help="how often every photograph goes through every type")
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument(
        "--table",
        dest="plan",
        action="store_const",
        const=TABLE,
        default=VARIED,
        help="types and whole levels of KADID-10k's table, one at a time",
    )
    plan.add_argument(
        "--pairs",
        dest="plan",
        action="store_const",
        const=PAIRS,
        help="the table's, in makes of our own and others, and two crops of each view for data.patches 2",
    )
    plan.add_argument(
        "--resized",
        dest="plan",
        action="store_const",
        const=RESIZED,
        help="the same of pictures that were enlarged after the damage",
    )
    plan.add_argument(
        "--whole",
        dest="plan",
        action="store_const",
        const=WHOLES,
        help=f"some of the same of whole photographs, and {WHOLE} crops of each view for data.patches {WHOLE}",
    )
    parser.add_argument("--limit", type=int, help="only so many photographs, evenly out of the list")
    parser.add_argument("--looks", action="store_true", help="other tones, colours and proportions, for training only")
    parser.add_argument("--stored", action="store_true", help="most of them stored well, as photographs are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    options = parser.parse_args()
    try:
        count = make_crops(**vars(options))
    except LiqeError as error:
        print(f"crops: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count} crops in {options.out}")


if __name__ == "__main__":
    main()
