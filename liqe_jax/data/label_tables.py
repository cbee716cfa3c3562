"""Label files of `liqe realign`: reads them with all columns, writes them with realigned labels."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liqe_jax.bounded_io import whole_file
from liqe_jax.data.score_tables import MOS_COLUMNS, numbers, read_rows
from liqe_jax.errors import UsageError

TOGETHER = "all.csv"


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """The labels of one set; `rows` has all columns of the file."""

    name: str
    path: str
    rows: list[dict[str, Any]]
    images: list[str]
    mos: np.ndarray


def read_labels(labels: Sequence[str], column: str | None) -> dict[str, LabelFile]:
    """Reads label files given as NAME=CSV or CSV; returns set name -> labels.

    Raises:
      UsageError: a name is repeated or is not a valid file name, or a file is not a CSV file.
      DataError: a file cannot be read, or an image has no MOS.
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
        sets[name] = LabelFile(name, path, read_rows(path), list(found), np.array(list(found.values())))
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
