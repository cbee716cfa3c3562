"""Crops that `liqe_jax.synthetic.crops` made, as a data set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from liqe_jax.bounded_io import read_json
from liqe_jax.data.labelled import UNKNOWN, LabelledSet
from liqe_jax.errors import DataError
from liqe_jax.messages import printable
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION, DISTORTION, SCENE

CROPS = "crops"
SPLIT = "photographs"  # the only one: by photograph


def crop_pixels(folder: Path) -> UInt8[np.ndarray, "N S S 3"]:
    """The crops in a folder, which stay on disk until they are read.

    Raises:
      DataError: there are none.
    """
    try:
        (folder / "labels.json").stat()  # written last
        return np.asanyarray(np.load(folder / "pixels.npy", mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} holds no crops ({error}). Make them: python -m liqe_jax.synthetic.crops PHOTOS {folder}"
        ) from error


def views_of_crops(folder: Path) -> Int[np.ndarray, "V C"]:
    """Which crops are of the same view: a row for each view.

    Raises:
      DataError: the folder does not say, or views have different numbers of crops.
    """
    try:
        views = np.asarray([label["view"] for label in read_json(folder / "labels.json")])
        rows = np.argsort(views, kind="stable").reshape(len(np.unique(views)), -1)
        if (views[rows] != views[rows[:, :1]]).any():
            raise ValueError("some views have more crops than others")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{folder / 'labels.json'} does not say which crops belong together ({printable(repr(error))})."
        ) from error
    return rows


def crops_set(folder: Path, name: str = CROPS) -> LabelledSet:
    """The data set in a folder of crops.

    Raises:
      DataError: there is none, or it is cut.
    """
    pixels = crop_pixels(folder)
    try:
        labels = read_json(folder / "labels.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'labels.json'} is damaged ({printable(error)}). Make the crops again.") from error
    if len(labels) != len(pixels):
        raise DataError(f"{folder} has {len(labels)} labels and {len(pixels)} crops. Make them again.")

    def read(indices: Sequence[int]) -> list[bytes]:
        files = []
        for index in indices:
            file = io.BytesIO()
            Image.fromarray(pixels[index]).save(file, "bmp")  # the quickest to write and to read
            files.append(file.getvalue())
        return files

    raw = [label["distortion"] for label in labels]
    return LabelledSet(
        name=name,
        names=[label["name"] for label in labels],
        mos=np.asarray([label["mos"] for label in labels], np.float64),
        mos_range=(1.0, 5.0),
        raw_distortion=raw,
        distortion=np.asarray([DISTORTION.labels.index(CATEGORY_OF_RAW_DISTORTION[r]) if r else UNKNOWN for r in raw]),
        scenes=np.asarray([[scene in label["scenes"] for scene in SCENE.labels] for label in labels], bool),
        reference=[label["photo"] for label in labels],
        read=read,
        splits={SPLIT: [label["part"] for label in labels]},
    )
