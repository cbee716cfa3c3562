"""Results as a table, JSON lines or CSV, written and flushed row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, Any, Protocol

from liqe_jax.messages import LONGEST_MESSAGE, json_text, printable
from liqe_jax.scoring.result import Failure, Score
from liqe_jax.tasks import TaskSet


class Writer(Protocol):
    """Takes results one at a time; each is on its way to the disk when `write` returns."""

    def write(self, result: Score | Failure) -> None:
        """Writes one result and flushes it."""


class JsonlWriter:
    """One JSON object a line."""

    def __init__(self, stream: IO[str], tasks: TaskSet, digest: str, header: bool = True):
        self._stream, self._digest = stream, digest

    def write(self, result: Score | Failure) -> None:
        """Writes one line."""
        self._stream.write(json_text(_fields(result, self._digest)) + "\n")
        self._stream.flush()


def _fields(result: Score | Failure, digest: str) -> dict[str, Any]:
    """What a row has to tell; scores with the digest of what made them, since names of models are not unique."""
    fields = result.to_dict()
    return fields if isinstance(result, Failure) else {**fields, "digest": digest}


def csv_columns(tasks: TaskSet) -> list[str]:
    """Column names: attributes, their distributions as `attribute_probs.label`, and the rest."""
    names = [attribute.name for attribute in tasks.attributes]
    probabilities = [f"{a.name}_probs.{label}" for a in tasks.attributes for label in a.labels]
    rest = ["crops", "width", "height", "model", "preprocess", "warnings", "digest", "error"]
    return ["image", *names, *probabilities, *rest]


class CsvWriter:
    """Comma-separated values, a column for every probability."""

    def __init__(self, stream: IO[str], tasks: TaskSet, digest: str, header: bool = True):
        self._stream, self._digest = stream, digest
        self._rows = csv.DictWriter(stream, csv_columns(tasks), restval="", lineterminator="\n")
        if header:
            self._rows.writeheader()
            stream.flush()

    def write(self, result: Score | Failure) -> None:
        """Writes one row."""
        row: dict[str, Any] = {}
        for key, value in _fields(result, self._digest).items():
            if isinstance(value, Mapping):
                row.update({f"{key}.{label}": probability for label, probability in value.items()})
            else:
                row[key] = "; ".join(value) if isinstance(value, list) else value
        self._rows.writerow(row)
        self._stream.flush()


class TableWriter:
    """A table for people; warnings and errors stand under the row that they belong to."""

    def __init__(self, stream: IO[str], tasks: TaskSet, digest: str = "", header: bool = True):
        self._stream, self._tasks = stream, tasks
        self._widths = {
            a.name: max(len(a.name), 7 if a.values is not None else max(map(len, a.labels)) + 5)
            for a in tasks.attributes
        }
        if header:
            self._line([name.ljust(width) for name, width in self._widths.items()], "image")
            self._line(["-" * width for width in self._widths.values()], "-" * 24)

    def _line(self, cells: list[str], image: str) -> None:
        self._stream.write("  ".join([*cells, image]).rstrip() + "\n")
        self._stream.flush()

    def write(self, result: Score | Failure) -> None:
        """Writes one row and what belongs under it."""
        if isinstance(result, Failure):
            self._line(["-".ljust(width) for width in self._widths.values()], printable(result.image, LONGEST_MESSAGE))
            self._stream.write(f"    error: {printable(result.error, LONGEST_MESSAGE)}\n")
            return
        cells = []
        for attribute in self._tasks.attributes:
            value = result[attribute.name]
            if isinstance(value, float):
                cell = f"{value:.3f}"
            else:
                cell = f"{value} {result.probabilities[attribute.name][value]:.0%}"
            cells.append(cell.ljust(self._widths[attribute.name]))
        self._line(cells, printable(result.image, LONGEST_MESSAGE))
        for warning in result.warnings:
            self._stream.write(f"    note: {printable(warning, LONGEST_MESSAGE)}\n")


WRITERS: Mapping[str, Callable[[IO[str], TaskSet, str, bool], Writer]] = MappingProxyType(
    {"table": TableWriter, "jsonl": JsonlWriter, "csv": CsvWriter}
)
