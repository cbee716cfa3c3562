"""Files of scores and labels: CSV and JSONL, such as those of `liqe score`, and the label files of `liqe realign`.

Missing and malformed files, columns and values are a `DataError`.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from liqe_jax.bounded_io import parse_json, read_text, whole_file
from liqe_jax.data.tables import read_csv
from liqe_jax.errors import DataError, UsageError
from liqe_jax.messages import printable, quoted

IMAGE_COLUMNS = ("image", "image_name", "filename", "name")
SCORE_COLUMNS = ("quality", "score", "prediction")
MOS_COLUMNS = ("mos", "MOS")

TOGETHER = "all.csv"


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads the rows of a CSV file with a header, or of a JSONL file (by suffix)."""
    if Path(path).suffix.lower() in (".jsonl", ".json"):
        try:
            rows = [parse_json(line) for line in read_text(path, "utf-8-sig").split("\n") if line.strip()]
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise DataError(f"{path} is not JSONL: {printable(error)}. Expected one JSON object per line.") from error
    else:
        rows = read_csv(Path(path), strip=False)
    if not rows:
        raise DataError(f"{path} has no rows. Expected at least one.")
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} has lines that are not JSON objects. Expected a file written by `liqe score`.")
    return rows


def find_column(rows: Sequence[Mapping[str, Any]], wanted: str | None, usual: Sequence[str], path: object) -> str:
    """The column `wanted`, or the first of the usual columns that exists."""
    present = list(dict.fromkeys(str(key) for row in rows for key in row))
    found = next((name for name in ([wanted] if wanted else usual) if name in present), None)
    if found is None:
        raise DataError(
            f"{path} has no column {wanted or ' or '.join(usual)}; its columns are {printable(', '.join(present))}."
        )
    return found


def numbers(
    path: str | os.PathLike, column: str | None = None, usual: Sequence[str] = SCORE_COLUMNS, *, gaps: bool = True
) -> dict[str, float]:
    """Reads a column of a CSV or JSONL file: image name -> number, in the order of the file.

    `column` None is the first of `usual` that exists. Rows without a number (failed images) become NaN; without `gaps`
    they are an error.
    """
    rows = read_rows(path)
    image_column = find_column(rows, None, IMAGE_COLUMNS, path)
    # A file in which every image failed has a column of errors only.
    only_errors = all("error" in row and len(row) == 2 for row in rows)
    value_column = "" if only_errors else find_column(rows, column, usual, path)
    values: dict[str, float] = {}
    for number, row in enumerate(rows, 1):
        name, raw = row.get(image_column), row.get(value_column)
        where = f"Row {number} of {path} ({printable(name)})"
        if not isinstance(name, str) or not name:
            raise DataError(f"Row {number} of {path} has no image name.")
        if name in values:
            raise DataError(f"{where} repeats an image. Expected one row per image.")
        try:
            value = math.nan if raw in (None, "") else float(raw)
        except (TypeError, ValueError):
            raise DataError(f"{where} has {printable(value_column)} {quoted(raw)}; expected a number.") from None
        if not (math.isfinite(value) or gaps):
            raise DataError(
                f"{where} has no finite {printable(value_column)} ({quoted(raw)}). Give a number, or remove the row."
            )
        values[name] = value
    return values


def matched(
    values: Mapping[str, float], names: Sequence[str], folder: str | os.PathLike = ""
) -> Float[np.ndarray, " N"]:
    """Matches numbers to image names; NaN for names without a number.

    A row's image may be the name, a path to the image (relative to the working folder or absolute), or a
    file name that is unique among images and rows.
    """
    by_path = {os.path.abspath(row): value for row, value in values.items()}
    by_base = _unique({row: os.path.basename(row) for row in values})
    bases = _unique({name: os.path.basename(name) for name in names})
    found = np.full(len(names), np.nan)
    hits = 0
    for index, name in enumerate(names):
        path, base = os.path.abspath(os.path.join(folder, name)), os.path.basename(name)
        if name in values:
            found[index] = values[name]
        elif path in by_path:
            found[index] = by_path[path]
        elif base in bases and base in by_base:
            found[index] = values[by_base[base]]
        else:
            continue
        hits += 1
    if len(names) and not hits:
        raise DataError(
            f"None of the {len(names)} images (such as {names[0]}) has a row; there are rows such as "
            f"{printable(', '.join(list(values)[:2])) or 'none'}. "
            "Expected the same file names."
        )
    return found


def _unique(bases: Mapping[str, str]) -> dict[str, str]:
    """Base name -> name, for base names that only one name has."""
    counts = Counter(bases.values())
    return {base: name for name, base in bases.items() if counts[base] == 1}


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """The labels of one set; `rows` has all columns of the file."""

    path: str
    rows: list[dict[str, Any]]
    images: list[str]
    mos: np.ndarray


def read_labels(labels: Sequence[str], column: str | None) -> dict[str, LabelFile]:
    """Reads label files given as NAME=CSV or CSV; returns set name -> labels.

    Raises:
      UsageError: a name is repeated or is not a valid file name, or a file is not a CSV file.
      DataError: an image has no MOS.
    """
    sets: dict[str, LabelFile] = {}
    for argument in labels:
        name, equals, path = argument.partition("=")
        # A path may contain an equals sign.
        if not equals or os.path.exists(argument):
            name, path = Path(argument).stem, argument
        if name in sets or name in ("", "all") or os.path.basename(name) != name:
            raise UsageError(
                f"{name!r} cannot be the name of a set here. Expected distinct valid file names, except "
                "'all': --labels NAME=CSV."
            )
        if Path(path).suffix.lower() != ".csv":
            raise UsageError(f"Labels come as CSV; got {path}.")
        found = numbers(path, column, MOS_COLUMNS, gaps=False)
        sets[name] = LabelFile(path, read_rows(path), list(found), np.array(list(found.values())))
    return sets


def write_labels(sets: Mapping[str, LabelFile], after: Mapping[str, np.ndarray], output: Path) -> None:
    """Writes OUTPUT/NAME.csv of every set, with a column `realigned`, and all.csv."""
    with whole_file(output / TOGETHER) as together:
        everything = csv.writer(together, lineterminator="\n")
        everything.writerow(("set", "image", "mos", "realigned"))
        for name, labels in sets.items():
            with whole_file(output / f"{name}.csv") as own:
                rows = csv.DictWriter(own, [*dict.fromkeys([*labels.rows[0], "realigned"])], lineterminator="\n")
                rows.writeheader()
                for row, image, mos, label in zip(labels.rows, labels.images, labels.mos, after[name], strict=True):
                    # Six decimals are finer than any MOS, so different labels stay different.
                    rows.writerow({**row, "realigned": f"{label:.6f}"})
                    everything.writerow((name, image, f"{mos:.10g}", f"{label:.6f}"))
