"""LIQE's label files: MOS, scene and distortion labels of its six data sets, in ten sessions.

A checkout of zwx8981/LIQE has them in IQA_Database/<set>/splits2/<session>/<set>_<split>_clip.txt:
tab-separated image name, MOS (higher is better), raw distortion and three scenes ("invalid" if there are
fewer). Missing and malformed files are a `DataError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from liqe_jax.data.labelled import SPLITS
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import SESSIONS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_lines
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION, SCENE

NO_SCENE = "invalid"

HELP = "Give the root of a checkout of github.com/zwx8981/LIQE with --labels."


def read_set(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads all labels of a data set: LIQE's if the set has them and they are available, else the official ones."""
    labels = spec.read(spec, index, options)
    if not spec.liqe:
        return labels
    sessions = find_labels(spec, options["labels"], index)
    rows, notes = list(labels.rows), list(labels.anomalies)
    if sessions:
        rows, more = join(rows, read_labels(sessions, spec.slug), spec.liqe_tolerance)
    else:
        more = [f"LIQE's label files were not found: there are no scenes and no sessions. {HELP}"]
    if not rows:
        raise index.missing(f"{spec.label_file} and no LIQE label files")
    if spec.reference_until:
        rows = [dataclasses.replace(row, reference=spec.reference(row.name)) for row in rows]
    if spec.finish:
        rows, finished = spec.finish(rows, index, options)
        more += finished
    return SetLabels(rows, (*notes, *more))


def find_labels(spec: DataSetSpec, checkout: Path | None, index: FileIndex) -> Path | None:
    """Finds the folder with the sessions of a set: in a checkout or a part of it if there is one, else in the index."""
    last = f"splits2/1/{spec.slug}_train_clip.txt"
    if checkout is None:
        found = index.find([last])
        return found.parent.parent if found else None
    root = Path(checkout).expanduser()
    for base in (root / "IQA_Database" / spec.liqe, root / spec.liqe, root):
        if (base / last).is_file():
            return base / "splits2"
    raise DataError(f"No LIQE labels below {root}: expected IQA_Database/{spec.liqe}/{last}. {HELP}")


def read_labels(sessions: Path, prefix: str) -> list[Row]:
    """Reads all images of one set, in the order of session 1 (train, val, test)."""
    rows: dict[str, Row] = {}
    splits: dict[str, dict[str, str]] = {}
    for session in SESSIONS:
        for split in SPLITS:
            path = sessions / session / f"{prefix}_{split}_clip.txt"
            for row in read_file(path):
                known = rows.setdefault(row.name, row)
                if known != row:
                    raise DataError(f"{path}: {row.name} has other labels than in session 1. Fetch the files again.")
                if splits.setdefault(row.name, {}).setdefault(session, split) != split:
                    raise DataError(f"{path}: {row.name} is in two splits of session {session}. Fetch the files again.")
        absent = [name for name in rows if session not in splits[name]]
        if absent:
            raise DataError(
                f"{sessions / session}: {len(absent)} images of other sessions are missing, for example {absent[0]}."
            )
    return [dataclasses.replace(row, splits=splits[name]) for name, row in rows.items()]


def read_file(path: Path) -> list[Row]:
    """Reads one label file."""
    rows = []
    for where, line in read_lines(path, "utf-8-sig", "strict"):
        fields = line.split("\t")
        if len(fields) != 6:
            raise DataError(f"{where}: expected 6 fields between tabs, got {len(fields)}. Is it the right file?")
        name, mos, raw, *scenes = fields
        named = tuple(scene for scene in scenes if scene != NO_SCENE)
        if unknown := [scene for scene in named if scene not in SCENE.labels]:
            raise DataError(f"{where}: unknown scene {quoted(unknown[0])}; known are {', '.join(SCENE.labels)}.")
        if raw not in CATEGORY_OF_RAW_DISTORTION:
            raise DataError(
                f"{where}: unknown distortion {quoted(raw)}; known are {', '.join(sorted(CATEGORY_OF_RAW_DISTORTION))}."
            )
        rows.append(Row(name, number(mos, where), raw, named))
    return rows


def join(official: Sequence[Row], liqe: list[Row], tolerance: float) -> tuple[list[Row], list[str]]:
    """LIQE's rows with references and sessions of the official rows, and disagreements (MOS: above `tolerance`)."""
    if not official:
        return liqe, ["The official label file was not found: MOS are those of LIQE's label files, unchecked."]
    by_name = {row.name.lower(): row for row in official}
    joined, moved, alone = [], [], []
    for row in liqe:
        other = by_name.pop(row.name.lower(), None)
        if other is None:
            alone.append(row.name)
            joined.append(row)
            continue
        if abs(other.mos - row.mos) > tolerance:
            moved.append(f"{row.name} ({row.mos:g}, official {other.mos:g})")
        splits = {**other.splits, **row.splits}
        joined.append(dataclasses.replace(row, reference=other.reference, splits=splits))
    notes = []
    for names, meaning in (
        (moved, "have different MOS in LIQE's and the official label file; LIQE's is kept"),
        (alone, "are in LIQE's label files only; they are kept"),
        ([row.name for row in by_name.values()], "are in the official label file only; they are ignored"),
    ):
        if names:
            notes.append(f"{len(names)} images {meaning}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")
    return joined, notes
