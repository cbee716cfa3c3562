"""Tampere Image Database 2013 (TID2013)."""

from __future__ import annotations

from types import MappingProxyType

from liqe_jax.bounded_io import read_text
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Options, Row, SetLabels
from liqe_jax.data.sets.tables import number
from liqe_jax.errors import DataError
from liqe_jax.messages import quoted

# Types 1 to 24 (Ponomarenko et al., Signal Processing: Image Communication 30, 2015, table 1).
TYPES = (
    "additive gaussian noise",
    "additive noise in color components",
    "spatially correlated noise",
    "masked noise",
    "high frequency noise",
    "impulse noise",
    "quantization noise",
    "gaussian blur",
    "image denoising",
    "jpeg compression",
    "jpeg2000 compression",
    "jpeg transmission errors",
    "jpeg2000 transmission errors",
    "non eccentricity pattern noise",
    "local block-wise distortions",
    "mean shift",
    "contrast change",
    "change of color saturation",
    "multiplicative gaussian noise",
    "comfort noise",
    "lossy compression of noisy images",
    "image color quantization with dither",
    "chromatic aberrations",
    "sparse sampling and reconstruction",
)

# Our choice, for types with an unambiguous category; LIQE does not map the types of this set.
CATEGORIES = MappingProxyType(
    {
        "additive gaussian noise": "noise",
        "additive noise in color components": "noise",
        "spatially correlated noise": "noise",
        "high frequency noise": "noise",
        "impulse noise": "noise",
        "contrast change": "contrast",
        "change of color saturation": "color",
        "multiplicative gaussian noise": "noise",
        "image color quantization with dither": "quantization",
    }
)

TREE = """\
tid2013/                        tid2013.rar unpacked
  mos_with_names.txt
  distorted_images/             i01_01_1.bmp ... (3,000 images)
  reference_images/             25 originals (not needed)"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS.

    Raises:
      DataError: the label file is missing or malformed, or the archive has not been unpacked.
    """
    path = index.first("mos_with_names.txt")
    if path is None:
        archives = index.with_suffix(".rar")
        if archives:
            raise DataError(
                f"{archives[0]} has not been unpacked, and Python cannot unpack RAR archives. Run in its folder: "
                f"unrar x {archives[0].name} (or 7z x, or bsdtar -xf).\n{index.missing('mos_with_names.txt')}"
            )
        raise index.missing("mos_with_names.txt")
    rows = []
    for position, line in enumerate(read_text(path, "ascii", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {position}"
        score, _, name = line.strip().partition(" ")
        parts = name.strip().rsplit(".", 1)[0].split("_")
        if len(parts) != 3 or not parts[1].isdigit() or not 1 <= int(parts[1]) <= len(TYPES):
            raise DataError(f"{where}: expected a score and a name such as I01_01_1.bmp, got {quoted(line)}.")
        # Names in the label file and on disk differ in case; here they are all as in I01_01_1.bmp.
        file = "_".join([parts[0].upper(), *parts[1:]]) + ".bmp"
        rows.append(
            Row(f"distorted_images/{file}", number(score, where), TYPES[int(parts[1]) - 1], reference=parts[0].upper())
        )
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
    score="First column of mos_with_names.txt.",
    liqe="Cross-database test only, all images. No scenes; the reference maps none of its distortions.",
    quirks=(
        "A RAR archive, which must be unpacked by hand.",
        "Names differ in case between the label file and the disk (`I01_01_1.bmp`, `i01_01_1.bmp`, `I25.BMP`, "
        "`i25.bmp`): case is ignored.",
        "The categories are this package's own, for types with an unambiguous category; the others have none.",
        "Its originals are Kodak photographs, twenty of which are in LIVE too: models trained on LIVE have seen the "
        "content.",
    ),
    read=read,
    categories=CATEGORIES,
)
