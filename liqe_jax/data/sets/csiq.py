"""Categorical Subjective Image Quality database (CSIQ)."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_xlsx, require_columns
from liqe_jax.errors import DataError

# dst_type in the table -> folder, token in file names, LIQE's name.
TYPES = {
    "noise": ("awgn", "AWGN", "white noise"),
    "blur": ("blur", "BLUR", "gaussian blur"),
    "contrast": ("contrast", "contrast", "contrast"),
    "fnoise": ("fnoise", "fnoise", "fnoise"),
    "jpeg": ("jpeg", "JPEG", "jpeg compression"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "jpeg2000 compression"),
}

SHEET = "all_by_image"

# LIQE's MOS are rounded to three decimals.
TOLERANCE = 5.1e-4

TREE = """\
CSIQ/
  csiq.DMOS.xlsx
  dst_imgs/                     dst_imgs.zip unpacked into a folder of this name
    awgn/1600.AWGN.1.png ...
    blur/  contrast/  fnoise/  jpeg/  jpeg2000/
  src_imgs/                     30 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    official = _official(index)
    rows, notes, _ = with_liqe("CSIQ", "csiq", official, index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing("csiq.DMOS.xlsx and no LIQE label files")
    return SetLabels([dataclasses.replace(row, reference=_reference(row.name)) for row in rows], tuple(notes))


def _reference(name: str) -> str:
    return name.rsplit("/", 1)[-1].partition(".")[0]


def _official(index: FileIndex) -> list[Row]:
    path = index.first("csiq.DMOS.xlsx")
    if path is None:
        return []
    cells = read_xlsx(path, SHEET)
    header: list[str] = []
    rows = []
    for position, values in enumerate(cells, start=1):
        if not header:
            if "dst_type" in values:
                header = [str(value) for value in values]
                require_columns(path, header, ("image", "dst_type", "dst_lev", "dmos"))
            continue
        cell = dict(zip(header, values, strict=False))
        if cell["image"] is None:
            continue
        where = f"{path}, sheet {SHEET}, row {position}"
        kind = str(cell["dst_type"]).strip().lower()
        if kind not in TYPES:
            raise DataError(f"{where}: unknown dst_type {cell['dst_type']!r}; known are {', '.join(TYPES)}.")
        folder, token, raw = TYPES[kind]
        # The cells of image 1600 are integers.
        image = str(cell["image"]).strip().removesuffix(".0")
        level = int(number(cell["dst_lev"], where))
        name = f"dst_imgs/{folder}/{image}.{token}.{level}.png"
        rows.append(Row(name, 1 - number(cell["dmos"], where), raw, reference=image))
    if not rows:
        raise DataError(f"{path}: sheet {SHEET} has no row below a header with dst_type. Fetch the file again.")
    return rows


def _places(name: str) -> tuple[str, ...]:
    _, folder, file = name.split("/")
    return (f"{folder}/{file}", f"dst_imgs/{file}", f"dst_imgs_all/{file}", file)


SPEC = DataSetSpec(
    name="CSIQ",
    slug="csiq",
    title="Categorical Subjective Image Quality database (Larson, Chandler, 2010)",
    count=866,
    url="https://s2.smu.edu/~eclarson/csiq.html",
    licence="No licence is stated.",
    tree=TREE,
    mos_range=(0.0, 1.0),
    score="1 minus DMOS; LIQE's files round it to three decimals.",
    liqe="Training and test, ten sessions by original (about 606 / 87 / 173 images). Four images a step.",
    quirks=(
        "One original is called `1600`; its 29 rows have an integer in the image column.",
        "The type is written `jpeg 2000` in the table and `jpeg2000` in file names. The mirror of the University of "
        "Waterloo has folders in capitals, that of pyiqa one folder `dst_imgs_all`; both are found.",
        "Contrast changes have three levels for four originals and four for the others; all other types have five.",
    ),
    read=read,
    places=_places,
    liqe_folder="CSIQ",
    liqe_prefix="csiq",
    options=(LIQE_LABELS,),
    command="--labels LIQE",
)
