"""Results as a table, JSON lines or CSV, written and flushed row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

from liqe_jax.errors import UsageError
from liqe_jax.messages import LONGEST_MESSAGE, json_text, printable
from liqe_jax.scoring.result import Failure, Score
from liqe_jax.scoring.shown import NONE_STANDS_OUT, shown_label
from liqe_jax.tasks import Attribute

Row = Mapping[str, Any]

CSV_DIGITS = 4  # after the decimal point; scores of two batch sizes differ in the sixth

PERCENTILE = "percentile"
_REST = ("crops", "width", "height", "model", "preprocess", "warnings", "digest", "error")


def row_of(result: Score | Failure, digest: str) -> dict[str, Any]:
    """The row of a result; scores have the digest of the model, since names of models are not unique."""
    row = result.to_dict()
    return row if isinstance(result, Failure) else {**row, "digest": digest}


def csv_columns(attributes: Sequence[Attribute]) -> list[str]:
    """Column names: attributes, their distributions as `attribute_probs.label`, and the rest."""
    probabilities = [f"{a.name}_probs.{label}" for a in attributes for label in a.labels]
    return ["image", *(a.name for a in attributes), *probabilities, *_REST]


def check_fields(fields: Sequence[str], attributes: Sequence[Attribute]) -> None:
    """Raises UsageError if results have no such fields."""
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


def _jsonl(attributes: Sequence[Attribute], fields: Sequence[str]) -> tuple[str, Callable[[Row], str]]:
    def line(row: Row) -> str:
        chosen = {field: value for field in fields if (value := value_of(row, field)) is not None}
        return json_text(chosen if fields else dict(row)) + "\n"

    return "", line


def _csv(attributes: Sequence[Attribute], fields: Sequence[str]) -> tuple[str, Callable[[Row], str]]:
    """Comma-separated values, a column for every probability; numbers have `CSV_DIGITS` decimals."""
    labels = {f"{attribute.name}_probs": attribute.labels for attribute in attributes}
    columns = [
        column
        for field in fields or csv_columns(attributes)
        for column in ([f"{field}.{label}" for label in labels[field]] if field in labels else [field])
    ]

    def line(cells: Sequence[Any]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(cells)
        return buffer.getvalue()

    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return "; ".join(value)
        return round(value, CSV_DIGITS) if isinstance(value, float) else value

    return line(columns), lambda row: line([cell(value_of(row, column)) for column in columns])


def _table(attributes: Sequence[Attribute], fields: Sequence[str]) -> tuple[str, Callable[[Row], str]]:
    """A table for people; warnings and errors stand under the row that they belong to."""
    names = [name for name in fields or [a.name for a in attributes] if name != "image"]
    longest = {a.name: max(map(len, a.labels)) + 5 for a in attributes if a.values is None}
    if "distortion" in longest:
        longest["distortion"] = max(longest["distortion"], len(NONE_STANDS_OUT))
    widths = {name: max(len(name), longest.get(name, 7)) for name in names}

    def line(cells: Iterable[str], image: str) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths.values(), strict=True)]
        return "  ".join([*padded, image]).rstrip() + "\n"

    def lines(row: Row) -> str:
        image = printable(row["image"], LONGEST_MESSAGE)
        if "error" in row:
            return line(["-"] * len(widths), image) + f"    error: {printable(row['error'], LONGEST_MESSAGE)}\n"
        notes = [f"    note: {printable(warning, LONGEST_MESSAGE)}\n" for warning in row["warnings"]]
        return "".join([line([_shown(row, name, attributes) for name in widths], image), *notes])

    return line(widths, "image") + line(["-" * width for width in widths.values()], "-" * 24), lines


def _shown(row: Row, name: str, attributes: Sequence[Attribute]) -> str:
    value = value_of(row, name)
    if isinstance(value, float):
        return f"{value:.1f}" if name == PERCENTILE else f"{value:.3f}"
    if f"{name}_probs" in row:
        shown = shown_label(row, name, attributes)
        return shown if shown == NONE_STANDS_OUT else f"{shown} {row[f'{name}_probs'][shown]:.0%}"
    if isinstance(value, Mapping):
        return ", ".join(f"{label} {share:.0%}" for label, share in value.items())
    return printable("; ".join(value) if isinstance(value, list) else "" if value is None else value, LONGEST_MESSAGE)


# Name -> function of attributes and fields (all where there are none) that returns the header and the text of a row.
FORMATS = MappingProxyType({"table": _table, "jsonl": _jsonl, "csv": _csv})


class Writer:
    """Writes rows in one of `FORMATS`; each row is on its way to the disk when `write` returns."""

    def __init__(
        self,
        form: str,
        stream: IO[str],
        attributes: Sequence[Attribute],
        fields: Sequence[str] = (),
        header: bool = True,
    ):
        self._stream = stream
        names, self._text = FORMATS[form](attributes, fields)
        if header:
            self._put(names)

    def write(self, row: Row) -> None:
        """Writes one row and flushes it."""
        self._put(self._text(row))

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
