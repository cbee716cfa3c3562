"""`labels.json`: the labels of a prepared data set, beside its records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.bounded_io import read_json
from liqe_jax.data.labelled import UNKNOWN
from liqe_jax.data.spec import DataSetSpec, Options
from liqe_jax.errors import DataError
from liqe_jax.messages import printable, quoted
from liqe_jax.taxonomy import DISTORTION, SCENE

if TYPE_CHECKING:
    from liqe_jax.data.gather import Gathered

FILE = "labels.json"
FORMAT = 1

# How tfds names folders that it is still writing; a kill leaves them behind.
INCOMPLETE = "incomplete."


def write_sidecar(folder: Path, spec: DataSetSpec, name: str, gathered: Gathered, options: Options) -> None:
    """Writes the labels of `gathered` into the folder of a prepared set called `name`."""
    rows, images = gathered.rows, gathered.images
    splits = dict.fromkeys(split for row in rows for split in row.parts)
    categories = [spec.category(row.raw_distortion) for row in rows]
    content = {
        "format": FORMAT,
        "name": name,
        "slug": spec.slug,
        "mos_range": gathered.mos_range,
        "options": {key: _plain(value) for key, value in dataclasses.asdict(options).items()},
        "names": [row.name for row in rows],
        "mos": [row.mos for row in rows],
        "raw_distortion": [row.raw_distortion for row in rows],
        "distortion": [DISTORTION.labels.index(label) if label else UNKNOWN for label in categories],
        "scenes": [[SCENE.labels.index(scene) for scene in row.scenes] for row in rows],
        "reference": [row.reference for row in rows],
        "parts": {split: [row.parts.get(split, "") for row in rows] for split in splits},
        "sizes": [(image.width, image.height) for image in images],
        "sha256": [image.sha256 for image in images],
        "report": gathered.report.to_dict(),
    }
    (folder / FILE).write_text(json.dumps(content, separators=(",", ":")), "utf-8")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def read_sidecar(folder: Path) -> dict[str, Any]:
    """What `write_sidecar` wrote.

    Raises:
      DataError: the file is missing, damaged or of another version.
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
    return content


def find_prepared(name: str, data_dir: Path) -> Path:
    """The folder of a prepared set, by its name ("KADID-10k"), short name ("kadid10k") or own name.

    Raises:
      DataError: there is none, or there are several.
    """
    root = Path(data_dir).expanduser()
    known: dict[str, list[Path]] = {}
    # <short name>/<version>, or <short name>/<own name>/<version>
    for path in sorted([*root.glob(f"*/*/{FILE}"), *root.glob(f"*/*/*/{FILE}")]):
        if path.parent.name.startswith(INCOMPLETE):
            continue
        content = read_sidecar(path.parent)
        for key in {content["name"].lower(), content["slug"]}:
            known.setdefault(key, []).append(path.parent)
    found = known.get(name.lower(), [])
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(str(path) for path in found)
        raise DataError(f"{len(found)} prepared sets are called {name!r}: {shown}. Use the name that each was given.")
    raise DataError(
        f"No prepared data set {name!r} in {root}; there are: {', '.join(sorted(known)) or 'none'}. "
        "Prepare it with: liqe data prepare NAME --manual-dir D --data-dir O"
    )
