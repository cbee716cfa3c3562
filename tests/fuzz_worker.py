"""Reads whatever files it is given, with bounded memory; a process of its own, which test_fuzz.py can end.

Takes lines "TARGET NAME LENGTH" on standard input, each followed by so many bytes, and answers each with a line of
JSON: {"outcome": "result", "ours" or "other", "error": ...}.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from liqe_jax.cli import output
from liqe_jax.data.score_tables import MOS_COLUMNS, numbers
from liqe_jax.data.sets.liqe_labels import read_file as read_liqe_labels
from liqe_jax.data.tables import read_csv
from liqe_jax.errors import LiqeError
from liqe_jax.evaluate.finished import FinishedEvaluation
from liqe_jax.evaluate.predictions import PredictionFile, read_predictions
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.images.preprocess import PRESETS, prepare
from liqe_jax.taxonomy import JOINT
from liqe_jax.weights.read import read_model

MEMORY = 1 << 30  # bytes beyond what the imports take


def image(path: Path) -> None:
    decoded = decode(path, DecodeOptions(apply_exif=True, white_background=True, allow_truncated=True))
    prepare(decoded, PRESETS["paper"])


def weights(path: Path) -> None:
    read_model(path)


def model_folder(path: Path) -> None:
    """A whole model in which one file is another."""
    whole = Path(sys.argv[1])
    folder = path.parent / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    shutil.copyfile(path, folder / path.name)
    if path.name != "liqe.json":
        (folder / "liqe.json").unlink()
    read_model(folder)


def one_after_the_other(*readers: Callable[[Path], object]) -> Callable[[Path], None]:
    """All readers of one kind of file: an error of ours from one does not spare the others."""

    def read(path: Path) -> None:
        first: LiqeError | None = None
        for reader in readers:
            try:
                reader(path)
            except LiqeError as error:
                first = first or error
        if first is not None:
            raise first

    return read


def resumed(form: str) -> Callable[[Path], object]:
    """`--resume` cuts the file that it takes up, so it gets a copy."""

    def read(path: Path) -> object:
        copy = path.with_name("resumed")
        shutil.copyfile(path, copy)
        return output.take_up(str(copy), form, JOINT, {"model": "m", "preprocess": "paper", "digest": "0"})

    return read


def finished(path: Path) -> object:
    shutil.copyfile(path, path.with_name("evaluation.json"))
    return FinishedEvaluation(path.parent)


def partial(path: Path) -> object:
    shutil.copyfile(path, path.with_name("p.jsonl.partial"))
    return PredictionFile(path.with_name("p.jsonl"), {})


TARGETS: dict[str, Callable[[Path], None]] = {
    "image": image,
    "weights": weights,
    "model_folder": model_folder,
    "csv": one_after_the_other(
        lambda path: read_csv(path, ("image", "mos")),
        numbers,
        lambda path: numbers(path, None, MOS_COLUMNS, gaps=False),
        resumed("csv"),
        read_liqe_labels,
    ),
    "jsonl": one_after_the_other(numbers, resumed("jsonl"), read_predictions, partial, finished),
}


def outcome(target: str, path: Path) -> dict[str, str]:
    try:
        TARGETS[target](path)
    except LiqeError as error:
        text = str(error)
        if len(text) > 5000 or not text.replace("\n", "").isprintable():
            return {"outcome": "other", "error": f"a message of {len(text)} characters: {text[:500]!r}"}
        return {"outcome": "ours", "error": text}
    except BaseException as error:
        return {"outcome": "other", "error": f"{type(error).__name__}: {error}"[:2000]}
    return {"outcome": "result", "error": ""}


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[2])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    stream = sys.stdin.buffer
    while line := stream.readline():
        target, name, length = line.split()
        path = folder / name.decode()
        path.write_bytes(stream.read(int(length)))
        print(json.dumps(outcome(target.decode(), path)), flush=True)


if __name__ == "__main__":
    main()
