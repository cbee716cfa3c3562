"""LIVE In the Wild Image Quality Challenge Database (CLIVE)."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Options, Row, SetLabels
from liqe_jax.data.tables import read_mat
from liqe_jax.errors import DataError

# Practice images of the study; they come first in the arrays and are in a folder of their own.
TRAINING_IMAGES = 7

TREE = """\
ChallengeDB_release/
  README.txt                    the notice of the University of Texas and a description; not used
  Data/AllImages_release.mat
  Data/AllMOS_release.mat
  Data/AllStdDev_release.mat    not used
  Images/                       3.bmp ... 1164.JPG (1,162 images); trainingImages/ below it is not used"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS, without the practice images."""
    path = index.first("AllImages_release.mat")
    if path is None:
        return SetLabels([])
    scores = index.require("AllMOS_release.mat")
    (names,) = read_mat(path, "AllImages_release")
    (mos,) = read_mat(scores, "AllMOS_release")
    if len(names) != len(mos):
        raise DataError(f"{path} has {len(names)} names but {scores} {len(mos)} scores. Fetch both again.")
    pairs = list(zip(names, mos, strict=True))[TRAINING_IMAGES:]
    return SetLabels([Row(f"Images/{name}", float(score)) for name, score in pairs])


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
    read=read,
    label_file="AllImages_release.mat",
    liqe=LiqeFiles("ChallengeDB_release", "clive", tolerance=1e-5),
)
