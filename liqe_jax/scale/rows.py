"""Rows of the output: the columns, and the row of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from liqe_jax.errors import UsageError
from liqe_jax.messages import LONGEST_MESSAGE, json_text, printable
from liqe_jax.scale.samples import Sample
from liqe_jax.scoring.result import Failure, Score
from liqe_jax.tasks import TaskSet

# Values of the column `status`.
SUCCESS, FAILED, DUPLICATE = "success", "failed", "duplicate_key"

# Columns that every output has: without them nothing can be joined or trusted.
ALWAYS = ("key", "status", "error_message")


def schema_of(tasks: TaskSet, columns: Sequence[str] | None = None) -> pa.Schema:
    """The columns, with the labels of the probabilities as JSON in the metadata of the schema, under `labels`.

    `columns` are those to keep besides `ALWAYS`, None: all. Raises UsageError if there is no such column.
    """
    fields = {
        "key": pa.string(),
        **{a.name: pa.string() if a.values is None else pa.float32() for a in tasks.attributes},
        **{f"{a.name}_probs": pa.list_(pa.float32()) for a in tasks.attributes},
        **{"width": pa.int32(), "height": pa.int32(), "sha256": pa.string(), "status": pa.string()},
        "error_message": pa.string(),
        "warnings": pa.list_(pa.string()),
    }
    unknown = [name for name in columns or () if name not in fields]
    if unknown:
        raise UsageError(f"There is no column {printable(unknown[0])}; expected some of {', '.join(fields)}.")
    kept = [(n, t) for n, t in fields.items() if columns is None or n in columns or n in ALWAYS]
    labels = {f"{a.name}_probs": a.labels for a in tasks.attributes}
    return pa.schema(kept, {"labels": json_text(labels)})


def row_of(sample: Sample, result: Score | Failure, repeated: bool) -> dict[str, Any]:
    """The row of an image with all columns that are known; `repeated`: an earlier one of the shard has its key."""
    row: dict[str, Any] = {"key": sample.key, "sha256": sample.sha256}
    if isinstance(result, Failure):
        message = printable(sample.problem or result.error, LONGEST_MESSAGE)
        return {**row, "status": FAILED, "error_message": message, "warnings": list(sample.warnings)}
    scored = {
        name: list(value.values()) if isinstance(value, Mapping) else value for name, value in result.to_dict().items()
    }
    scored["warnings"] = [*sample.warnings, *result.warnings]
    if repeated:
        return {**scored, **row, "status": DUPLICATE, "error_message": "An earlier image of the shard has this key."}
    return {**scored, **row, "status": SUCCESS}
