"""KADID-10k."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_csv
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

TOLERANCE = 1e-6

TREE = """\
kadid10k/
  dmos.csv
  images/                       81 originals I01.png ... and 10,125 distorted images I01_01_01.png ..."""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    official = _official(index)
    rows, notes, _ = with_liqe("kadid10k", "kadid10k", official, index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing("dmos.csv and no LIQE label files")
    rows = [dataclasses.replace(row, reference=row.name.rsplit("/", 1)[-1].split("_")[0]) for row in rows]
    return SetLabels(rows, tuple(notes))


def _official(index: FileIndex) -> list[Row]:
    path = index.first("dmos.csv")
    if path is None:
        return []
    rows = []
    for row in read_csv(path, ("dist_img", "ref_img", "dmos")):
        name = row["dist_img"]
        rows.append(Row(f"images/{name}", number(row["dmos"], f"{path}, {name}"), distortion_of(name)))
    return rows


def distortion_of(name: str) -> str:
    """LIQE's name of the distortion of an image named <original>_<type>_<level>.<suffix>.

    Raises:
      DataError: the name has another form.
    """
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
    score="The column `dmos`, which despite its name is higher for better images.",
    liqe="Training and test, ten sessions by original (57 / 8 / 16 originals; 7,125 / 1,000 / 2,000 images). Sixteen "
    "images a step.",
    quirks=(
        "The column `var` contains standard deviations.",
        "Types 07 and 08 are called oversaturation and desaturation, but the published operators do the reverse; "
        "both have the category color. LIQE's names are kept.",
        "LIQE's map assigns type 05, a shift of the colour channels, to blur (405 images). Kept.",
    ),
    read=read,
    liqe_folder="kadid10k",
    liqe_prefix="kadid10k",
    options=(LIQE_LABELS,),
    command="--labels LIQE",
)
