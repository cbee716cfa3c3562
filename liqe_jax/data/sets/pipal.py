"""Perceptual Image Processing ALgorithms data set (PIPAL), the split that NTIRE 2021 published."""

from __future__ import annotations

import re

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_lines
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted

LABEL_FILE = re.compile(r"A\d{4}\.txt")
# Image, its original, code of the distortion, MOS.
LINE = re.compile(r"((A\d{4})_(\d\d_\d\d)\.bmp)\s*,(.*)")

# The folders of the official archives, and the single folder that pyiqa and piq use.
FOLDERS = ("Distortion_1", "Distortion_2", "Distortion_3", "Distortion_4", "Dist_Imgs", "Train_Dist")

TREE = """\
PIPAL/
  Train_Label/                  A0001.txt ... (200 files)
  Distortion_1/  Distortion_2/  Distortion_3/  Distortion_4/
                                A0001_00_00.bmp ... (23,200 images in all)
  Train_Ref/                    200 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS."""
    paths = {path.name: path for path in index.with_suffix(".txt") if LABEL_FILE.fullmatch(path.name)}
    if not paths:
        raise index.missing("Train_Label/A0001.txt")
    rows = []
    for path in paths.values():
        for where, line in read_lines(path):
            found = LINE.fullmatch(line.strip())
            if not found:
                raise DataError(f"{where}: expected A0001_00_00.bmp,1520.0648 or alike, got {quoted(line)}.")
            name, original, distortion, mos = found.groups()
            rows.append(Row(name, number(mos, where), distortion, reference=original))
    return SetLabels(rows)


SPEC = DataSetSpec(
    name="PIPAL",
    slug="pipal",
    title="Perceptual Image Processing ALgorithms data set, NTIRE 2021 training split (Gu et al., 2020)",
    count=23200,
    url="https://github.com/HaomingCai/PIPAL-dataset",
    licence="No licence is stated.",
    tree=TREE,
    mos_range=(900.0, 1850.0),
    read=read,
    places=lambda name: (*(f"{folder}/{name}" for folder in FOLDERS), name),
)
