"""Readers of official labels in MATLAB files: CLIVE and LIVE."""

from __future__ import annotations

import dataclasses

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Option, Options, Row, SetLabels
from liqe_jax.data.tables import read_mat
from liqe_jax.errors import DataError

# LIVE: folder, images in it, LIQE's name of its distortion; in the order of the label arrays (readme.txt).
FOLDERS = (
    ("jp2k", 227, "jpeg2000 compression"),
    ("jpeg", 233, "jpeg compression"),
    ("wn", 174, "white noise"),
    ("gblur", 174, "gaussian blur"),
    ("fastfading", 174, "fastfading"),
)

LIVE_OPTIONS = (
    Option("fix_live_fastfading", "correct the labels of fast-fading images", default=False, parse=bool, words=0),
)

# Practice images of CLIVE's study; they come first in the arrays and are in a folder of their own.
TRAINING_IMAGES = 7


def read_clive(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS, without the practice images."""
    path = index.first(spec.label_file)
    if path is None:
        return SetLabels([])
    scores = index.require("AllMOS_release.mat")
    (names,) = read_mat(path, "AllImages_release")
    (mos,) = read_mat(scores, "AllMOS_release")
    if len(names) != len(mos):
        raise DataError(f"{path} has {len(names)} names but {scores} {len(mos)} scores. Fetch both again.")
    pairs = list(zip(names, mos, strict=True))[TRAINING_IMAGES:]
    return SetLabels([Row(f"Images/{name}", float(score)) for name, score in pairs])


def read_live(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the official MOS: the largest DMOS of the distorted images minus DMOS."""
    path = index.first(spec.label_file)
    if path is None:
        return SetLabels([])
    dmos, copies = read_mat(path, "dmos_new", "orgs")
    _check(path, "dmos_new", len(dmos))
    _check(path, "orgs", len(copies))
    # Only `orgs` identifies the 203 copies of originals; distorted images can have a DMOS of 0 too.
    distorted = copies == 0
    worst = float(dmos[distorted].max())
    rows = zip(_names(), dmos, distorted, strict=True)
    return SetLabels([Row(name, worst - float(score), raw) for (name, raw), score, used in rows if used])


def _names() -> list[tuple[str, str]]:
    return [(f"{folder}/img{i}.bmp", raw) for folder, count, raw in FOLDERS for i in range(1, count + 1)]


def _check(path: object, variable: str, length: int) -> None:
    expected = sum(count for _, count, _ in FOLDERS)
    if length != expected:
        raise DataError(f"{path}: {variable} has {length} entries, expected {expected}. Fetch release 2's file.")


def finish_live(rows: list[Row], index: FileIndex, options: Options) -> tuple[list[Row], list[str]]:
    """Adds the originals, and corrects LIQE's labels of the fast-fading images on request."""
    if path := index.first("refnames_all.mat"):
        (references,) = read_mat(path, "refnames_all")
        _check(path, "refnames_all", len(references))
        reference_of = {name: str(one) for (name, _), one in zip(_names(), references, strict=True)}
        rows = [dataclasses.replace(row, reference=reference_of.get(row.name, "")) for row in rows]
    wrong = [row for row in rows if row.name.startswith("fastfading/") and row.raw_distortion != "fastfading"]
    if wrong and options["fix_live_fastfading"]:
        return _fixed(rows, index), [f"{len(wrong)} fast-fading images were given their own distortion and scenes."]
    note = (
        f"{len(wrong)} fast-fading images have the distortion and scenes of the white-noise image of the "
        "same number, as in LIQE's label files; --fix-live-fastfading corrects them."
    )
    return rows, [note] if wrong else []


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
        if not row.name.startswith("fastfading/"):
            fixed.append(row)
        elif row.reference in scenes:
            fixed.append(dataclasses.replace(row, raw_distortion="fastfading", scenes=scenes[row.reference]))
        else:
            raise DataError(f"No other image of {row.reference} to take the scenes of {row.name} from.")
    return fixed
