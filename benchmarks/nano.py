"""How good `liqe_nano` is, on photographs it never saw: the tables under "How good it is" of docs/liqe_nano.md.

    python tools/photographs.py --out photos
    python benchmarks/nano.py photos --sections own other sizes resized stored pristine edits

Photographs are those of the part `test` in photos/photographs.json. "Opinion" is the mean of KADID-10k's human
scores for the type and level: what people said of other photographs under the same damage. PLCC is Pearson's
correlation of the scores as they are: no logistic is fitted before, unlike in evaluations by `eval.py`. As in
`liqe ranktest`, undamaged photographs take part in the D-test only. Where another library's make cannot give as much
damage (other_makes.py), there is no picture, and the figures are over the rest.

Of the samples that `edits` takes, phone_portrait.jpg is no new photograph: it is a crop of one of the part `val`,
by Clemens Engelhardt from lomiri-wallpapers, which models were chosen on. The other two are in no part.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

import liqe_jax
from liqe_jax.compare.ranktest import d_test, l_test, p_test
from liqe_jax.compare.ranktest_run import LEVELS, PRISTINE, SIDE, Distort, Rendering, renderings
from liqe_jax.metrics.correlation import plcc, srcc
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.mos import mean_mos as mean_opinion

SIZES = (384, 512, 768, 1024, 2048, 4000)  # longest side, pixels


# What somebody does to a whole picture.
Change = Callable[[Image.Image], Image.Image]


@dataclasses.dataclass(frozen=True)
class Changed:
    """A damaged picture after something in which people see the same damage."""

    rendering: Rendering
    change: Change

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels, uint8 [H, W, 3]."""
        pixels = np.asarray(self.change(Image.fromarray(np.asarray(self.rendering))))
        return pixels if dtype is None else pixels.astype(dtype)


def _of_side(picture: Image.Image, side: int) -> Image.Image:
    factor = side / max(picture.size)
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS)


def _decoded(picture: Image.Image, file_format: str, **settings: Any) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, file_format, **settings)
    return Image.open(file).convert("RGB")


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    return _decoded(picture, "jpeg", quality=quality)


def _noisy(picture: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.rint(np.asarray(picture) + noise), 0, 255).astype(np.uint8))


# How photographs mostly come; people see next to nothing of it.
STORED: Mapping[str, Change] = {
    "JPEG 95": functools.partial(_jpeg, quality=95),
    "JPEG 90": functools.partial(_jpeg, quality=90),
    "JPEG 75": functools.partial(_jpeg, quality=75),
    "WebP 90": functools.partial(_decoded, file_format="webp", quality=90),
    "noise of one level": functools.partial(_noisy, sigma=1),
}


