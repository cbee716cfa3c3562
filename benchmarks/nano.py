"""How good `liqe_nano` is, on photographs it never saw: the tables under "How good it is" of docs/liqe_nano.md.

    python tools/photographs.py --out photos
    python benchmarks/nano.py photos --sections own other sizes resized pristine edits

Photographs are those of the part `test` in photos/photographs.json. "Opinion" is the mean of KADID-10k's human
scores for the type and level: what people said of other photographs under the same damage. PLCC is Pearson's
correlation of the scores as they are: no logistic is fitted before, unlike in evaluations by `eval.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

import liqe_jax
from liqe_jax.evaluate.metrics import plcc, srcc
from liqe_jax.evaluate.ranktest import d_test, l_test, p_test
from liqe_jax.evaluate.ranktest_run import LEVELS, PRISTINE, SIDE, Distort, Rendering, renderings
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.opinion import mean_opinion

SIZES = (384, 512, 768, 1024, 2048, 4000)  # longest side, pixels


@dataclasses.dataclass(frozen=True)
class Resized:
    """A damaged picture with another number of pixels: people see the same damage in it."""

    rendering: Rendering
    side: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels, uint8 [H, W, 3]."""
        picture = Image.fromarray(np.asarray(self.rendering))
        pixels = np.asarray(_of_side(picture, self.side))
        return pixels if dtype is None else pixels.astype(dtype)


def _of_side(picture: Image.Image, side: int) -> Image.Image:
    factor = side / max(picture.size)
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS)


def judge(
    model: liqe_jax.Model, items: Sequence[Rendering | Resized], preprocess: str | None
) -> tuple[np.ndarray, list[str]]:
    """Scores and the most probable distortions."""
    results = list(tqdm(model.score_many(items, preprocess=preprocess), total=len(items), unit="image", disable=None))
    failed = [result.error for result in results if isinstance(result, liqe_jax.Failure)]
    if failed:
        raise SystemExit(f"{len(failed)} images have no score: {failed[0]}")
    return np.array([result.quality for result in results]), [result.distortion for result in results]


def measure(
    model: liqe_jax.Model,
    folder: Path,
    names: Sequence[str],
    kinds: Iterable[int],
    make: Distort,
    *,
    side: int,
    resized: int | None = None,
    preprocess: str | None = None,
) -> dict[str, float]:
    """The figures for one make of damage at one size; `resized` is another size afterwards."""
    kinds = list(kinds)
    items = list(renderings(str(folder), names, kinds, make, side=side))
    quality, distortion = judge(model, [Resized(item, resized) for item in items] if resized else items, preprocess)
    pristine = np.array([item.kind == PRISTINE[0] for item in items])
    opinion = np.array([4.61 if p else mean_opinion(i.kind, i.level)[0] for p, i in zip(pristine, items, strict=True)])
    damaged = [n for n, p in enumerate(pristine) if not p]
    right = np.array([distortion[n] == KINDS[items[n].kind].category for n in damaged])
    cube = quality[~pristine].reshape(len(names), len(kinds), len(LEVELS))
    opinions = opinion[~pristine].reshape(cube.shape)[0]
    by_opinion = np.take_along_axis(cube, np.argsort(-opinions, axis=1, kind="stable")[None], axis=2)
    report = {
        "SRCC": srcc(opinion[~pristine], quality[~pristine]),
        "PLCC": plcc(opinion[~pristine], quality[~pristine]),
        "category": right.mean(),
        "D": d_test(quality[pristine], cube).accuracy,
        "L": l_test(cube).srcc,
        "L by opinion": l_test(by_opinion).srcc,
        "P": p_test(quality, opinion).consistency,
    }
    by_kind = l_test(by_opinion).srcc_by_kind
    accuracy = right.reshape(cube.shape).mean((0, 2))
    for k, kind in enumerate(kinds):
        mean = " ".join(f"{value:.2f}" for value in cube[:, k].mean(0))
        said = " ".join(f"{value:.2f}" for value in opinions[k])
        d = d_test(quality[pristine], cube[:, k]).accuracy
        print(
            f"    {kind:2d} {KINDS[kind].name:22s} D {d:.3f}  L {by_kind[k]:.3f}  category {accuracy[k]:.2f}  "
            f"scores {mean}  opinions {said}"
        )
    return {name: float(value) for name, value in report.items()}


def show(title: str, report: dict[str, float]) -> None:
    """One line of figures."""
    print(f"{title}: " + "  ".join(f"{name} {value:.4f}" for name, value in report.items()), flush=True)


def pristine_at_sizes(model: liqe_jax.Model, folder: Path, names: Sequence[str], preprocess: str | None) -> None:
    """Scores of undamaged photographs, shrunk or enlarged to several sizes."""
    for side in SIZES:
        pictures = []
        for name in names:
            picture = Image.open(folder / name).convert("RGB")
            pictures.append(np.asarray(_of_side(picture, side)))
        quality = np.array([r.quality for r in model.score_many(pictures, preprocess=preprocess)])
        print(
            f"pristine at {side}: mean {quality.mean():.3f}  lowest {quality.min():.3f} "
            f"({names[int(quality.argmin())]})  above 4: {(quality > 4).sum()} of {len(quality)}",
            flush=True,
        )


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return Image.open(file).convert("RGB")


