"""Prepared data sets: labels in memory, images by random access."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from liqe_jax.bounded_io import read_json
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError, UnreadableError
from liqe_jax.messages import printable, quoted
from liqe_jax.taxonomy import SCENE

FILE = "labels.json"
FORMAT = 1

# Prefix of folders that tfds is writing; a killed preparation leaves them.
INCOMPLETE = "incomplete."

# In messages of array_record.
_SIGNS_OF_CORRUPTION = ("Corrupted", "mismatch", "should be at least")


def read_labels_json(folder: Path) -> dict[str, Any]:
    """Reads the file that `liqe_jax.data.prepare.builders.write_labels` writes.

    Raises:
      DataError: the file is missing, corrupt or of another version.
    """
    path = folder / FILE
    try:
        content = read_json(path)
        known = content["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Cannot read {path}: {printable(error)}. Remove {folder} and prepare the set again."
        ) from error
    if not known:
        raise DataError(
            f"{path} has format {quoted(content['format'])}, expected {FORMAT}. Remove {folder} and prepare the set "
            "again."
        )
    if "parts" in content:  # the key of earlier versions
        content["splits"] = content.pop("parts")
    return content


def find_prepared(name: str, data_dir: Path) -> Path:
    """Finds the folder of a prepared set by its name ("KADID-10k"), short name ("kadid10k") or own name.

    Raises:
      DataError: there is no such set, or there are several.
    """
    root = Path(data_dir).expanduser()
    known: dict[str, list[Path]] = {}
    # <short name>/<version>, or <short name>/<own name>/<version>
    for path in sorted([*root.glob(f"*/*/{FILE}"), *root.glob(f"*/*/*/{FILE}")]):
        if path.parent.name.startswith(INCOMPLETE):
            continue
        content = read_labels_json(path.parent)
        for key in {content["name"].lower(), content["slug"]}:
            known.setdefault(key, []).append(path.parent)
    found = known.get(name.lower(), [])
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(str(path) for path in found)
        raise DataError(f"{len(found)} prepared sets are called {name!r}: {shown}. Use their own names.")
    raise DataError(
        f"No prepared data set {name!r} in {root}; there are: {', '.join(sorted(known)) or 'none'}. "
        "Prepare it with: liqe data prepare NAME --manual-dir D --data-dir O"
    )


def load_set(name: str, data_dir: str | os.PathLike) -> LabelledSet:
    """Loads a data set that `liqe data prepare` (or its tfds builder) has written.

    Args:
      name: such as "KADID-10k" or "kadid10k", or the name of your own set.
      data_dir: folder of prepared sets.

    Raises:
      DataError: there is no such set, or its files are missing or corrupt.
    """
    folder = find_prepared(name, Path(data_dir))
    content = read_labels_json(folder)
    count = len(content["names"])
    records = Records(sorted(str(path) for path in folder.glob("*.array_record*")))
    if len(records) != count:
        raise DataError(
            f"{folder} has {len(records)} records but labels for {count}. Remove it and prepare the set again."
        )
    scenes = np.zeros((count, len(SCENE.labels)), bool)
    for position, indices in enumerate(content["scenes"]):
        scenes[position, indices] = True
    return LabelledSet(
        name=content["name"],
        names=tuple(content["names"]),
        mos=np.array(content["mos"], np.float64),
        mos_range=tuple(content["mos_range"]),
        raw_distortion=tuple(content["raw_distortion"]),
        distortion=np.array(content["distortion"], np.int64),
        scenes=scenes,
        reference=tuple(content["reference"]),
        read=records,
        splits=MappingProxyType({session: tuple(splits) for session, splits in content["splits"].items()}),
    )


class Records:
    """Encoded images of array_record files by position. Can be called from several threads."""

    def __init__(self, paths: Sequence[str]):
        """Opens the files once to count their records.

        Raises:
          DataError: array_record is missing, or a file is corrupt.
          UnreadableError: a file cannot be opened or read.
        """
        # Not in the threads: while TensorFlow Datasets is imported, imports in other threads give unusable objects.
        try:
            from array_record.python.array_record_data_source import ArrayRecordDataSource
            from google.protobuf.message import DecodeError
            from tensorflow_datasets.proto import tf_example_pb2
        except ImportError as error:
            raise DataError("Prepared data sets are read with array_record: pip install 'liqe_jax[data]'") from error
        self._parse: Callable[[bytes], Any] = tf_example_pb2.Example.FromString
        self._not_parsed: type[Exception] = DecodeError
        self._paths = tuple(paths)
        self._files = []
        for path in self._paths:
            with _errors_of(path):
                self._files.append(ArrayRecordDataSource(path))
        self._ends = np.cumsum([0, *map(len, self._files)])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __call__(self, positions: Sequence[int]) -> list[bytes]:
        """Reads the images at `positions`, in this order; positions may repeat.

        Raises:
          DataError: there is no such position, or a record is corrupt.
          UnreadableError: a file cannot be opened or read.
        """
        wanted = np.asarray(positions, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise DataError(f"Positions go from {wanted.min()} to {wanted.max()}, but there are {len(self)} images.")
        files = np.searchsorted(self._ends, wanted, side="right") - 1
        records = []
        for file, position in zip(files.tolist(), (wanted - self._ends[files]).tolist(), strict=True):
            with _errors_of(self._paths[file]):
                records.append(self._files[file][position])
        return [self._image(record) for record in records]

    def _image(self, record: bytes) -> bytes:
        try:
            return self._parse(record).features.feature["image"].bytes_list.value[0]
        except (self._not_parsed, IndexError) as error:
            raise DataError(
                f"A record does not contain an image ({printable(error)}). Prepare the set again."
            ) from error


@contextlib.contextmanager
def _errors_of(path: str) -> Iterator[None]:
    """Converts errors of array_record: only a wrong checksum or size means that the content of a file is corrupt."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        reason = printable(error)
        if any(sign in reason for sign in _SIGNS_OF_CORRUPTION):
            raise DataError(f"{path} is corrupt ({reason}). Prepare the set again.") from error
        raise UnreadableError(
            f"{path} cannot be read ({reason}). Check the path, its permissions, the disk and the open-file limit."
        ) from error
