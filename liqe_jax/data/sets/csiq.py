"""Categorical Subjective Image Quality database (CSIQ)."""

from __future__ import annotations

from pathlib import PurePosixPath

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_sheet
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

TREE = """\
CSIQ/
  csiq.DMOS.xlsx
  dst_imgs/                     dst_imgs.zip unpacked into a folder of this name
    awgn/1600.AWGN.1.png ...
    blur/  contrast/  fnoise/  jpeg/  jpeg2000/
  src_imgs/                     30 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: 1 minus DMOS."""
    path = index.first("csiq.DMOS.xlsx")
    columns = ("image", "dst_type", "dst_lev", "dmos")
    rows = []
    for where, row in read_sheet(path, columns, "all_by_image") if path else ():
        kind = str(row["dst_type"]).strip().lower()
        if kind not in TYPES:
            raise DataError(f"{where}: unknown dst_type {row['dst_type']!r}; known are {', '.join(TYPES)}.")
        folder, token, raw = TYPES[kind]
        # The cells of image 1600 are integers.
        image = str(row["image"]).strip().removesuffix(".0")
        level = int(number(row["dst_lev"], where))
        rows.append(Row(f"dst_imgs/{folder}/{image}.{token}.{level}.png", 1 - number(row["dmos"], where), raw))
    return SetLabels(rows)


def places(name: str) -> tuple[str, ...]:
    """The folders of the official archive and of common mirrors."""
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
    read=read,
    label_file="csiq.DMOS.xlsx",
    places=places,
    liqe=LiqeFiles("CSIQ", "csiq", tolerance=5.1e-4),  # LIQE's MOS are rounded to three decimals
    original_of=lambda name: PurePosixPath(name).name.split(".")[0],
)
