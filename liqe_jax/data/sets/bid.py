"""Blurred Image Database (BID)."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_sheet

# Tolerance of the stated mean of the grades, which is rounded.
GRADE_TOLERANCE = 1e-3

IMAGE, MEAN, COUNT = COLUMNS = ("Image Number", "Average Subjective Grade", "Number of Grades")

TREE = """\
BID/
  DatabaseGrades.xls
  ImageDatabase/                DatabaseImage0001.JPG ... DatabaseImage0590.JPG (586 images)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS; rows whose single grades disagree with their stated mean are anomalies."""
    path = index.first("DatabaseGrades.xls", "DatabaseGrades.xlsx")
    rows, odd = [], []
    for where, row in read_sheet(path, COLUMNS) if path else ():
        file = f"DatabaseImage{int(number(row[IMAGE], where)):04d}.JPG"
        mos = number(row[MEAN], where)
        rows.append(Row(f"ImageDatabase/{file}", mos))
        given = (value for column, value in row.items() if column not in COLUMNS and value not in ("", None))
        grades = [number(value, where) for value in given]
        count = int(number(row[COUNT], where))
        if grades and (len(grades) != count or abs(sum(grades) / len(grades) - mos) > GRADE_TOLERANCE):
            odd.append(file)
    note = (
        "Rows whose single grades disagree with their stated number or mean, of which the stated mean is used: "
        f"{', '.join(odd)}."
    )
    return SetLabels(rows, (note,) if odd else ())


SPEC = DataSetSpec(
    name="BID",
    slug="bid",
    title="Blurred Image Database (Ciancio et al., 2011)",
    count=586,
    url="https://www02.smt.ufrj.br/~eduardo/ImageDatabase.htm",
    licence="No licence was found.",
    tree=TREE,
    mos_range=(0.0, 5.0),
    read=read,
    label_file="DatabaseGrades.xls",
    liqe=LiqeFiles("BID", "bid", tolerance=1e-5),
)