def judge(
    model: liqe_jax.Model, items: Sequence[Rendering | Changed], preprocess: str | None, absent: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Scores and the most probable distortions; NaN and "" where the error holds the words `absent`: no picture."""
    results = list(tqdm(model.score_many(items, preprocess=preprocess), total=len(items), unit="image", disable=None))
    failed = [
        result.error
        for result in results
        if isinstance(result, liqe_jax.Failure) and not (absent and absent in result.error)
    ]
    if failed:
        raise SystemExit(f"{len(failed)} images have no score: {failed[0]}")
    none = [isinstance(result, liqe_jax.Failure) for result in results]
    quality = np.array([np.nan if n else result.quality for n, result in zip(none, results, strict=True)])
    return quality, ["" if n else result.distortion for n, result in zip(none, results, strict=True)]


def measure(
    model: liqe_jax.Model,
    folder: Path,
    names: Sequence[str],
    kinds: Iterable[int],
    make: Distort,
    *,
    side: int,
    change: Change | None = None,
    preprocess: str | None = None,
    absent: str | None = None,
) -> dict[str, float]:
    """The figures for one make of damage at one size.

    Args:
      change: what is done to every picture afterwards.
      absent: words in the error of a picture that does not exist; the figures are over the others.
    """
    kinds = list(kinds)
    items = list(renderings(str(folder), names, kinds, make, side=side))
    taken = [Changed(item, change) for item in items] if change else items
    quality, distortion = judge(model, taken, preprocess, absent)
    pristine = np.array([item.kind == PRISTINE[0] for item in items])
    damaged = [item for item in items if item.kind != PRISTINE[0]]
    cube = quality[~pristine].reshape(len(names), len(kinds), len(LEVELS))
    there = np.isfinite(cube)
    opinions = np.array([[mean_opinion(kind, level)[0] for level in LEVELS] for kind in kinds])
    opinion, scores = np.broadcast_to(opinions, cube.shape)[there], cube[there]
    said = np.array(distortion)[~pristine]
    right = (said == [KINDS[item.kind].category for item in damaged]).reshape(cube.shape)
    by_opinion = np.take_along_axis(cube, np.argsort(-opinions, axis=1, kind="stable")[None], axis=2)
    report = {
        "SRCC": srcc(opinion, scores),
        "PLCC": plcc(opinion, scores),
        "category": right[there].mean(),
        "D": d_test(quality[pristine], scores).accuracy,
        "L": l_test(cube).srcc,
        "L by opinion": l_test(by_opinion).srcc,
        "P": p_test(scores, opinion).consistency,
    }
    by_kind = l_test(by_opinion).srcc_by_kind
    if absent:
        print(f"measured {_share(there)} of {there.size}")
    for k, kind in enumerate(kinds):
        mean = " ".join(_mean(cube[:, k, n]) for n in range(len(LEVELS)))
        expected = " ".join(f"{value:.2f}" for value in opinions[k])
        found = there[:, k]
        d = f"{d_test(quality[pristine], cube[:, k]).accuracy:.3f}" if found.any() else "-"
        print(
            f"    {kind:2d} {KINDS[kind].name:22s} D {d}  L {_figure(by_kind[k], 3)}  "
            f"category {_mean(right[:, k][found])}  scores {mean}  opinions {expected}"
            + (f"  measured {_share(found)}" if absent else "")
        )
    return {name: float(value) for name, value in report.items()}


def _figure(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _mean(values: np.ndarray) -> str:
    """Of those that are there; "-" where there is none."""
    finite = values[np.isfinite(values)]
    return _figure(finite.mean(), 2) if finite.size else "-"


def _share(there: np.ndarray) -> str:
    # Rounded down: 100% means all.
    return f"{100 * int(there.sum()) // there.size}%"


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


def _pixelated(picture: Image.Image, factor: int) -> Image.Image:
    small = picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _shaken(picture: Image.Image, length: int) -> Image.Image:
    kernel = np.eye(length, dtype=np.float32) / length
    return Image.fromarray(cv2.filter2D(np.asarray(picture), -1, kernel))


def pristine_stored(model: liqe_jax.Model, folder: Path, names: Sequence[str], preprocess: str | None) -> None:
    """What undamaged photographs lose when they are stored."""
    pictures = [_of_side(Image.open(folder / name).convert("RGB"), SIDE) for name in names]

    def scores(change: Change) -> np.ndarray:
        arrays = (np.asarray(change(picture)) for picture in pictures)
        return np.array([result.quality for result in model.score_many(arrays, preprocess=preprocess)])

    before = scores(lambda picture: picture)
    for title, change in STORED.items():
        quality = scores(change)
        print(
            f"pristine stored as {title}: mean {quality.mean():.3f}, before {before.mean():.3f}  "
            f"most lost {(before - quality).max():.3f}  more than 0.3 lost: {(before - quality > 0.3).sum()}  "
            f"above 4: {(quality > 4).sum()} of {len(quality)}",
            flush=True,
        )


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


def as_large(rows: Sequence[dict[str, Any]], side: int) -> list[str]:
    """The photographs that need no enlarging to have a side of so many pixels: smaller ones would stay as they are."""
    return [row["file"] for row in rows if max(row["width"], row["height"]) >= side]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--preprocess", help="default: the model's own")
    parser.add_argument("--part", default="test", help="part of the photographs (test, val)")
    parser.add_argument("--limit", type=int, help="only so many photographs")
    sections = ("own", "other", "sizes", "resized", "stored", "pristine", "edits")
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    options = parser.parse_args()
    model = liqe_jax.load(options.model)
    rows = json.loads((options.photos / "photographs.json").read_text())["photographs"]
    rows = [row for row in rows if row["part" if "part" in row else "split"] == options.part]
    names = [row["file"] for row in rows][: options.limit]
    print(f"{model.name}, {len(names)} photographs, preprocess {options.preprocess or model.preprocess}")
    print("PLCC: Pearson's correlation of the scores as they are, without a logistic")
    common = {"preprocess": options.preprocess}
    if "own" in options.sections:
        show("own, 512", measure(model, options.photos, names, KINDS, distort, side=512, **common))
    if "other" in options.sections:
        from other_makes import OTHER_MAKES, OUT_OF_REACH, other_distort

        others = {"side": 512, "absent": OUT_OF_REACH, **common}
        show("others', 512", measure(model, options.photos, names, OTHER_MAKES, other_distort, **others))
    if "sizes" in options.sections:
        for side in (384, 768, 1024, 2048):
            few = as_large(rows, side)[: options.limit or (8 if side > 1024 else 16)]
            title = f"own, {side}, {len(few)} photographs"
            if not few:
                print(f"{title}: none is as large")
                continue
            show(title, measure(model, options.photos, few, KINDS, distort, side=side, **common))
    if "resized" in options.sections:
        for side in SIZES:
            if side == SIDE:
                continue
            after = functools.partial(_of_side, side=side)
            report = measure(model, options.photos, names[:8], KINDS, distort, side=SIDE, change=after, **common)
            show(f"own, {SIDE} resized to {side}", report)
    if "stored" in options.sections:
        for title, change in STORED.items():
            report = measure(model, options.photos, names[:8], KINDS, distort, side=SIDE, change=change, **common)
            show(f"own, {SIDE} stored as {title}", report)
        pristine_stored(model, options.photos, names, options.preprocess)
    if "pristine" in options.sections:
        pristine_at_sizes(model, options.photos, names, options.preprocess)
    if "edits" in options.sections:
        samples = Path(__file__).parents[1] / "samples"
        paths = [samples / name for name in ("cat.jpg", "coffee.jpg", "phone_portrait.jpg")]
        edits(model, paths, options.preprocess)


if __name__ == "__main__":
    main()
