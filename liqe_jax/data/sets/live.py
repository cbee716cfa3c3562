"""LIVE Image Quality Assessment Database, release 2."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Option, Options, Row, SetLabels
from liqe_jax.data.tables import read_mat
from liqe_jax.errors import DataError

# Folder, images in it, LIQE's name of its distortion; in the order of the label arrays (readme.txt).
FOLDERS = (
    ("jp2k", 227, "jpeg2000 compression"),
    ("jpeg", 233, "jpeg compression"),
    ("wn", 174, "white noise"),
    ("gblur", 174, "gaussian blur"),
    ("fastfading", 174, "fastfading"),
)

TREE = """\
databaserelease2/
  jp2k/img1.bmp ... img227.bmp
  jpeg/img1.bmp ... img233.bmp
  wn/  gblur/  fastfading/      img1.bmp ... img174.bmp each
  refimgs/                      29 originals (not needed)
  refnames_all.mat              names of the originals
dmos_realigned.mat              a separate download on the same page"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: the largest DMOS of the distorted images minus DMOS."""
    path = index.first("dmos_realigned.mat")
    if path is None:
        return SetLabels([])
    dmos, copies = read_mat(path, "dmos_new", "orgs")
    _check(path, "dmos_new", len(dmos))
    _check(path, "orgs", len(copies))
    # Only `orgs` identifies the 203 copies of originals; distorted images can have a DMOS of 0 too.
    distorted = copies == 0
    worst = float(dmos[distorted].max())
    rows = zip(_names(), dmos, distorted, strict=True)
    return SetLabels([Row(name, worst - float(score), raw) for (name, raw), score, used in rows if used])


def _names() -> list[tuple[str, str]]:
    return [(f"{folder}/img{i}.bmp", raw) for folder, count, raw in FOLDERS for i in range(1, count + 1)]


def _check(path: object, variable: str, length: int) -> None:
    expected = sum(count for _, count, _ in FOLDERS)
    if length != expected:
        raise DataError(f"{path}: {variable} has {length} entries, expected {expected}. Fetch release 2's file.")


def finish(rows: list[Row], index: FileIndex, options: Options) -> tuple[list[Row], list[str]]:
    """Adds the originals, and corrects LIQE's labels of the fast-fading images on request."""
    if path := index.first("refnames_all.mat"):
        (references,) = read_mat(path, "refnames_all")
        _check(path, "refnames_all", len(references))
        reference_of = {name: str(one) for (name, _), one in zip(_names(), references, strict=True)}
        rows = [dataclasses.replace(row, reference=reference_of.get(row.name, "")) for row in rows]
    wrong = [row for row in rows if row.name.startswith("fastfading/") and row.raw_distortion != "fastfading"]
    if wrong and options["fix_live_fastfading"]:
        return _fixed(rows, index), [f"{len(wrong)} fast-fading images were given their own distortion and scenes."]
    note = (
        f"{len(wrong)} fast-fading images have the distortion and scenes of the white-noise image of the "
        "same number, as in LIQE's label files; --fix-live-fastfading corrects them."
    )
    return rows, [note] if wrong else []


def _fixed(rows: list[Row], index: FileIndex) -> list[Row]:
    """Sets the distortion of fast-fading rows, and the scenes that their original has in the other folders."""
    if not any(row.reference for row in rows):
        raise DataError(
            "Correcting the fast-fading labels needs the original of each image: "
            f"refnames_all.mat is missing below {index.root}."
        )
    scenes = {row.reference: row.scenes for row in rows if not row.name.startswith("fastfading/")}
    fixed = []
    for row in rows:
        if not row.name.startswith("fastfading/"):
            fixed.append(row)
        elif row.reference in scenes:
            fixed.append(dataclasses.replace(row, raw_distortion="fastfading", scenes=scenes[row.reference]))
        else:
            raise DataError(f"No other image of {row.reference} to take the scenes of {row.name} from.")
    return fixed


SPEC = DataSetSpec(
    name="LIVE",
    slug="live",
    title="LIVE Image Quality Assessment Database, release 2 (Sheikh, Sabir, Bovik, 2006)",
    count=779,
    url="https://live.ece.utexas.edu/research/quality/subjective.htm",
    licence="Notice of the University of Texas at Austin: any use with notice and citation. Nine of the originals may "
    "not be used outside the database. The archive needs a password from the laboratory.",
    tree=TREE,
    mos_range=(0.0, 114.42),
    read=read,
    # Five folders have the same file names, so the folder is required.
    places=lambda name: (),
    label_file="dmos_realigned.mat",
    liqe=LiqeFiles("databaserelease2", "live", tolerance=1e-5),  # LIQE's MOS have six decimals
    finish=finish,
    options=(
        Option("fix_live_fastfading", "correct the labels of fast-fading images", default=False, parse=bool, words=0),
    ),
)
