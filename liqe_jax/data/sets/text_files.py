"""Readers of official labels in text files: PIPAL and TID2013."""

from __future__ import annotations

import re

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_lines
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted

PIPAL_FILE = re.compile(r"A\d{4}\.txt")
# Image, its original, code of the distortion, MOS.
PIPAL_LINE = re.compile(r"((A\d{4})_(\d\d_\d\d)\.bmp)\s*,(.*)")
TID_LINE = re.compile(r"(?P<mos>\S+)\s+(?P<original>[^_\s]+)_(?P<type>\d+)_(?P<level>[^_.\s]+)\.bmp", re.IGNORECASE)


def read_pipal(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS of the split that NTIRE 2021 published."""
    paths = {path.name: path for path in index.with_suffix(".txt") if PIPAL_FILE.fullmatch(path.name)}
    if not paths:
        raise index.missing("Train_Label/A0001.txt")
    rows = []
    for path in paths.values():
        for where, line in read_lines(path):
            found = PIPAL_LINE.fullmatch(line.strip())
            if not found:
                raise DataError(f"{where}: expected A0001_00_00.bmp,1520.0648 or alike, got {quoted(line)}.")
            name, original, distortion, mos = found.groups()
            rows.append(Row(name, number(mos, where), distortion, reference=original))
    return SetLabels(rows)


def read_tid2013(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS; names, whose case differs between label file and disk, are all as in I01_01_1.bmp."""
    types = list(spec.categories)
    rows = []
    for where, line in read_lines(index.require("mos_with_names.txt")):
        found = TID_LINE.fullmatch(line.strip())
        if not found or not 1 <= int(found["type"]) <= len(types):
            raise DataError(f"{where}: expected a score and a name such as I01_01_1.bmp, got {quoted(line)}.")
        original = found["original"].upper()
        name = f"distorted_images/{original}_{found['type']}_{found['level']}.bmp"
        rows.append(Row(name, number(found["mos"], where), types[int(found["type"]) - 1], reference=original))
    return SetLabels(rows)
