"""What the comparison commands share: scorers, which are models or files of scores, and reports."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

from liqe_jax.bounded_io import whole_file
from liqe_jax.cli import output
from liqe_jax.cli.inputs import expand
from liqe_jax.cli.settings import add_call_options, add_preprocess_option, load_model
from liqe_jax.cli.writers import Writer, row_of
from liqe_jax.data.score_tables import matched, numbers
from liqe_jax.errors import UsageError
from liqe_jax.locks import in_use
from liqe_jax.messages import LONGEST_TABLE, printable, storable
from liqe_jax.scoring.result import Failure

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

T = TypeVar("T")

SCORE_FILES = (".csv", ".jsonl")


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Adds --preprocess, --dtype, --batch-size and --quiet."""
    add_preprocess_option(parser)
    add_call_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress messages")


def images_in(folder: str, recursive: bool) -> list[str]:
    """Names of the images of a folder, relative to it, sorted."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is not a folder. Expected a folder of images.")
    names = []
    for item in expand([folder], recursive):
        if isinstance(item, Failure):
            raise UsageError(f"{item.image}: {item.error}")
        names.append(os.path.relpath(item, folder))
    if not names:
        hint = "" if recursive else " Add --recursive to include sub-folders."
        raise UsageError(f"No images in {folder}.{hint}")
    return sorted(names)


def make_folder(path: str) -> Path:
    """Creates the folder of a command's results if it does not exist."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot write to {path}: {error.strerror or error}.") from error
    return folder


def score_into(
    model: Model, folder: str, names: Sequence[str], destination: Path, arguments: argparse.Namespace
) -> Float[np.ndarray, " N"]:
    """Scores images into a JSONL file like `liqe score`, except those that it already contains; returns all scores."""
    preprocess = arguments.preprocess or model.preprocess
    with in_use(destination):
        done = output.take_up(str(destination), "jsonl", model.tasks, output.settings_of(model, preprocess))
        paths = [os.path.join(folder, name) for name in names]
        missing = [path for path in paths if storable(path) not in done]
        results = model.score_many(missing, batch_size=arguments.batch_size, preprocess=preprocess)
        with open(destination, "a", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = Writer("jsonl", stream, model.tasks.attributes)
            for result in progress(results, len(missing), f"scoring with {model.name}", arguments.quiet):
                writer.write(row_of(result, output.short_digest(model)))
    return matched(numbers(destination), names, folder)


def progress(results: Iterable[T], total: int, what: str, quiet: bool) -> Iterable[T]:
    """Shows a progress bar on a terminal while yielding the results."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    return tqdm(results, total=total, unit="image", desc=what, disable=hidden, dynamic_ncols=True, leave=False)


def scores_by(
    argument: str,
    folder: str,
    names: Sequence[str],
    destination: Path,
    arguments: argparse.Namespace,
    column: str | None,
) -> tuple[str, Float[np.ndarray, " N"]]:
    """The name of a scorer and its scores of the images, NaN for images without a score.

    It is a CSV or JSONL file with a `column` of scores (None: the default names), or a model, as of `score_into`.
    """
    if Path(argument).suffix.lower() in SCORE_FILES:
        return Path(argument).stem, matched(numbers(argument, column), names, folder)
    model = load_model(arguments, argument)
    return model.name, score_into(model, folder, names, destination, arguments)


def without_nan(value: Any) -> Any:
    """A JSON-ready value with None in place of NaN and infinite numbers, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(output: Path, name: str, result: dict[str, Any], text: str) -> None:
    """Writes OUTPUT/NAME.json and OUTPUT/NAME.md, and prints the text."""
    with whole_file(output / f"{name}.json") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    (output / f"{name}.md").write_text(text, "utf-8", errors="replace")
    print(printable(text, LONGEST_TABLE, keep="\n"), end="")
