"""Readers of official labels in CSV files: AGIQA-3K, FLIVE, KADID-10k and KonIQ-10k."""

from __future__ import annotations

from pathlib import Path

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_csv, read_scores, require_columns
from liqe_jax.errors import DataError

FLIVE_TEST, FLIVE_PADDED = "labels640.csv", "labels=640_padded.csv"

KONIQ_SPLIT = "koniq10k_distributions_sets.csv"
SPLIT_OF_SET = {"training": "train", "validation": "val", "test": "test"}
RATINGS = {"c1": 1, "c2": 2, "c3": 3, "c4": 4, "c5": 5}


def read_agiqa3k(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS of perceptual quality."""
    path = index.require("data.csv", "AGIQA-3K_data.csv")
    return SetLabels([Row(name, mos) for name, mos in read_scores(path, "name", "mos_quality")])


def read_kadid10k(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: the column dmos, which despite its name is higher for better images."""
    path = index.first(spec.label_file)
    table = read_scores(path, "dist_img", "dmos") if path else []
    return SetLabels([Row(f"images/{name}", mos, kadid_distortion(name)) for name, mos in table])


def kadid_distortion(name: str) -> str:
    """LIQE's name of the distortion of an image named <original>_<type>_<level>.<suffix>."""
    from liqe_jax.synthetic import KINDS

    parts = name.rsplit(".", 1)[0].split("_")
    kind = int(parts[-2]) if len(parts) > 2 and parts[-2].isdigit() else 0
    if kind not in KINDS:
        raise DataError(f"{name!r}: expected a name such as I01_07_03.png, with a type from 01 to {len(KINDS)}.")
    return KINDS[kind].raw_label


def read_koniq10k(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads official split and MOS: of the score file, or rating counts of the split file, whose MOS is a z-score."""
    scores, split = index.first(spec.label_file), index.first(KONIQ_SPLIT)
    splits, means = _koniq_split(split) if split else ({}, {})
    mos = dict(read_scores(scores, "image_name", "MOS")) if scores else means
    if splits and (absent := [name for name in mos if name not in splits]):
        raise DataError(f"{split} lacks {len(absent)} images, for example {absent[0]}. Fetch the file again.")
    rows = [
        Row(f"1024x768/{name}", value, splits={"official": splits[name]} if splits else {})
        for name, value in mos.items()
    ]
    return SetLabels(rows, () if split else (f"The official split is not available: {KONIQ_SPLIT} was not found.",))


def _koniq_split(path: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Image name -> split, and image name -> mean rating."""
    splits, means = {}, {}
    for row in read_csv(path, ("image_name", "set", *RATINGS)):
        name = row["image_name"]
        if row["set"] not in SPLIT_OF_SET:
            raise DataError(f"{path}, {name}: unknown set {row['set']!r}; known are {', '.join(SPLIT_OF_SET)}.")
        splits[name] = SPLIT_OF_SET[row["set"]]
        shares = {rating: number(row[column], f"{path}, {name}") for column, rating in RATINGS.items()}
        means[name] = sum(rating * share for rating, share in shares.items()) / sum(shares.values())
    return splits, means


def read_flive(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS and split."""
    table = read_scores(index.require("labels_image.csv"), "name", "mos")
    test, validation = index.first(FLIVE_TEST), index.first(FLIVE_PADDED)
    splits: dict[str, str] = {}
    if test:
        splits = dict.fromkeys((name for name, _ in table), "train")
        if validation:
            valid = {name: row["is_valid"].lower() in ("true", "1", "1.0") for name, row in _flive(validation).items()}
            splits |= dict.fromkeys((name for name in valid if valid[name]), "val")
        splits |= dict.fromkeys(_flive(test), "test")
    rows = [Row(name, mos, splits={"official": splits[name]} if splits else {}) for name, mos in table]
    notes = []
    if not test:
        notes.append(f"The official split is not available: {FLIVE_TEST} was not found.")
    elif not validation:
        notes.append(f"The official session has no val split: {FLIVE_PADDED} was not found.")
    if unknown := set(splits) - {row.name for row in rows}:
        notes.append(f"{len(unknown)} images of the split files have no label, for example {min(unknown)}.")
    return SetLabels(rows, tuple(notes))


def _flive(path: Path) -> dict[str, dict[str, str]]:
    rows = read_csv(path)
    header = list(rows[0]) if rows else []
    column = "name" if "name" in header and "name_image" not in header else "name_image"
    require_columns(path, header, (column, "is_valid") if path.name == FLIVE_PADDED else (column,))
    return {row[column]: row for row in rows}
