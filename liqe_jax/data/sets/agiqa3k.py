"""AGIQA-3K."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number, read_csv

TREE = """\
AGIQA-3K/
  data.csv                      from the repository; the archive has images only
  AttnGAN_normal_000.jpg ...    2,982 images, in any folder below"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS of perceptual quality.

    Raises:
      DataError: the label file is missing or malformed.
    """
    path = index.require("data.csv", "AGIQA-3K_data.csv")
    table = read_csv(path, ("name", "mos_quality"))
    return SetLabels([Row(row["name"], number(row["mos_quality"], f"{path}, {row['name']}")) for row in table])


SPEC = DataSetSpec(
    name="AGIQA-3K",
    slug="agiqa3k",
    title="AGIQA-3K: a database for AI-generated image quality (Li et al., 2023)",
    count=2982,
    url="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
    licence="MIT (its repository).",
    tree=TREE,
    mos_range=(0.0, 5.0),
    score="The column mos_quality; mos_align, how well an image fits its prompt, is not used.",
    liqe="Cross-database test only. SRCC in its README: 0.7212.",
    quirks=("Prompts are quoted and may hold commas.",),
    read=read,
    places=lambda name: (f"images/{name}", name),
)
