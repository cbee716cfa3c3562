"""Smartphone Photography Attribute and Quality database (SPAQ)."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_sheet

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
    """Reads official MOS, and scenes: those with a probability above 0; an empty cell is 0."""
    table = read_sheet(index.require(MOS_TABLE), ("Image name", "MOS"))
    mos = {str(row["Image name"]).strip(): number(row["MOS"], where) for where, row in table}
    scenes: dict[str, tuple[str, ...]] = {}
    notes = [f"{SCENE_TABLE} was not found: no scenes."]
    if path := index.first(SCENE_TABLE):
        for where, row in read_sheet(path, ("Image name", *SCENES)):
            present = (label for column, label in SCENES.items() if number(row[column] or 0, where) > 0)
            scenes[str(row["Image name"]).strip()] = tuple(present)
        unlabelled = [name for name in mos if not scenes.get(name)]
        notes = [f"{len(unlabelled)} images have no scene, for example {unlabelled[0]}."] if unlabelled else []
    return SetLabels([Row(f"TestImage/{n}", value, scenes=scenes.get(n, ())) for n, value in mos.items()], tuple(notes))


SPEC = DataSetSpec(
    name="SPAQ",
    slug="spaq",
    title="Smartphone Photography Attribute and Quality database (Fang, Zhu, Zeng, Ma, Wang, 2020)",
    count=11125,
    url="https://github.com/h4nwei/SPAQ",
    licence="Education and research only (its Readme).",
    tree=TREE,
    mos_range=(0.0, 100.0),
    read=read,
)
