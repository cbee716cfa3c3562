"""KonIQ-10k."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, LiqeFiles, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_csv, read_scores
from liqe_jax.errors import DataError

SCORES = "koniq10k_scores_and_distributions.csv"
SPLIT = "koniq10k_distributions_sets.csv"

SPLIT_OF_SET = {"training": "train", "validation": "val", "test": "test"}
RATINGS = {"c1": 1, "c2": 2, "c3": 3, "c4": 4, "c5": 5}

TREE = f"""\
koniq10k/
  {SCORES}
  {SPLIT}   the official split, from github.com/subpic/koniq (optional)
  1024x768/                     10,073 images, 10004473376.jpg ..."""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS and split.

    MOS come from the score file, or from the rating counts of the split file, whose column MOS is a z-score.
    """
    scores, split = index.first(SCORES), index.first(SPLIT)
    splits, means = _split_file(split) if split else ({}, {})
    mos = dict(read_scores(scores, "image_name", "MOS")) if scores else means
    if splits and (absent := [name for name in mos if name not in splits]):
        raise DataError(f"{split} lacks {len(absent)} images, for example {absent[0]}. Fetch the file again.")
    rows = [
        Row(f"1024x768/{name}", value, splits={"official": splits[name]} if splits else {})
        for name, value in mos.items()
    ]
    return SetLabels(rows, () if split else (f"The official split is not available: {SPLIT} was not found.",))


def _split_file(path: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Image name -> split, and image name -> mean rating."""
    splits, means = {}, {}
    for row in read_csv(path, ("image_name", "set", *RATINGS)):
        name = row["image_name"]
        if row["set"] not in SPLIT_OF_SET:
            raise DataError(f"{path}, {name}: unknown set {row['set']!r}; known are {', '.join(SPLIT_OF_SET)}.")
        splits[name] = SPLIT_OF_SET[row["set"]]
        shares = {rating: number(row[column], f"{path}, {name}") for column, rating in RATINGS.items()}
        means[name] = sum(rating * share for rating, share in shares.items()) / sum(shares.values())
    return splits, means


SPEC = DataSetSpec(
    name="KonIQ-10k",
    slug="koniq10k",
    title="Konstanz authentic Image Quality 10k database (Hosu, Lin, Sziranyi, Saupe, 2020)",
    count=10073,
    url="https://database.mmsp-kn.de/koniq-10k-database.html",
    licence="Free for research; no formal licence of the images. The code of subpic/koniq is MIT.",
    tree=TREE,
    mos_range=(1.0, 5.0),
    read=read,
    label_file=SCORES,
    # Not any folder, since images of 512x384 have the same names.
    places=lambda name: [f"{folder}/{PurePosixPath(name).name}" for folder in ("koniq10k_1024x768", "images")],
    liqe=LiqeFiles("koniq-10k", "koniq10k", tolerance=1e-5),
)
