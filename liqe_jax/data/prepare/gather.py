"""Reads the labels and prepares the images of a data set, before anything is written."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from liqe_jax.data.prepare.images import CONVERTED, MADE, RESIZED, Cache, PreparedImage, Recipe, prepare_images
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import read_set
from liqe_jax.data.sets.spec import DataSetSpec, Row
from liqe_jax.errors import DataError, ImageError

SHOWN = 20  # names of a long list in a message


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts and problems of one preparation.

    Attributes:
      name: name of the data set.
      stored, labelled, expected: numbers of stored images, of rows of the label files, and of official rows.
      missing, unreadable: names of missing images; name -> decoding error.
      anomalies: irregularities of the labels, one sentence each.
      resized, converted, made, reused: numbers of images that were downscaled, re-encoded, created from others,
        reused from an earlier run.
    """

    name: str
    stored: int
    labelled: int
    expected: int | None
    missing: Sequence[str] = ()
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    anomalies: Sequence[str] = ()
    resized: int = 0
    converted: int = 0
    made: int = 0
    reused: int = 0

    def problems(self, limit: int | None = SHOWN) -> str:
        """Missing and unreadable images by name, one per line; at most `limit` of each kind."""
        lines = []
        unreadable = [f"{name}: {reason}" for name, reason in self.unreadable.items()]
        for title, names in (("missing", self.missing), ("unreadable", unreadable)):
            if names:
                lines.append(f"{len(names)} {title}:")
                lines += [f"  {name}" for name in names[:limit]]
                if limit is not None and len(names) > limit:
                    lines.append(f"  ... and {len(names) - limit} more")
        return "\n".join(lines)

    def text(self) -> str:
        """The report as text."""
        expected = "" if self.expected is None else f" (official number: {self.expected})"
        kept = self.stored - self.resized - self.converted - self.made
        made = f", {self.made} created from photographs" if self.made else ""
        lines = [
            f"{self.name}: {self.stored} images stored; the label files have {self.labelled} rows{expected}.",
            f"  {kept} unchanged, {self.resized} downscaled to a short side of 768, {self.converted} re-encoded{made}; "
            f"{self.reused} reused from an earlier run.",
        ]
        if problems := self.problems():
            lines.append(problems)
        lines += [f"Note: {anomaly}" for anomaly in self.anomalies]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Gathered:
    """Rows with their images, in the order of the label files, and the report."""

    rows: Sequence[Row]
    images: Sequence[PreparedImage]
    mos_range: Sequence[float]
    report: Report


def gather(
    spec: DataSetSpec,
    manual_dir: Path,
    cache_dir: Path,
    options: Mapping[str, Any],
    allow_missing: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> Gathered:
    """Reads the labels, and finds and prepares the images; arguments as in `run.prepare`.

    `cache_dir` keeps finished images for the next run.

    Raises:
      DataError: label files are missing or malformed, or images are missing or unreadable and `allow_missing` is
        False.
    """
    index = FileIndex(manual_dir, spec.title, spec.tree)
    options = spec.complete(options)
    labels = read_set(spec, index, options)
    repeated = [name for name, times in Counter(row.name for row in labels.rows).items() if times > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} images of {spec.name} have several rows, such as {repeated[0]}. Keep one each."
        )
    paths = {row.name: index.find(spec.places(row.name)) for row in labels.rows}
    missing = [name for name, path in paths.items() if path is None]
    if len(missing) == len(paths):
        raise index.missing(f"image, such as {missing[0]}," if missing else "label of an image")
    present = [(row, path) for row in labels.rows if (path := paths[row.name]) is not None]
    make = spec.maker(options) if spec.maker else None
    recipes = [
        Recipe(f"{row.name}|{options}", functools.partial(make, path, row.name)) if make else None
        for row, path in present
    ]
    with tqdm(total=len(present), desc=spec.name, unit="image", disable=quiet or None) as bar:
        results = prepare_images([path for _, path in present], Cache(cache_dir), workers, bar.update, recipes)
    pairs = [(row, result) for (row, _), result in zip(present, results, strict=True)]
    done = [(row, *result) for row, result in pairs if not isinstance(result, ImageError)]
    unreadable = {row.name: str(result) for row, result in pairs if isinstance(result, ImageError)}
    anomalies = list(labels.anomalies)
    if spec.count not in (None, len(labels.rows)):
        anomalies.append(f"The label files have {len(labels.rows)} rows; the official number is {spec.count}.")
    low, high = mos_range = labels.mos_range or spec.mos_range
    if outside := [row for row in labels.rows if not low <= row.mos <= high]:
        example = f"{outside[0].mos:g} of {outside[0].name}"
        anomalies.append(f"{len(outside)} MOS are outside of {low:g} to {high:g}, such as {example}.")
    changes = Counter(image.change for _, image, _ in done)
    report = Report(
        name=spec.name,
        stored=len(done),
        labelled=len(labels.rows),
        expected=spec.count,
        missing=missing,
        unreadable=unreadable,
        anomalies=anomalies,
        resized=changes[RESIZED],
        converted=changes[CONVERTED],
        made=changes[MADE],
        reused=sum(known for *_, known in done),
    )
    if report.problems() and not (allow_missing and done):
        complete = cache_dir / "problems.txt"
        complete.write_text(report.problems(limit=None) + "\n", "utf-8")
        raise DataError(
            f"{spec.name} is incomplete: {len(done)} of {len(labels.rows)} images are usable.\n{report.problems()}\n"
            f"The full list is in {complete}. Fetch these files again, or exclude them with --allow-missing; "
            "finished images are kept."
        )
    return Gathered([row for row, *_ in done], [image for _, image, _ in done], mos_range, report)
