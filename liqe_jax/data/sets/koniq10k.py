"""KonIQ-10k."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_csv
from liqe_jax.errors import DataError

SCORES = "koniq10k_scores_and_distributions.csv"
SPLIT = "koniq10k_distributions_sets.csv"

SPLIT_OF_SET = {"training": "train", "validation": "val", "test": "test"}

TOLERANCE = 1e-5

TREE = f"""\
koniq10k/
  {SCORES}
  {SPLIT}   the official split, from github.com/subpic/koniq (optional)
  1024x768/                     10,073 images, 10004473376.jpg ..."""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS and split, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    rows, notes, _ = with_liqe("koniq-10k", "koniq10k", _official(index), index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing(f"{SCORES} and no LIQE label files")
    split = index.first(SPLIT)
    if split is None:
        notes.append(f"The official split is not available: {SPLIT} was not found.")
    else:
        official = {
            f"1024x768/{row['image_name']}": _split(row, split) for row in read_csv(split, ("image_name", "set"))
        }
        if absent := [row.name for row in rows if row.name not in official]:
            raise DataError(f"{split} lacks {len(absent)} images, for example {absent[0]}. Fetch the file again.")
        rows = [dataclasses.replace(row, splits={**row.splits, "official": official[row.name]}) for row in rows]
    return SetLabels(rows, tuple(notes))


def _split(row, path) -> str:
    if row["set"] not in SPLIT_OF_SET:
        raise DataError(
            f"{path}, {row['image_name']}: unknown set {row['set']!r}; known are {', '.join(SPLIT_OF_SET)}."
        )
    return SPLIT_OF_SET[row["set"]]


def _official(index: FileIndex) -> list[Row]:
    """MOS from the score file, or from the rating counts of the split file, whose column MOS is a z-score."""
    path = index.first(SCORES)
    if path is not None:
        table = read_csv(path, ("image_name", "MOS"))
        return [
            Row(f"1024x768/{row['image_name']}", number(row["MOS"], f"{path}, {row['image_name']}")) for row in table
        ]
    path = index.first(SPLIT)
    if path is None:
        return []
    counts = ("c1", "c2", "c3", "c4", "c5")
    rows = []
    for row in read_csv(path, ("image_name", *counts)):
        shares = [number(row[count], f"{path}, {row['image_name']}") for count in counts]
        mos = sum(grade * share for grade, share in enumerate(shares, start=1)) / sum(shares)
        rows.append(Row(f"1024x768/{row['image_name']}", mos))
    return rows


def _places(name: str) -> tuple[str, ...]:
    file = name.rsplit("/", 1)[-1]
    return (f"koniq10k_1024x768/{file}", f"images/{file}")


SPEC = DataSetSpec(
    name="KonIQ-10k",
    slug="koniq10k",
    title="Konstanz authentic Image Quality 10k database (Hosu, Lin, Sziranyi, Saupe, 2020)",
    count=10073,
    url="https://database.mmsp-kn.de/koniq-10k-database.html",
    licence="Free for research; no formal licence of the images. The code of subpic/koniq is MIT.",
    tree=TREE,
    mos_range=(1.0, 5.0),
    score="The column MOS of the score file, the mean of ratings from 1 to 5. If only the split file is available, "
    "the mean of its rating shares, which is the same.",
    liqe="Training and test, ten random sessions (7,051 / 1,007 / 2,015 images), which are not the official split. "
    "Sixteen images a step.",
    quirks=(
        "The column MOS of the split file is another quantity, a z-score from 3.91 to 88.39. pyiqa uses that one, "
        "LIQE the mean rating; rank correlation of the two is 0.992.",
        "The official split (7,058 / 1,000 / 2,015) is the session `official`.",
        "Images of 512x384 have the same names; only folders 1024x768, koniq10k_1024x768 and images are searched.",
    ),
    read=read,
    places=_places,
    liqe_folder="koniq-10k",
    liqe_prefix="koniq10k",
    options=(LIQE_LABELS,),
    command="--labels LIQE",
)
