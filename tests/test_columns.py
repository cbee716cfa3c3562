"""Columns of your own table are found in any case, or by the names that you give."""

from __future__ import annotations

from pathlib import Path

import pytest

from liqe_jax.data.sets import specs
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.errors import DataError, UsageError


def rows_of(folder: Path, *columns: str) -> list:
    spec = specs()["folder_csv"]
    return spec.read(spec, FileIndex(folder), spec.complete({"columns": columns or None})).rows


def table(folder: Path, header: str) -> None:
    (folder / "labels.csv").write_text(f"{header}\na.jpg,3.5,val\nb.jpg,1,test\n")


@pytest.mark.parametrize(
    ("header", "columns"),
    [("image,mos,split", ()), ("Image,MOS,Split", ()), ("Image Name,Mean,Split", ("image=Image Name", "mos=Mean"))],
)
def test_columns_are_found(tmp_path, header, columns):
    table(tmp_path, header)
    rows = rows_of(tmp_path, *columns)
    assert [(row.name, row.mos) for row in rows] == [("a.jpg", 3.5), ("b.jpg", 1.0)]
    assert [dict(row.splits) for row in rows] == [{"own": "val"}, {"own": "test"}]


def test_a_missing_column_is_named_with_those_that_exist(tmp_path):
    table(tmp_path, "picture,MOS,split")
    with pytest.raises(DataError, match=r"no column image; its columns are picture, MOS, split.*--columns image="):
        rows_of(tmp_path)
    with pytest.raises(DataError, match="no column Image Name"):
        rows_of(tmp_path, "image=Image Name")
    with pytest.raises(UsageError, match="--columns takes NAME=COLUMN"):
        rows_of(tmp_path, "image")
