"""Tampere Image Database 2013 (TID2013)."""

from __future__ import annotations

import re

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_lines
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted

# Types 1 to 24 (Ponomarenko et al., Signal Processing: Image Communication 30, 2015, table 1) -> category.
# The categories are our choice, for types with an unambiguous one; LIQE does not map the types of this set.
TYPES = {
    "additive gaussian noise": "noise",
    "additive noise in color components": "noise",
    "spatially correlated noise": "noise",
    "masked noise": "",
    "high frequency noise": "noise",
    "impulse noise": "noise",
    "quantization noise": "",
    "gaussian blur": "",
    "image denoising": "",
    "jpeg compression": "",
    "jpeg2000 compression": "",
    "jpeg transmission errors": "",
    "jpeg2000 transmission errors": "",
    "non eccentricity pattern noise": "",
    "local block-wise distortions": "",
    "mean shift": "",
    "contrast change": "contrast",
    "change of color saturation": "color",
    "multiplicative gaussian noise": "noise",
    "comfort noise": "",
    "lossy compression of noisy images": "",
    "image color quantization with dither": "quantization",
    "chromatic aberrations": "",
    "sparse sampling and reconstruction": "",
}

LINE = re.compile(r"(?P<mos>\S+)\s+(?P<original>[^_\s]+)_(?P<type>\d+)_(?P<level>[^_.\s]+)\.bmp", re.IGNORECASE)

TREE = """\
tid2013/                        tid2013.rar unpacked
  mos_with_names.txt
  distorted_images/             i01_01_1.bmp ... (3,000 images)
  reference_images/             25 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS.

    Names in the label file and on disk differ in case; here they are all as in I01_01_1.bmp.
    """
    rows = []
    for where, line in read_lines(index.require("mos_with_names.txt")):
        found = LINE.fullmatch(line.strip())
        if not found or not 1 <= int(found["type"]) <= len(TYPES):
            raise DataError(f"{where}: expected a score and a name such as I01_01_1.bmp, got {quoted(line)}.")
        original = found["original"].upper()
        name = f"distorted_images/{original}_{found['type']}_{found['level']}.bmp"
        rows.append(Row(name, number(found["mos"], where), list(TYPES)[int(found["type"]) - 1], reference=original))
    return SetLabels(rows)


SPEC = DataSetSpec(
    name="TID2013",
    slug="tid2013",
    title="Tampere Image Database 2013 (Ponomarenko et al., 2015)",
    count=3000,
    url="https://www.ponomarenko.info/tid2013.htm",
    licence="Education and research only; no redistribution of modified versions (its readme).",
    tree=TREE,
    mos_range=(0.0, 9.0),
    read=read,
    categories=TYPES,
)
