"""The file that results go to: never overwritten by accident, and continued after an interruption."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

from liqe_jax.cli.writers import csv_columns
from liqe_jax.errors import UsageError
from liqe_jax.tasks import TaskSet


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
      UsageError: the file exists and neither resume nor overwrite was asked for, or a table
        should be resumed.
    """
    if resume and overwrite:
        raise UsageError("--resume keeps the results in --output and --overwrite removes them; give one of them.")
    if resume and form == "table":
        raise UsageError("--resume reads what --output holds, and a table is for people; use --format jsonl or csv.")
    if os.path.exists(path) and os.path.getsize(path) and not (resume or overwrite):
        raise UsageError(f"{path} exists. Give --resume to continue it, --overwrite to replace it, or another name.")


def take_up(path: str, form: str, tasks: TaskSet, model: str, preprocess: str) -> set[str]:
    """Prepares an interrupted file for appending and says which images it holds.

    A last line without an end was being written when the run stopped; it is cut off.

    Raises:
      UsageError: the rows are damaged, or were made by another model or preset.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return set()
    cut_unfinished_line(path)
    done: set[str] = set()
    with open(path, encoding="utf-8", newline="") as file:
        try:
            rows = csv.DictReader(file) if form == "csv" else map(json.loads, file)
            for row in rows:
                for key, ours in (("model", model), ("preprocess", preprocess)):
                    if row.get(key) not in (None, "", ours):
                        raise UsageError(
                            f"{path} holds results of {key} {row[key]!r}, and this run uses {ours!r}. Write to another "
                            "file, or use the same settings."
                        )
                done.add(row["image"])
            if isinstance(rows, csv.DictReader) and rows.fieldnames not in (None, csv_columns(tasks)):
                raise UsageError(f"{path} has other columns than this model's results. Write to another file.")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise UsageError(f"{path} is no {form} file of this program ({error}). Write to another file.") from error
    return done


def cut_unfinished_line(path: str) -> None:
    """Ends a file after its last complete line; what follows was being written when a run stopped."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position, block = end, 1 << 16
        while position > 0:
            start = max(position - block, 0)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            position = start
        file.truncate(0)
