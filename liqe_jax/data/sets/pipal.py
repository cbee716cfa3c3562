"""Perceptual Image Processing ALgorithms data set (PIPAL), the split that NTIRE 2021 published."""

from __future__ import annotations

import re

from liqe_jax.bounded_io import read_text
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted

LABEL_FILE = re.compile(r"A\d{4}\.txt")
IMAGE = re.compile(r"(A\d{4})_(\d\d_\d\d)\.bmp")

# The folders of the official archives, and the single folder that pyiqa and piq use.
FOLDERS = ("Distortion_1", "Distortion_2", "Distortion_3", "Distortion_4", "Dist_Imgs", "Train_Dist")

TREE = """\
PIPAL/
  Train_Label/                  A0001.txt ... (200 files)
  Distortion_1/  Distortion_2/  Distortion_3/  Distortion_4/
                                A0001_00_00.bmp ... (23,200 images in all)
  Train_Ref/                    200 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS.

    Raises:
      DataError: no label files, or malformed ones.
    """
    paths = {path.name: path for path in index.with_suffix(".txt") if LABEL_FILE.fullmatch(path.name)}
    if not paths:
        raise index.missing("Train_Label/A0001.txt")
    rows = []
    for path in paths.values():
        for position, line in enumerate(read_text(path, "ascii", "replace").splitlines(), start=1):
            if not line.strip():
                continue
            name, _, score = line.partition(",")
            parts = IMAGE.fullmatch(name.strip())
            if not parts:
                raise DataError(
                    f"{path}, line {position}: expected A0001_00_00.bmp,1520.0648 or alike, got {quoted(line)}."
                )
            rows.append(Row(name.strip(), number(score, f"{path}, line {position}"), parts[2], reference=parts[1]))
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
    score="The Elo score of the label files, from 916.71 to 1835.99. It may not be comparable across originals.",
    liqe="Cross-database test only.",
    quirks=(
        "The raw distortion is the code in the file name, <class>_<type>: seven classes with 12, 16, 10, 24, 13, 14 "
        "and 27 types. LIQE's categories do not cover restoration algorithms, so there are none.",
        "Labels of the validation and test splits were never released.",
    ),
    read=read,
    places=lambda name: (*(f"{folder}/{name}" for folder in FOLDERS), name),
)
