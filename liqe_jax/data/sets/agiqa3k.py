"""AGIQA-3K."""

from __future__ import annotations

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import read_scores

TREE = """\
AGIQA-3K/
  data.csv                      from the repository; the archive has images only
  AttnGAN_normal_000.jpg ...    2,982 images, in any folder below"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS of perceptual quality."""
    path = index.require("data.csv", "AGIQA-3K_data.csv")
    return SetLabels([Row(name, mos) for name, mos in read_scores(path, "name", "mos_quality")])


SPEC = DataSetSpec(
    name="AGIQA-3K",
    slug="agiqa3k",
    title="AGIQA-3K: a database for AI-generated image quality (Li et al., 2023)",
    count=2982,
    url="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
    licence="MIT (its repository).",
    tree=TREE,
    mos_range=(0.0, 5.0),
    read=read,
    places=lambda name: (f"images/{name}", name),
)
