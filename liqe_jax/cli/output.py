"""The file that results go to: never overwritten by accident, and continued after an interruption."""

from __future__ import annotations

import csv
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.bounded_io import open_regular, parse_json
from liqe_jax.cli.writers import csv_columns
from liqe_jax.errors import UsageError
from liqe_jax.messages import printable, quoted, storable
from liqe_jax.tasks import Attribute, TaskSet

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
    """Refuses what would lose results."""
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


def short_digest(model: Model) -> str:
    """Of weights, sentences and dtype: a name may be that of several models, such as one run's best and last."""
    return model.digest[:12]


def settings_of(model: Model, preprocess: str) -> dict[str, str]:
    """What all rows of a file have in common."""
    return {"model": model.name, "preprocess": preprocess, "digest": short_digest(model)}


def take_up(path: str, form: str, tasks: TaskSet, made_by: Mapping[str, str]) -> set[str]:
    """Prepares an interrupted file for appending and returns the names (`storable`) of the images that it contains.

    The file is read line by line. An unfinished last line is cut off after everything before it has been checked. A
    file whose rows have another task set, or not the values of `made_by` (column -> value), is left as it is.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return set()
    end = end_of_lines(path)
    try:
        _check_start(path, end, form, tasks)
        done = set(_names(path, end, form, tasks, made_by))
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(
            f"{path} is not a {form} file of this program ({printable(error)}). Write to another file."
        ) from error
    os.truncate(path, end)
    return done


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that `liqe score` wrote; an unfinished last line is left out."""
    try:
        for line in _lines(path, end_of_lines(path)):
            row = parse_json(line)
            if not isinstance(row["image"], str) or not ("error" in row or {"model", "preprocess"} <= set(row)):
                raise ValueError(f"a row has the keys {list(row)}")
            yield row
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path} is not a jsonl file of liqe score with all fields ({printable(error)}). Write one with: "
            "liqe score ... --output FILE.jsonl"
        ) from error
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error


def attributes_of(row: Mapping[str, Any]) -> list[Attribute]:
    """The attributes of a row, in its order; those that are numbers have values 1, 2, ..."""
    names = [key.removesuffix("_probs") for key in row if key.endswith("_probs")]
    labels = {name: tuple(row[f"{name}_probs"]) for name in names}
    return [
        Attribute(name, labels[name], tuple(range(1, len(labels[name]) + 1)) if isinstance(row[name], float) else None)
        for name in names
    ]


def _check_start(path: str, end: int, form: str, tasks: TaskSet) -> None:
    """Whether a file begins like one of ours, and so does the line that will be cut off."""
    header = (",".join(csv_columns(tasks.attributes)) + "\n").encode()
    with open(path, "rb") as file:
        first = file.readline(len(header) + 2)
        file.seek(end)
        tail = file.read(len(_JSON_START))
    if form == "csv":
        if first != header[: len(first)]:
            if first.startswith(b"image,"):
                raise UsageError(f"{path} has other columns than this model's results. Write to another file.")
            raise ValueError(f"it begins {first[:40]!r}")
    elif tail != _JSON_START[: len(tail)]:
        raise ValueError(f"its last line begins {tail!r}")


def _lines(path: str, end: int) -> Iterator[str]:
    with open(path, "rb") as file:
        for line in file:
            end -= len(line)
            if end < 0:
                return
            yield line.decode("utf-8")


def _rows(path: str, end: int, form: str) -> Iterator[dict[str, Any]]:
    lines = _lines(path, end)
    if form == "jsonl":
        yield from map(parse_json, lines)
        return
    for row in csv.DictReader(lines):
        if None in row or None in row.values():
            raise ValueError("a row has more or fewer columns than the header")
        yield row


def _names(path: str, end: int, form: str, tasks: TaskSet, made_by: Mapping[str, str]) -> Iterator[str]:
    for row in _rows(path, end, form):
        if not row.get("error"):
            _check_settings(path, row, made_by)
            if form == "jsonl":  # of CSV the header says so
                _check_attributes(path, row, tasks)
        yield storable(row["image"])


def _check_settings(path: str, row: Mapping[str, Any], made_by: Mapping[str, str]) -> None:
    for key, ours in made_by.items():
        if row[key] != ours:
            # People cannot tell anything from a digest.
            why = "; the model has that name, but other weights, sentences or --dtype" if key == "digest" else ""
            raise UsageError(
                f"{path} holds results of {key} {quoted(row[key])}, and this run uses {ours!r}{why}. Write to another "
                "file, or use the same model and settings."
            )


def _check_attributes(path: str, row: Mapping[str, Any], tasks: TaskSet) -> None:
    found = {key.removesuffix("_probs") for key in row if key.endswith("_probs")}
    wanted = {attribute.name for attribute in tasks.attributes}
    if found != wanted:
        raise UsageError(
            f"{path} holds {printable(', '.join(sorted(found)))}, and this run gives {', '.join(sorted(wanted))}. "
            "Write to another file, or use the same --tasks."
        )


def end_of_lines(path: str | os.PathLike) -> int:
    """Where a file's last complete line ends, bytes; what follows was being written when a run stopped."""
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:  # which mmap refuses
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(b"\n") + 1
