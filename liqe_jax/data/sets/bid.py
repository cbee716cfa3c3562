"""Blurred Image Database (BID)."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_xls, require_columns

TOLERANCE = 1e-5

# Tolerance of the stated mean, which is rounded.
GRADE_TOLERANCE = 1e-3

COLUMNS = ("Image Number", "Average Subjective Grade", "Number of Grades")

TREE = """\
BID/
  DatabaseGrades.xls
  ImageDatabase/                DatabaseImage0001.JPG ... DatabaseImage0590.JPG (586 images)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    path = index.first("DatabaseGrades.xls", "DatabaseGrades.xlsx")
    official, notes = _official(path) if path else ([], [])
    rows, more, _ = with_liqe("BID", "bid", official, index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing("DatabaseGrades.xls and no LIQE label files")
    return SetLabels(rows, (*notes, *more))


def _official(path) -> tuple[list[Row], list[str]]:
    header, *table = read_xls(path)
    names = [str(cell).strip() for cell in header]
    require_columns(path, names, COLUMNS)
    image, mean, count = (names.index(column) for column in COLUMNS)
    rows, odd = [], []
    for position, cells in enumerate(table, start=2):
        if cells[image] in ("", None):
            continue
        where = f"{path}, row {position}"
        mos = number(cells[mean], where)
        file = f"DatabaseImage{int(number(cells[image], where)):04d}.JPG"
        rows.append(Row(f"ImageDatabase/{file}", mos))
        grades = [number(cell, where) for cell in cells[count + 1 :] if cell not in ("", None)]
        if grades and (
            len(grades) != int(number(cells[count], where)) or abs(sum(grades) / len(grades) - mos) > GRADE_TOLERANCE
        ):
            odd.append(file)
    note = (
        f"Rows whose single grades disagree with their stated number or mean, of which the stated mean "
        f"is used: {', '.join(odd)}."
    )
    return rows, [note] if odd else []


SPEC = DataSetSpec(
    name="BID",
    slug="bid",
    title="Blurred Image Database (Ciancio et al., 2011)",
    count=586,
    url="https://www02.smt.ufrj.br/~eduardo/ImageDatabase.htm",
    licence="No licence was found.",
    tree=TREE,
    mos_range=(0.0, 5.0),
    score="The column Average Subjective Grade.",
    liqe="Training and test, ten random sessions (410 / 59 / 117 images). Four images a step.",
    quirks=(
        "Image numbers go up to 590; 2, 346, 413 and 439 do not exist.",
        "In some rows the single grades disagree with their stated number or mean; preparation lists them and uses "
        "the stated mean.",
        "Large photographs: preparation downscales them like the reference.",
    ),
    read=read,
    liqe_folder="BID",
    liqe_prefix="bid",
    options=(LIQE_LABELS,),
    command="--labels LIQE",
)
