"""Files with the predictions of a model for a data set; results are computed from them without model and data.

JSONL: the first line describes the model and the options. Every other line is an image with its labels, its
splits, its predicted quality and the probabilities. `X.jsonl` is complete; `X.jsonl.partial` is written by a run
that is in progress or was interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Bool, Float, Int

from liqe_jax.bounded_io import parse_json, read_text, whole_file
from liqe_jax.data.labelled import UNKNOWN, LabelledSet
from liqe_jax.errors import DataError
from liqe_jax.messages import printable
from liqe_jax.taxonomy import DISTORTION, SCENE

FORMAT = "liqe_jax predictions 1"
PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True)
class SetPredictions:
    """Predictions of a model for the images of one data set, with their labels as in `LabelledSet`.

    `quality` is the expected quality, float32 as predicted; `probabilities` and `labels` are by attribute.
    """

    dataset: str
    names: Sequence[str]
    mos: Float[np.ndarray, " N"]
    distortion: Int[np.ndarray, " N"]
    scenes: Bool[np.ndarray, "N S"]
    splits: Mapping[str, Sequence[str]]
    quality: Float[np.ndarray, " N"]
    probabilities: Mapping[str, Float[np.ndarray, "N L"]]
    labels: Mapping[str, tuple[str, ...]]

    def indices(self, session: str, split: str) -> Int[np.ndarray, " M"]:
        """Positions of the images of a session's split; session "all" is every predicted image.

        Raises:
          DataError: there are none.
        """
        if session == "all":
            return np.arange(len(self.names))
        chosen = np.flatnonzero(np.asarray(self.splits.get(session, ())) == split)
        if not len(chosen):
            raise DataError(
                f"The predictions for {self.dataset} contain no image of session {session!r}, split {split!r}. Run the "
                "evaluation with --weights to add them."
            )
        return chosen


def labels_digest(dataset: LabelledSet) -> str:
    """Digest of the names and labels of all images, hexadecimal SHA-256."""
    found = hashlib.sha256(json.dumps([list(dataset.names), {k: list(v) for k, v in dataset.splits.items()}]).encode())
    for array in (dataset.mos, dataset.distortion, dataset.scenes):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def row_of(
    dataset: LabelledSet, index: int, quality: np.float32, probabilities: Mapping[str, Float[np.ndarray, " L"]]
) -> dict[str, Any]:
    """The line of one image. Floats have the fewest digits that give the same float32."""
    distortion = int(dataset.distortion[index])
    return {
        "image": dataset.names[index],
        "mos": float(dataset.mos[index]),
        "quality": _shortest(quality),
        "distortion": DISTORTION.labels[distortion] if distortion >= 0 else None,
        "scenes": [SCENE.labels[scene] for scene in np.flatnonzero(dataset.scenes[index])],
        # The key of earlier versions, so that interrupted runs continue: session -> split.
        "parts": {session: split for session, of_images in dataset.splits.items() if (split := of_images[index])},
        "probabilities": {name: [_shortest(p) for p in row] for name, row in probabilities.items()},
    }


def _shortest(value: np.float32) -> float:
    return float(str(np.float32(value)))


class PredictionFile:
    """The file of one set; an interrupted run continues where it stopped."""

    def __init__(self, path: Path, header: Mapping[str, Any]):
        """Reads existing rows; a file with other weights, options or labels is renamed to `put_aside`.

        Raises:
          DataError: a file cannot be read or is corrupt.
        """
        self.path, self.header = path, {"format": FORMAT, **header}
        self.partial = path.with_name(path.name + PARTIAL)
        self.rows: dict[str, dict[str, Any]] = {}  # by image name
        self.put_aside: Path | None = None
        for source in (path, self.partial):
            if not source.exists():
                continue
            found, rows = read_lines(source, cut=source == self.partial)
            if found == self.header:
                try:
                    self.rows |= {row["image"]: row for row in rows}
                except (LookupError, TypeError) as error:
                    raise _corrupt(source, error) from error
            else:
                self.put_aside = source.with_name(source.name + ".old")
                os.replace(source, self.put_aside)

    @contextlib.contextmanager
    def append(self) -> Iterator[Any]:
        """Yields a function that appends rows to the file and flushes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Rewritten first: a kill may have truncated the last line.
        self._write_whole(self.partial, self.rows.values())
        with self.partial.open("a", encoding="utf-8") as file:

            def add(rows: Sequence[dict[str, Any]]) -> None:
                _write(file, rows)
                file.flush()
                self.rows.update({row["image"]: row for row in rows})

            yield add

    def finish(self, order: Sequence[str]) -> None:
        """Replaces the file atomically with all rows, in the order of the data set."""
        self._write_whole(self.path, [self.rows[name] for name in order if name in self.rows])
        self.partial.unlink(missing_ok=True)

    def _write_whole(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        with whole_file(path) as file:
            _write(file, [self.header, *rows])


def _write(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    file.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def read_lines(path: Path, cut: bool = False) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Reads header and rows; with `cut`, the last line may be truncated and is dropped.

    Raises:
      DataError: the file cannot be read or is corrupt.
    """
    try:
        # Not `splitlines`, which also splits at U+2028 and similar characters; file names may contain them.
        *lines, rest = read_text(path, errors="replace" if cut else "strict").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. Remove it and run the evaluation again.") from error
    if rest and not cut:
        lines.append(rest)
    try:
        parsed = [parse_json(line) for line in lines]
    except ValueError as error:
        raise _corrupt(path, error) from error
    if cut and not parsed:
        return {}, []
    if not parsed or not isinstance(parsed[0], dict) or parsed[0].get("format") != FORMAT:
        raise DataError(f"{path} does not begin with {FORMAT!r}. Remove it and run the evaluation again.")
    return parsed[0], parsed[1:]


def read_predictions(path: Path) -> SetPredictions:
    """Reads a complete file.

    Raises:
      DataError: it cannot be read or is corrupt.
    """
    header, rows = read_lines(path)
    try:
        sessions = list(dict.fromkeys(session for row in rows for session in row["parts"]))
        scenes = np.zeros((len(rows), len(SCENE.labels)), bool)
        for position, row in enumerate(rows):
            scenes[position, [SCENE.labels.index(scene) for scene in row["scenes"]]] = True
        codes: dict[str | None, int] = {None: UNKNOWN, **{label: i for i, label in enumerate(DISTORTION.labels)}}
        labels = {name: tuple(of) for name, of in header["labels"].items()}
        return SetPredictions(
            dataset=header["dataset"],
            names=tuple(row["image"] for row in rows),
            mos=np.array([row["mos"] for row in rows], np.float64),
            distortion=np.array([codes[row["distortion"]] for row in rows], np.int64),
            scenes=scenes,
            splits={session: tuple(row["parts"].get(session, "") for row in rows) for session in sessions},
            quality=np.array([row["quality"] for row in rows], np.float32),
            probabilities={
                name: np.array([row["probabilities"][name] for row in rows], np.float32).reshape(len(rows), len(of))
                for name, of in labels.items()
            },
            labels=labels,
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is corrupt ({printable(repr(error))}). Remove it and run the evaluation again.")
