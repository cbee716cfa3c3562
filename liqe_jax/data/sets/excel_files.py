"""Readers of official labels in Excel files: BID, CSIQ and SPAQ."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_sheet
from liqe_jax.errors import DataError

BID_IMAGE, BID_MEAN, BID_COUNT = BID_COLUMNS = ("Image Number", "Average Subjective Grade", "Number of Grades")

# Tolerance of BID's stated mean of the grades, which is rounded.
GRADE_TOLERANCE = 1e-3

# dst_type in CSIQ's table -> folder, token in file names, LIQE's name.
CSIQ_TYPES = {
    "noise": ("awgn", "AWGN", "white noise"),
    "blur": ("blur", "BLUR", "gaussian blur"),
    "contrast": ("contrast", "contrast", "contrast"),
    "fnoise": ("fnoise", "fnoise", "fnoise"),
    "jpeg": ("jpeg", "JPEG", "jpeg compression"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "jpeg2000 compression"),
}

SPAQ_MOS = "MOS and Image attribute scores.xlsx"
SPAQ_SCENES = "Scene category labels.xlsx"

# Columns of SPAQ's scene table -> LIQE's scenes.
SCENE_COLUMNS = {
    "Animal": "animal",
    "Cityscape": "cityscape",
    "Human": "human",
    "Indoor scene": "indoor",
    "Landscape": "landscape",
    "Night scene": "night",
    "Plant": "plant",
    "Still-life": "still_life",
    "Others": "others",
}


def read_bid(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS; rows whose single grades disagree with their stated mean are anomalies."""
    path = index.first(spec.label_file, f"{spec.label_file}x")
    rows, odd = [], []
    for where, row in read_sheet(path, BID_COLUMNS) if path else ():
        file = f"DatabaseImage{int(number(row[BID_IMAGE], where)):04d}.JPG"
        mos = number(row[BID_MEAN], where)
        rows.append(Row(f"ImageDatabase/{file}", mos))
        given = (value for column, value in row.items() if column not in BID_COLUMNS and value not in ("", None))
        grades = [number(value, where) for value in given]
        count = int(number(row[BID_COUNT], where))
        if grades and (len(grades) != count or abs(sum(grades) / len(grades) - mos) > GRADE_TOLERANCE):
            odd.append(file)
    note = (
        "Rows whose single grades disagree with their stated number or mean, of which the stated mean is used: "
        f"{', '.join(odd)}."
    )
    return SetLabels(rows, (note,) if odd else ())


def read_csiq(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: 1 minus DMOS."""
    path = index.first(spec.label_file)
    columns = ("image", "dst_type", "dst_lev", "dmos")
    rows = []
    for where, row in read_sheet(path, columns, "all_by_image") if path else ():
        kind = str(row["dst_type"]).strip().lower()
        if kind not in CSIQ_TYPES:
            raise DataError(f"{where}: unknown dst_type {row['dst_type']!r}; known are {', '.join(CSIQ_TYPES)}.")
        folder, token, raw = CSIQ_TYPES[kind]
        # The cells of image 1600 are integers.
        image = str(row["image"]).strip().removesuffix(".0")
        level = int(number(row["dst_lev"], where))
        rows.append(Row(f"dst_imgs/{folder}/{image}.{token}.{level}.png", 1 - number(row["dmos"], where), raw))
    return SetLabels(rows)


def read_spaq(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and scenes: those with a probability above 0; an empty cell is 0."""
    table = read_sheet(index.require(SPAQ_MOS), ("Image name", "MOS"))
    mos = {str(row["Image name"]).strip(): number(row["MOS"], where) for where, row in table}
    scenes: dict[str, tuple[str, ...]] = {}
    notes = [f"{SPAQ_SCENES} was not found: no scenes."]
    if path := index.first(SPAQ_SCENES):
        for where, row in read_sheet(path, ("Image name", *SCENE_COLUMNS)):
            present = (label for column, label in SCENE_COLUMNS.items() if number(row[column] or 0, where) > 0)
            scenes[str(row["Image name"]).strip()] = tuple(present)
        unlabelled = [name for name in mos if not scenes.get(name)]
        notes = [f"{len(unlabelled)} images have no scene, for example {unlabelled[0]}."] if unlabelled else []
    return SetLabels([Row(f"TestImage/{n}", value, scenes=scenes.get(n, ())) for n, value in mos.items()], tuple(notes))
