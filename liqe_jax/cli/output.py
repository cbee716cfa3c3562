"""The file that results go to: never overwritten by accident, and continued after an interruption."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.bounded_io import parse_json
from liqe_jax.cli.writers import csv_columns
from liqe_jax.errors import UsageError
from liqe_jax.messages import printable, quoted
from liqe_jax.tasks import TaskSet

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

# How a line of JSON begins here.
_JSON_START = b'{"image": '


def format_for(path: str | None, wanted: str | None) -> str:
    """The format asked for; else the one that the file's suffix names; else a table (JSONL for files)."""
    if wanted:
        return wanted
    if path is None:
        return "table"
    return {".csv": "csv", ".txt": "table"}.get(Path(path).suffix.lower(), "jsonl")


def check_destination(path: str, form: str, resume: bool, overwrite: bool) -> None:
    """Refuses what would lose results.

    Raises:
      UsageError: the file exists and neither resume nor overwrite was asked for, it is a folder, or a table
        should be resumed.
    """
    if resume and overwrite:
        raise UsageError("--resume keeps the results in --output and --overwrite removes them; give one of them.")
    if resume and form == "table":
        raise UsageError("--resume reads what --output holds, and a table is for people; use --format jsonl or csv.")
    if os.path.isdir(path):
        raise UsageError(
            f"{path} is a folder. Give --output the name of a file, such as {Path(path) / 'scores.jsonl'}."
        )
    if os.path.exists(path) and os.path.getsize(path) and not (resume or overwrite):
        raise UsageError(f"{path} exists. Give --resume to continue it, --overwrite to replace it, or another name.")


def stored_name(image: str) -> str:
    """An image's name as every format holds it: bytes that are no UTF-8 as escapes."""
    return image.encode("utf-8", "backslashreplace").decode("utf-8")


def short_digest(model: Model) -> str:
    """Of weights, sentences and dtype: a name may be that of several models, such as one run's best and last."""
    return model.digest[:12]


def settings_of(model: Model, preprocess: str) -> dict[str, str]:
    """What all rows of a file have in common."""
    return {"model": model.name, "preprocess": preprocess, "digest": short_digest(model)}


def take_up(path: str, form: str, tasks: TaskSet, made_by: Mapping[str, str]) -> set[str]:
    """Prepares an interrupted file for appending and says which images it holds, by `stored_name`.

    A last line without an end was being written when the run stopped; it is cut off, once everything before it is
    known to be of this program.

    Args:
      path: of the file, which need not exist.
      form: jsonl or csv.
      tasks: what its rows have to tell.
      made_by: column -> value that every row has to have, such as the model's name.

    Raises:
      UsageError: the rows are damaged or another program's, or were made by another model or with other settings. The
        file is left as it is.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return set()
    end = end_of_lines(path)
    try:
        _check_start(path, end, form, tasks)
        done = set()
        for row in _rows(path, end, form):
            if not row.get("error"):
                _check_row(path, row, tasks, made_by)
            done.add(stored_name(row["image"]))
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no {form} file of this program ({printable(error)}). Write to another file."
        ) from error
    os.truncate(path, end)
    return done


def _check_start(path: str, end: int, form: str, tasks: TaskSet) -> None:
    """Whether a file begins as ours, and what will be cut off is ours too."""
    header = (",".join(csv_columns(tasks)) + "\n").encode()
    with open(path, "rb") as file:
        # Files of earlier versions call the column of crops "patches".
        first = file.readline(len(header) + 2).replace(b",patches,", b",crops,")
        file.seek(end)
        tail = file.read(len(_JSON_START))
    if form == "csv":
        if first != header[: len(first)]:
            if first.startswith(b"image,"):
                raise UsageError(f"{path} has other columns than this model's results. Write to another file.")
            raise ValueError(f"it begins {first[:40]!r}")
    elif tail != _JSON_START[: len(tail)]:
        raise ValueError(f"its last line begins {tail!r}")


def _rows(path: str, end: int, form: str) -> Iterator[Mapping[str, Any]]:
    def lines() -> Iterator[str]:
        with open(path, "rb") as file:
            while file.tell() < end:
                yield file.readline().decode("utf-8")

    return csv.DictReader(lines()) if form == "csv" else map(parse_json, lines())


def _check_row(path: str, row: Mapping[str, Any], tasks: TaskSet, made_by: Mapping[str, str]) -> None:
    for key, ours in made_by.items():
        if row[key] != ours:
            # The digest says nothing to people.
            why = "; the model has that name, but other weights, sentences or --dtype" if key == "digest" else ""
            raise UsageError(
                f"{path} holds results of {key} {quoted(row[key])}, and this run uses {ours!r}{why}. Write to another "
                "file, or use the same model and settings."
            )
    told = {key.removesuffix("_probs") for key in row if key.endswith("_probs")}
    wanted = {attribute.name for attribute in tasks.attributes}
    if told and told != wanted:  # of CSV the header has said so
        raise UsageError(
            f"{path} holds {printable(', '.join(sorted(told)))}, and this run gives {', '.join(sorted(wanted))}. Write "
            "to another file, or use the same --tasks."
        )


def end_of_lines(path: str) -> int:
    """Where a file's last complete line ends, bytes; what follows was being written when a run stopped."""
    with open(path, "rb") as file:
        position, block = file.seek(0, os.SEEK_END), 1 << 16
        while position > 0:
            start = max(position - block, 0)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            position = start
    return 0


def cut_unfinished_line(path: str) -> None:
    """Ends a file of this program's after its last complete line."""
    os.truncate(path, end_of_lines(path))
