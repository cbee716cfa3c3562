"""FLIVE, also called PaQ-2-PiQ: whole images."""

from __future__ import annotations

from pathlib import Path

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import read_csv, read_scores, require_columns

TEST = "labels640.csv"
PADDED = "labels=640_padded.csv"

TREE = f"""\
FLIVE/
  labels_image.csv
  {TEST}                 images of more than 640 pixels: the official test split (optional)
  {PADDED}         the others, with a column is_valid: training and validation (optional)
  database/
    voc_emotic_ava/  blur_dataset/  EE371R/     39,810 images"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS and split."""
    table = read_scores(index.require("labels_image.csv"), "name", "mos")
    test, validation = index.first(TEST), index.first(PADDED)
    splits: dict[str, str] = {}
    if test:
        splits = dict.fromkeys((name for name, _ in table), "train")
        if validation:
            splits |= {name: "val" for name, row in _images(validation).items() if _is_true(row["is_valid"])}
        splits |= dict.fromkeys(_images(test), "test")
    rows = [Row(name, mos, splits={"official": splits[name]} if splits else {}) for name, mos in table]
    notes = []
    if not test:
        notes.append(f"The official split is not available: {TEST} was not found.")
    elif not validation:
        notes.append(f"The official session has no val split: {PADDED} was not found.")
    if unknown := set(splits) - {row.name for row in rows}:
        notes.append(f"{len(unknown)} images of the split files have no label, for example {min(unknown)}.")
    return SetLabels(rows, tuple(notes))


def _images(path: Path) -> dict[str, dict[str, str]]:
    rows = read_csv(path)
    header = list(rows[0]) if rows else []
    column = "name" if "name" in header and "name_image" not in header else "name_image"
    require_columns(path, header, (column, "is_valid") if path.name == PADDED else (column,))
    return {row[column]: row for row in rows}


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1", "1.0")


SPEC = DataSetSpec(
    name="FLIVE",
    slug="flive",
    title="FLIVE, the data set of PaQ-2-PiQ (Ying et al., 2020): whole images",
    count=39810,
    url="https://github.com/niu-haoran/FLIVE_Database",
    licence="Not stated; those of VOC 2012, EMOTIC, AVA and the blur data sets apply.",
    tree=TREE,
    mos_range=(0.0, 100.0),
    read=read,
    places=lambda name: (f"database/{name}",),
)
