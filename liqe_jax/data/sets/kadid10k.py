"""KADID-10k."""

from __future__ import annotations

from pathlib import PurePosixPath

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Options, Row, SetLabels
from liqe_jax.data.tables import read_scores
from liqe_jax.errors import DataError

# LIQE's names of the types 1 to 25 (zwx8981/LIQE, IQA_Database/kadid10k/splits2).
TYPES = (
    "gaussian blur",
    "lens",
    "motion",
    "diffusion",
    "shifting",
    "color quantization",
    "oversaturation",
    "desaturation",
    "jpeg2000 compression",
    "jpeg compression",
    "white noise",
    "white with color",
    "impulse",
    "multiplicative",
    "white noise with denoise",
    "brighten",
    "darken",
    "shifting the mean",
    "jitter",
    "noneccentricity patch",
    "pixelate",
    "quantization",
    "color blocking",
    "sharpness",
    "contrast",
)

TREE = """\
kadid10k/
  dmos.csv
  images/                       81 originals I01.png ... and 10,125 distorted images I01_01_01.png ..."""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: the column dmos, which despite its name is higher for better images."""
    path = index.first("dmos.csv")
    table = read_scores(path, "dist_img", "dmos") if path else []
    return SetLabels([Row(f"images/{name}", mos, distortion_of(name)) for name, mos in table])


def distortion_of(name: str) -> str:
    """LIQE's name of the distortion of an image named <original>_<type>_<level>.<suffix>."""
    parts = name.rsplit(".", 1)[0].split("_")
    kind = int(parts[-2]) if len(parts) > 2 and parts[-2].isdigit() else 0
    if not 1 <= kind <= len(TYPES):
        raise DataError(f"{name!r}: expected a name such as I01_07_03.png, with a type from 01 to {len(TYPES)}.")
    return TYPES[kind - 1]


SPEC = DataSetSpec(
    name="KADID-10k",
    slug="kadid10k",
    title="Konstanz Artificially Distorted Image quality Database (Lin, Hosu, Saupe, 2019)",
    count=10125,
    url="https://database.mmsp-kn.de/kadid-10k-database.html",
    licence='"Freely available to the research community"; no formal licence.',
    tree=TREE,
    mos_range=(1.0, 5.0),
    read=read,
    label_file="dmos.csv",
    liqe=LiqeFiles("kadid10k", "kadid10k", tolerance=1e-6),
    original_of=lambda name: PurePosixPath(name).name.split("_")[0],
)
