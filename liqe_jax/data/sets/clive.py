"""LIVE In the Wild Image Quality Challenge Database (CLIVE)."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import read_mat
from liqe_jax.errors import DataError

# Practice images of the study; they come first in the arrays and are in a folder of their own.
TRAINING_IMAGES = 7

TOLERANCE = 1e-5

TREE = """\
ChallengeDB_release/
  README.txt                    the notice of the University of Texas and a description; not used
  Data/AllImages_release.mat
  Data/AllMOS_release.mat
  Data/AllStdDev_release.mat    not used
  Images/                       3.bmp ... 1164.JPG (1,162 images); trainingImages/ below it is not used"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    official = _official(index)
    rows, notes, _ = with_liqe("ChallengeDB_release", "clive", official, index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing("AllImages_release.mat and no LIQE label files")
    return SetLabels(rows, tuple(notes))


def _official(index: FileIndex) -> list[Row]:
    path = index.first("AllImages_release.mat")
    if path is None:
        return []
    scores = index.require("AllMOS_release.mat")
    (names,) = read_mat(path, "AllImages_release")
    (mos,) = read_mat(scores, "AllMOS_release")
    if len(names) != len(mos):
        raise DataError(f"{path} has {len(names)} names but {scores} {len(mos)} scores. Fetch both again.")
    return [
        Row(f"Images/{name}", float(score))
        for name, score in zip(names[TRAINING_IMAGES:], mos[TRAINING_IMAGES:], strict=True)
    ]


SPEC = DataSetSpec(
    name="CLIVE",
    slug="clive",
    title="LIVE In the Wild Image Quality Challenge Database (Ghadiyaram, Bovik, 2016)",
    count=1162,
    url="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
    licence="Notice of the University of Texas at Austin: use, copying, modification and distribution for any purpose, "
    "with the notice in all copies and the source acknowledged (liqe_jax/assets/LICENSE.clive). The download "
    "is requested with a form.",
    tree=TREE,
    mos_range=(0.0, 100.0),
    score="`AllMOS_release`.",
    liqe="Training and test, ten random sessions (813 / 116 / 233 images). Four images a step.",
    quirks=(
        f"The first {TRAINING_IMAGES} of the 1,169 entries are practice images, t1.bmp to t7.bmp in "
        "Images/trainingImages; they are excluded.",
        "535 files are .bmp and 627 .JPG; all are 500x500 except 1113.JPG and 1124.JPG.",
        "Prepared from the archive of the University of Texas, with LIQE's label files, the command printed `CLIVE: "
        "1162 images stored; the label files have 1162 rows (officially 1162).` Every image decodes and joins LIQE's "
        "labels.",
    ),
    read=read,
    liqe_folder="ChallengeDB_release",
    liqe_prefix="clive",
    options=(LIQE_LABELS,),
    command="--labels LIQE",
)
