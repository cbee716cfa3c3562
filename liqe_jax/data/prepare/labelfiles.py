"""Label files of `liqe realign`: read with every column, written anew beside a common table of all sets."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from liqe_jax.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

TOGETHER = "all.csv"


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """One set's labels as read: `rows` keep every column of the file."""

    name: str
    path: str
    rows: list[dict[str, Any]]
    images: list[str]
    mos: np.ndarray


def read_labels(labels: Sequence[str], column: str | None) -> dict[str, LabelFile]:
    """Set name -> labels, from arguments such as NAME=CSV or CSV.

    Raises:
      UsageError: names that repeat or cannot be file names, or a file that is no CSV.
      DataError: a file cannot be read, or has images without a MOS.
    """
    import numpy as np

    from liqe_jax.data.prepare.scorefiles import MOS_COLUMNS, numbers, read_rows

    sets: dict[str, LabelFile] = {}
    for argument in labels:
        name, equals, path = argument.partition("=")
        # A path may hold an equals sign of its own.
        if not equals or os.path.exists(argument):
            name, path = Path(argument).stem, argument
        if name in sets or name in ("", "all") or os.path.basename(name) != name:
            raise UsageError(
                f"{name!r} cannot be the name of a set here. Expected different names that can be file names, but "
                "'all': --labels NAME=CSV."
            )
        if Path(path).suffix.lower() != ".csv":
            raise UsageError(f"Labels come as CSV; got {path}.")
        found = numbers(path, column, MOS_COLUMNS, gaps=False)
        sets[name] = LabelFile(name, path, read_rows(path), list(found), np.array(list(found.values())))
    return sets


def refuse_to_overwrite(written: Iterable[Path], inputs: Iterable[str]) -> None:
    """No file that a command reads may be one that it writes.

    Raises:
      UsageError: one is, also by a link.
    """
    inputs = [path for path in inputs if os.path.exists(path)]
    for target in written:
        for path in inputs:
            if target.exists() and os.path.samefile(target, path):
                raise UsageError(f"{path} would be overwritten, and it is read. Give another folder as --output.")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file for writing that takes its place when it is complete; until then an older one stays."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        yield file
    os.replace(fresh, path)


def write_labels(sets: Mapping[str, LabelFile], after: Mapping[str, np.ndarray], output: Path) -> None:
    """OUTPUT/NAME.csv of every set, with a column `realigned`, and all.csv."""
    with whole_file(output / TOGETHER) as together:
        everything = csv.writer(together, lineterminator="\n")
        everything.writerow(("set", "image", "mos", "realigned"))
        for name, labels in sets.items():
            with whole_file(output / f"{name}.csv") as own:
                rows = csv.DictWriter(own, [*dict.fromkeys([*labels.rows[0], "realigned"])], lineterminator="\n")
                rows.writeheader()
                for row, image, mos, label in zip(labels.rows, labels.images, labels.mos, after[name], strict=True):
                    # Six decimals are finer than any MOS, and keep different labels different.
                    rows.writerow({**row, "realigned": f"{label:.6f}"})
                    everything.writerow((name, image, f"{mos:.10g}", f"{label:.6f}"))
