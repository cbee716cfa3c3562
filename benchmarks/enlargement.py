"""How many enlarged pictures `liqe_jax.images.enlarged` finds, and in how many others it sees what is not there.

    python tools/photographs.py --out photos
    python benchmarks/enlargement.py photos

Photographs of the part `val`, undamaged and under all of KADID-10k's types at two levels. Enlarged ones have a longest
side of 512 before; the rest are of 1024, or were shrunk from that. "Right" is a factor within half a percent, and
"wrong" any other but 1.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from liqe_jax.images.enlarged import enlargement
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.compression import to_bytes

SIDE, LARGE = 512, 1024  # longest sides, pixels
LEVELS = (2, 4)
Change = Callable[[np.ndarray], np.ndarray]


def pillow(factor: float, how: Image.Resampling) -> Change:
    """Another size, by Pillow."""

    def change(pixels: np.ndarray) -> np.ndarray:
        size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
        return np.asarray(Image.fromarray(pixels).resize(size, how))

    return change


def opencv(factor: float, how: int) -> Change:
    """Another size, by OpenCV."""
    return lambda pixels: cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)


def jpeg(pixels: np.ndarray, quality: int = 90) -> np.ndarray:
    """Stored as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def stored(change: Change) -> Change:
    """The same, and then JPEG."""
    return lambda pixels: jpeg(change(pixels))


def changes() -> tuple[dict[str, tuple[float, Change]], dict[str, Change]]:
    """Name -> (factor, change) of enlargements, and name -> change of all that is none."""
    lanczos, bicubic, bilinear = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
    enlargements: dict[str, tuple[float, Change]] = {}
    for factor in (1.5, 2, 2.54, 4, 7.8125):
        enlargements[f"Pillow, Lanczos, {factor}"] = factor, pillow(factor, lanczos)
    for factor in (1.5, 2.54, 4):
        enlargements[f"Pillow, bicubic, {factor}"] = factor, pillow(factor, bicubic)
        enlargements[f"Pillow, bilinear, {factor}"] = factor, pillow(factor, bilinear)
        enlargements[f"OpenCV, bilinear, {factor}"] = factor, opencv(factor, cv2.INTER_LINEAR)
        enlargements[f"OpenCV, bicubic, {factor}"] = factor, opencv(factor, cv2.INTER_CUBIC)
        enlargements[f"Pillow, Lanczos, {factor}, then JPEG 90"] = factor, stored(pillow(factor, lanczos))
    none: dict[str, Change] = {"as it is": lambda pixels: pixels, "JPEG 90": jpeg}
    for factor in (0.85, 0.7, 0.5):
        none[f"shrunk to {factor}, bilinear"] = pillow(factor, bilinear)
        none[f"shrunk to {factor}, Lanczos"] = pillow(factor, lanczos)
    return enlargements, none


def damaged(path: Path, side: int) -> Iterator[np.ndarray]:
    """A photograph with this longest side, undamaged and damaged."""
    picture = Image.open(path).convert("RGB")
    factor = side / max(picture.size)
    size = round(picture.width * factor), round(picture.height * factor)
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    yield pixels
    for kind in KINDS:
        for level in LEVELS:
            yield to_bytes(distort(pixels.astype(np.float32) / 255, kind, level, 0))


def found(pixels: np.ndarray) -> float:
    """The factor; 1 where there is none."""
    what = enlargement(pixels)
    return what.factor if what else 1.0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", default="val", help="part of the photographs")
    parser.add_argument("--limit", type=int, default=8, help="only so many photographs")
    options = parser.parse_args()
    rows = json.loads((options.photos / "photographs.json").read_text())["photographs"]
    rows = [row for row in rows if row["split"] == options.part and max(row["width"], row["height"]) >= LARGE]
    paths = [options.photos / row["file"] for row in rows][: options.limit]
    enlargements, none = changes()
    factors: dict[str, list[float]] = {name: [] for name in (*enlargements, *none)}
    for path in tqdm(paths, unit="photo", disable=None):
        for pixels in damaged(path, SIDE):
            for name, (_, change) in enlargements.items():
                factors[name].append(found(change(pixels)))
        for pixels in damaged(path, LARGE):
            for name, change in none.items():
                factors[name].append(found(change(pixels)))
    print(f"{len(paths)} photographs, {len(factors['as it is'])} pictures")
    print("| what was done | right | wrong |\n|---|---|---|")
    for name, values in factors.items():
        true = enlargements[name][0] if name in enlargements else 1.0
        right = np.isclose(values, true, rtol=0.005)
        wrong = ~right & (np.array(values) != 1)
        print(f"| {name} | {right.mean():.3f} | {wrong.mean():.3f} |")


if __name__ == "__main__":
    main()