def _noisy(picture: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _pixelated(picture: Image.Image, factor: int) -> Image.Image:
    small = picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _shaken(picture: Image.Image, length: int) -> Image.Image:
    kernel = np.eye(length, dtype=np.float32) / length
    return Image.fromarray(cv2.filter2D(np.asarray(picture), -1, kernel))


# name -> (mild edit, strong edit), of a picture with a longest side of 768 pixels.
EDITS = {
    "blur": (lambda p: p.filter(ImageFilter.GaussianBlur(1.5)), lambda p: p.filter(ImageFilter.GaussianBlur(4))),
    "camera shake": (lambda p: _shaken(p, 7), lambda p: _shaken(p, 21)),
    "JPEG": (lambda p: _jpeg(p, 30), lambda p: _jpeg(p, 10)),
    "noise": (lambda p: _noisy(p, 12), lambda p: _noisy(p, 40)),
    "dark": (
        lambda p: ImageEnhance.Brightness(p).enhance(0.5),
        lambda p: ImageEnhance.Brightness(p).enhance(0.2),
    ),
    "too bright": (
        lambda p: ImageEnhance.Brightness(p).enhance(1.6),
        lambda p: ImageEnhance.Brightness(p).enhance(2.6),
    ),
    "washed out": (lambda p: ImageEnhance.Contrast(p).enhance(0.5), lambda p: ImageEnhance.Contrast(p).enhance(0.2)),
    "pixelated": (lambda p: _pixelated(p, 3), lambda p: _pixelated(p, 8)),
    "oversharpened": (
        lambda p: p.filter(ImageFilter.UnsharpMask(3, 250, 0)),
        lambda p: p.filter(ImageFilter.UnsharpMask(3, 900, 0)),
    ),
    "oversaturated": (lambda p: ImageEnhance.Color(p).enhance(2.2), lambda p: ImageEnhance.Color(p).enhance(6)),
}


def edits(model: liqe_jax.Model, paths: Sequence[Path], preprocess: str | None) -> None:
    """Ten everyday edits, mild and strong: is each worse than the original, and the strong worse than the mild?"""
    ordered = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((768, 768), Image.Resampling.LANCZOS)
        versions = [picture] + [change(picture) for pair in EDITS.values() for change in pair]
        results = list(model.score_many([np.asarray(version) for version in versions], preprocess=preprocess))
        original, rest = results[0].quality, results[1:]
        cells = []
        for n, name in enumerate(EDITS):
            mild, strong = rest[2 * n], rest[2 * n + 1]
            good = original > mild.quality > strong.quality
            ordered.append(good)
            cells.append(f"{name} {mild.quality:.2f} {strong.quality:.2f} ({strong.distortion}){'' if good else ' !'}")
        print(f"    {path.name}: {original:.2f};  " + ";  ".join(cells))
    print(f"edits in the right order: {sum(ordered)} of {len(ordered)}", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--preprocess", help="default: the model's own")
    parser.add_argument("--part", default="test", help="part of the photographs (test, val)")
    parser.add_argument("--limit", type=int, help="only so many photographs")
    sections = ("own", "other", "sizes", "resized", "pristine", "edits")
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    options = parser.parse_args()
    model = liqe_jax.load(options.model)
    rows = json.loads((options.photos / "photographs.json").read_text())["photographs"]
    names = [row["file"] for row in rows if row["part" if "part" in row else "split"] == options.part]
    names = names[: options.limit]
    print(f"{model.name}, {len(names)} photographs, preprocess {options.preprocess or model.preprocess}")
    print("PLCC: Pearson's correlation of the scores as they are, without a logistic")
    common = {"preprocess": options.preprocess}
    if "own" in options.sections:
        show("own, 512", measure(model, options.photos, names, KINDS, distort, side=512, **common))
    if "other" in options.sections:
        from other_makes import OTHER_MAKES, other_distort

        show("others', 512", measure(model, options.photos, names, OTHER_MAKES, other_distort, side=512, **common))
    if "sizes" in options.sections:
        for side in (384, 768, 1024, 2048):
            few = names[: 8 if side > 1024 else 16]
            show(f"own, {side}", measure(model, options.photos, few, KINDS, distort, side=side, **common))
    if "resized" in options.sections:
        for side in SIZES:
            if side == SIDE:
                continue
            report = measure(model, options.photos, names[:8], KINDS, distort, side=SIDE, resized=side, **common)
            show(f"own, {SIDE} resized to {side}", report)
    if "pristine" in options.sections:
        pristine_at_sizes(model, options.photos, names, options.preprocess)
    if "edits" in options.sections:
        samples = Path(__file__).parents[1] / "samples"
        paths = [samples / name for name in ("cat.jpg", "coffee.jpg", "phone_portrait.jpg")]
        edits(model, paths, options.preprocess)


if __name__ == "__main__":
    main()
