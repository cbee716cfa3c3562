"""Smartphone Photography Attribute and Quality database (SPAQ)."""

from __future__ import annotations

from pathlib import Path

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_xlsx, require_columns

MOS_TABLE = "MOS and Image attribute scores.xlsx"
SCENE_TABLE = "Scene category labels.xlsx"

# Columns of the scene table -> LIQE's scenes.
SCENES = {
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

TREE = f"""\
SPAQ/
  Annotations/{MOS_TABLE}
  Annotations/{SCENE_TABLE}     (optional)
  TestImage/                    00001.jpg ... 11125.jpg"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS and scenes.

    Raises:
      DataError: the score table is missing, or a table is malformed.
    """
    path = index.require(MOS_TABLE)
    scores = _table(path, ("MOS",))
    scene_path = index.first(SCENE_TABLE)
    scenes: dict[str, tuple[str, ...]] = {}
    notes = [f"{SCENE_TABLE} was not found: no scenes."]
    if scene_path:
        table = _table(scene_path, tuple(SCENES))
        scenes = {
            name: tuple(label for column, label in SCENES.items() if values[column] > 0)
            for name, values in table.items()
        }
        unlabelled = [name for name in scores if not scenes.get(name)]
        notes = [f"{len(unlabelled)} images have no scene, for example {unlabelled[0]}."] if unlabelled else []
    rows = [Row(f"TestImage/{name}", values["MOS"], scenes=scenes.get(name, ())) for name, values in scores.items()]
    return SetLabels(rows, tuple(notes))


def _table(path: Path, columns: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Image name -> the numbers in `columns`; empty probabilities are 0."""
    cells = read_xlsx(path)
    header = [str(value).strip() for value in next(cells, ())]
    require_columns(path, header, ("Image name", *columns))
    table = {}
    for position, values in enumerate(cells, start=2):
        cell = dict(zip(header, values, strict=False))
        name = cell["Image name"]
        if name is None:
            continue
        where = f"{path}, row {position}"
        table[str(name).strip()] = {
            column: 0.0 if cell[column] is None and column != "MOS" else number(cell[column], where)
            for column in columns
        }
    return table


SPEC = DataSetSpec(
    name="SPAQ",
    slug="spaq",
    title="Smartphone Photography Attribute and Quality database (Fang, Zhu, Zeng, Ma, Wang, 2020)",
    count=11125,
    url="https://github.com/h4nwei/SPAQ",
    licence="Education and research only (its Readme).",
    tree=TREE,
    mos_range=(0.0, 100.0),
    score="The column MOS.",
    liqe="Cross-database test only, all images. Its scenes are those of the set with a probability above 0.",
    quirks=(
        "A split archive: `zip -FF SPAQ.zip --out all.zip` joins SPAQ.z01 to SPAQ.zip before unpacking. Corrupt "
        "copies occur; preparation decodes every image and lists those that fail.",
        "Photographs of full size (about 35 GB): preparation downscales them like the reference.",
        "Some have an EXIF orientation. Like the reference, preparation does not apply it.",
    ),
    read=read,
)
