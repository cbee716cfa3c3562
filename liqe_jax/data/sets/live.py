"""LIVE Image Quality Assessment Database, release 2."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import with_liqe
from liqe_jax.data.sets.spec import LIQE_LABELS, DataSetSpec, Option, Options, Row, SetLabels
from liqe_jax.data.sets.tables import read_mat
from liqe_jax.errors import DataError

# Folder, images in it, LIQE's name of its distortion; in the order of the label arrays (readme.txt).
FOLDERS = (
    ("jp2k", 227, "jpeg2000 compression"),
    ("jpeg", 233, "jpeg compression"),
    ("wn", 174, "white noise"),
    ("gblur", 174, "gaussian blur"),
    ("fastfading", 174, "fastfading"),
)

# Half a unit in the last place of LIQE's six decimals.
TOLERANCE = 1e-5

TREE = """\
databaserelease2/
  jp2k/img1.bmp ... img227.bmp
  jpeg/img1.bmp ... img233.bmp
  wn/  gblur/  fastfading/      img1.bmp ... img174.bmp each
  refimgs/                      29 originals (not needed)
  refnames_all.mat              names of the originals
dmos_realigned.mat              a separate download on the same page"""


def read(index: FileIndex, options: Options) -> SetLabels:
    """Reads official MOS, and LIQE's labels if they are available.

    Raises:
      DataError: files are missing or malformed.
    """
    official = _official(index)
    rows, notes, labelled = with_liqe("databaserelease2", "live", official, index, options["labels"], TOLERANCE)
    if not rows:
        raise index.missing("dmos_realigned.mat and no LIQE label files")
    if labelled:
        references = _references(index)
        rows = [dataclasses.replace(row, reference=references.get(row.name, "")) for row in rows]
        wrong = [row for row in rows if row.name.startswith("fastfading/") and row.raw_distortion != "fastfading"]
        if options["fix_live_fastfading"]:
            rows = _fixed(rows, index)
            notes.append(f"{len(wrong)} fast-fading images were given their own distortion and scenes.")
        elif wrong:
            notes.append(
                f"{len(wrong)} fast-fading images have the distortion and scenes of the white-noise image of the "
                "same number, as in LIQE's label files; --fix-live-fastfading corrects them."
            )
    return SetLabels(rows, tuple(notes))


def _names() -> list[tuple[str, str]]:
    return [(f"{folder}/img{i}.bmp", raw) for folder, count, raw in FOLDERS for i in range(1, count + 1)]


def _references(index: FileIndex) -> dict[str, str]:
    path = index.first("refnames_all.mat")
    if path is None:
        return {}
    (references,) = read_mat(path, "refnames_all")
    names = _names()
    _check(path, "refnames_all", len(references))
    return {name: str(reference) for (name, _), reference in zip(names, references, strict=True)}


def _check(path: object, variable: str, length: int) -> None:
    expected = sum(count for _, count, _ in FOLDERS)
    if length != expected:
        raise DataError(f"{path}: {variable} has {length} entries, expected {expected}. Fetch release 2's file.")


def _official(index: FileIndex) -> list[Row]:
    path = index.first("dmos_realigned.mat")
    if path is None:
        return []
    dmos, copies = read_mat(path, "dmos_new", "orgs")
    _check(path, "dmos_new", len(dmos))
    _check(path, "orgs", len(copies))
    references = _references(index)
    # Only `orgs` identifies the 203 copies of originals; distorted images can have a DMOS of 0 too.
    distorted = copies == 0
    worst = float(dmos[distorted].max())
    return [
        Row(name, worst - float(score), raw, reference=references.get(name, ""))
        for (name, raw), score, kept in zip(_names(), dmos, distorted, strict=True)
        if kept
    ]


def _fixed(rows: list[Row], index: FileIndex) -> list[Row]:
    """Sets the distortion of fast-fading rows, and the scenes that their original has in the other folders."""
    if not any(row.reference for row in rows):
        raise DataError(
            "Correcting the fast-fading labels needs the original of each image: "
            f"refnames_all.mat is missing below {index.root}."
        )
    scenes = {row.reference: row.scenes for row in rows if not row.name.startswith("fastfading/")}
    fixed = []
    for row in rows:
        if row.name.startswith("fastfading/"):
            if row.reference not in scenes:
                raise DataError(f"No other image of {row.reference} to take the scenes of {row.name} from.")
            row = dataclasses.replace(row, raw_distortion="fastfading", scenes=scenes[row.reference])  # noqa: PLW2901
        fixed.append(row)
    return fixed


SPEC = DataSetSpec(
    name="LIVE",
    slug="live",
    title="LIVE Image Quality Assessment Database, release 2 (Sheikh, Sabir, Bovik, 2006)",
    count=779,
    url="https://live.ece.utexas.edu/research/quality/subjective.htm",
    licence="Notice of the University of Texas at Austin: any use with notice and citation. Nine of the originals may "
    "not be used outside the database. The archive needs a password from the laboratory.",
    tree=TREE,
    mos_range=(0.0, 114.42),
    score="Largest `dmos_new` of the distorted images (111.774693) minus `dmos_new`. The scale is not clipped at 100: "
    "77 images exceed it.",
    liqe="Training and test, ten sessions by original (about 538 / 80 / 161 images). Four images a step.",
    quirks=(
        "982 images, of which 203 are copies of the 29 originals; `orgs` marks them, and they are excluded.",
        "In LIQE's files all 145 fast-fading images have the distortion (white noise) and the scenes of the "
        "white-noise image of the same number. Kept by default, since the released weights were trained with them; "
        "`--fix-live-fastfading` sets `fastfading` (category jpeg2000 compression) and the scenes of their "
        "original in the other folders. The MOS are correct.",
        "`dmos.mat` in the archive has older DMOS; LIQE uses `dmos_realigned.mat`.",
    ),
    read=read,
    # Five folders have the same file names, so the folder is required.
    places=lambda name: (),
    liqe_folder="databaserelease2",
    liqe_prefix="live",
    options=(
        LIQE_LABELS,
        Option(
            "fix_live_fastfading",
            "correct the distortion and scene labels of fast-fading images",
            default=False,
            parse=bool,
            words=0,
        ),
    ),
    command="--labels LIQE",
)
