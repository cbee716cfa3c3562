"""The output of a shard: `NAME.parquet`, and `NAME_stats.json` for people and dashboards."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from liqe_jax.bounded_io import parse_json
from liqe_jax.errors import UsageError
from liqe_jax.messages import printable, quoted
from liqe_jax.scale.files import find_file_system, reason_of, written_aside

# Key of the metadata of a parquet file with the settings that it was made with, as JSON.
SETTINGS = "liqe_settings"

# Key of the metadata with the reason why the shard has more images than the file; "" where it has not.
FAULT = "liqe_fault"


class OutputFolder:
    """The folder of `--output`, a path or URL, which need not exist."""

    def __init__(self, url: str):
        self.url = url
        self.fs, self.path = find_file_system(url)

    def create(self) -> OutputFolder:
        """Makes the folder, if it does not exist; raises UsageError if that fails."""
        try:
            self.fs.makedirs(self.path, exist_ok=True)
        except Exception as error:  # each file system has errors of its own
            raise UsageError(f"Cannot write to {printable(self.url)}: {reason_of(error)}") from error
        return self

    def rows_path(self, name: str) -> str:
        """Path of a shard's rows, in the file system."""
        return posixpath.join(self.path, f"{name}.parquet")

    def names(self) -> set[str]:
        """Shards that have rows."""
        self.fs.invalidate_cache()
        if not self.fs.isdir(self.path):
            return set()
        found = (posixpath.basename(path) for path in self.fs.ls(self.path, detail=False))
        return {name.removesuffix(".parquet") for name in found if name.endswith(".parquet") and name[0] != "."}

    def is_done(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Whether a shard has all its rows; raises UsageError if other settings or another program made them."""
        path = self.rows_path(name)
        if not self.fs.exists(path):
            return False
        found, fault = read_settings(self.fs, path)
        for key in [*settings, *(key for key in found if key not in settings)]:
            if found.get(key) != settings.get(key):
                raise UsageError(
                    f"{printable(path)} was made with {key} {_shown(found.get(key))}, and this run has "
                    f"{_shown(settings.get(key))}. Write to another folder, or give --overwrite to replace it."
                )
        return not fault

    def write_stats(self, name: str, stats: Mapping[str, Any]) -> None:
        """Writes a shard's statistics; raises OSError if that fails."""
        with written_aside(self.fs, posixpath.join(self.path, f"{name}_stats.json")) as file:
            file.write((json.dumps(stats, indent=1) + "\n").encode())


def read_settings(fs: Any, path: str) -> tuple[dict[str, Any], str]:
    """The settings that a file of rows was made with, and its fault; raises UsageError if it is not ours."""
    try:
        with fs.open(path, "rb") as file:
            metadata = pq.read_metadata(file).metadata
        settings = parse_json(metadata[SETTINGS.encode()])
        if not isinstance(settings, dict):
            raise ValueError("its settings are not an object")
        return settings, metadata[FAULT.encode()].decode()
    except Exception as error:  # pyarrow raises all sorts of things for a broken file
        raise UsageError(
            f"{printable(path)} is not a file of liqe score-shards ({reason_of(error)}). Write to another folder, or "
            "give --overwrite to replace it."
        ) from error


def _shown(value: object) -> str:
    return quoted(value if isinstance(value, str) else json.dumps(value))
