"""Reads `labels.json`, the labels of a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liqe_jax.bounded_io import read_json
from liqe_jax.errors import DataError
from liqe_jax.messages import printable, quoted

FILE = "labels.json"
FORMAT = 1

# Prefix of folders that tfds is writing; a killed preparation leaves them.
INCOMPLETE = "incomplete."


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
