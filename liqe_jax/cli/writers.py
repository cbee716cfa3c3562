"""Results as a table, JSON lines or CSV, written and flushed row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any, Protocol

from liqe_jax.errors import UsageError
from liqe_jax.messages import LONGEST_MESSAGE, json_text, printable
from liqe_jax.scoring.result import Failure, Score
from liqe_jax.scoring.shown import NONE_STANDS_OUT, shown_label
from liqe_jax.tasks import Attribute

Row = Mapping[str, Any]

CSV_DIGITS = 4  # after the decimal point; scores of two batch sizes differ in the sixth

PERCENTILE = "percentile"
_REST = ("crops", "width", "height", "model", "preprocess", "warnings", "digest", "error")


class Writer(Protocol):
    """Takes rows one at a time; each is on its way to the disk when `write` returns."""

    def write(self, row: Row) -> None:
        """Writes one row and flushes it."""


def row_of(result: Score | Failure, digest: str) -> dict[str, Any]:
    """The row of a result; scores have the digest of the model, since names of models are not unique."""
    row = result.to_dict()
    return row if isinstance(result, Failure) else {**row, "digest": digest}


def csv_columns(attributes: Sequence[Attribute]) -> list[str]:
    """Column names: attributes, their distributions as `attribute_probs.label`, and the rest."""
    probabilities = [f"{a.name}_probs.{label}" for a in attributes for label in a.labels]
    return ["image", *(a.name for a in attributes), *probabilities, *_REST]


def check_fields(fields: Sequence[str], attributes: Sequence[Attribute]) -> None:
    """Checks that results have such fields.

    Raises:
      UsageError: they do not.
    """
    known = [*csv_columns(attributes), PERCENTILE, *(f"{attribute.name}_probs" for attribute in attributes)]
    unknown = [field for field in fields if field not in known]
    if unknown:
        names = ", ".join(name for name in known if "." not in name)
        raise UsageError(
            f"Results have no field {printable(', '.join(unknown))}. Expected some of {names}, or the probability of a "
            "label, such as scene_probs.night."
        )


def value_of(row: Row, field: str) -> Any:
    """The value of a field; "scene_probs.night" is one probability; None where the row has no such field."""
    name, dot, label = field.partition(".")
    return row.get(name, {}).get(label) if dot else row.get(name)


class JsonlWriter:
    """One JSON object per line."""

    def __init__(
        self, stream: IO[str], attributes: Sequence[Attribute], fields: Sequence[str] = (), header: bool = True
    ):
        self._stream, self._fields = stream, fields

    def write(self, row: Row) -> None:
        """Writes one line."""
        chosen = {field: value for field in self._fields if (value := value_of(row, field)) is not None}
        self._stream.write(json_text(chosen if self._fields else dict(row)) + "\n")
        self._stream.flush()


class CsvWriter:
    """Comma-separated values, a column for every probability; numbers have `CSV_DIGITS` decimals."""

    def __init__(
        self, stream: IO[str], attributes: Sequence[Attribute], fields: Sequence[str] = (), header: bool = True
    ):
        self._stream = stream
        labels = {f"{attribute.name}_probs": attribute.labels for attribute in attributes}
        self._columns = [
            column
            for field in fields or csv_columns(attributes)
            for column in ([f"{field}.{label}" for label in labels[field]] if field in labels else [field])
        ]
        self._rows = csv.writer(stream, lineterminator="\n")
        if header:
            self._rows.writerow(self._columns)
            stream.flush()

    def write(self, row: Row) -> None:
        """Writes one row."""
        self._rows.writerow([_csv_cell(value_of(row, column)) for column in self._columns])
        self._stream.flush()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return round(value, CSV_DIGITS) if isinstance(value, float) else value


class TableWriter:
    """A table for people; warnings and errors stand under the row that they belong to."""

    def __init__(
        self, stream: IO[str], attributes: Sequence[Attribute], fields: Sequence[str] = (), header: bool = True
    ):
        self._stream, self._attributes = stream, attributes
        names = [name for name in fields or [a.name for a in attributes] if name != "image"]
        longest = {a.name: max(map(len, a.labels)) + 5 for a in attributes if a.values is None}
        if "distortion" in longest:
            longest["distortion"] = max(longest["distortion"], len(NONE_STANDS_OUT))
        self._widths = {name: max(len(name), longest.get(name, 7)) for name in names}
        if header:
            self._line(self._widths, "image")
            self._line(["-" * width for width in self._widths.values()], "-" * 24)

    def _line(self, cells: Sequence[str] | Mapping[str, int], image: str) -> None:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths.values(), strict=True)]
        self._stream.write("  ".join([*padded, image]).rstrip() + "\n")
        self._stream.flush()

    def write(self, row: Row) -> None:
        """Writes one row and what belongs under it."""
        image = printable(row["image"], LONGEST_MESSAGE)
        if "error" in row:
            self._line(["-"] * len(self._widths), image)
            self._stream.write(f"    error: {printable(row['error'], LONGEST_MESSAGE)}\n")
            return
        self._line([self._cell(row, name) for name in self._widths], image)
        for warning in row["warnings"]:
            self._stream.write(f"    note: {printable(warning, LONGEST_MESSAGE)}\n")

    def _cell(self, row: Row, name: str) -> str:
        value = value_of(row, name)
        if isinstance(value, float):
            return f"{value:.1f}" if name == PERCENTILE else f"{value:.3f}"
        if f"{name}_probs" in row:
            shown = shown_label(row, name, self._attributes)
            return shown if shown == NONE_STANDS_OUT else f"{shown} {row[f'{name}_probs'][shown]:.0%}"
        if isinstance(value, Mapping):
            return ", ".join(f"{label} {share:.0%}" for label, share in value.items())
        return printable(
            "; ".join(value) if isinstance(value, list) else "" if value is None else value, LONGEST_MESSAGE
        )


WRITERS: Mapping[str, Callable[[IO[str], Sequence[Attribute], Sequence[str], bool], Writer]] = MappingProxyType(
    {"table": TableWriter, "jsonl": JsonlWriter, "csv": CsvWriter}
)
