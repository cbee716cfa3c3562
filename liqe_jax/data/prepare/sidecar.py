"""Writes `labels.json`, the labels of a prepared data set; `liqe_jax.data.reading.sidecar` reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from liqe_jax.data.labelled import UNKNOWN
from liqe_jax.data.prepare.gather import Gathered
from liqe_jax.data.reading.sidecar import FILE, FORMAT
from liqe_jax.data.sets.spec import DataSetSpec, Options
from liqe_jax.taxonomy import DISTORTION, SCENE


def write_sidecar(folder: Path, spec: DataSetSpec, name: str, gathered: Gathered, options: Options) -> None:
    """Writes the labels of `gathered` to the folder of the prepared set `name`."""
    rows, images = gathered.rows, gathered.images
    sessions = dict.fromkeys(session for row in rows for session in row.splits)
    categories = [spec.category(row.raw_distortion) for row in rows]
    content = {
        "format": FORMAT,
        "name": name,
        "slug": spec.slug,
        "mos_range": gathered.mos_range,
        "options": {key: _plain(value) for key, value in options.items()},
        "names": [row.name for row in rows],
        "mos": [row.mos for row in rows],
        "raw_distortion": [row.raw_distortion for row in rows],
        "distortion": [DISTORTION.labels.index(label) if label else UNKNOWN for label in categories],
        "scenes": [[SCENE.labels.index(scene) for scene in row.scenes] for row in rows],
        "reference": [row.reference for row in rows],
        "splits": {session: [row.splits.get(session, "") for row in rows] for session in sessions},
        "sizes": [(image.width, image.height) for image in images],
        "sha256": [image.sha256 for image in images],
        "report": gathered.report.to_dict(),
    }
    (folder / FILE).write_text(json.dumps(content, separators=(",", ":")), "utf-8")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
