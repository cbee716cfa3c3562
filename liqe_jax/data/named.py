"""Data sets by the names that configurations give them: published, folders of crops, or made on the spot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from liqe_jax.data.crops import CROPS, crops_set
from liqe_jax.data.generated import GENERATED, generated_set
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.sidecar import FILE
from liqe_jax.errors import DataError


def is_generated(name: str) -> bool:
    """Whether a name stands for pictures made on the spot: `generated`, `generated-2`, ..."""
    return re.fullmatch(rf"{GENERATED}(-\d+)?", name) is not None


def is_crops(name: str) -> bool:
    """Whether a name stands for a folder of crops: `crops`, `crops-2`, `crops-table`, ..."""
    return re.fullmatch(rf"{CROPS}(-.+)?", name) is not None


def check_own_name(name: str) -> None:
    """Refuses names that a set of one's own would never be found by.

    Raises:
      DataError: the name stands for generated pictures or crops, or is no name of a folder.
    """
    if is_generated(name.lower()) or is_crops(name.lower()):
        raise DataError(
            f"{name!r} cannot name a set of your own: generated, generated-NUMBER, crops and crops-ANYTHING stand for "
            "pictures made on the spot and folders of crops. Choose another name."
        )
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"{name!r} cannot name a folder; use letters, digits, '_', '-' and '.'.")


def load_sets(names: Sequence[str], folder: str | Path) -> list[LabelledSet]:
    """Prepared data sets.

    Args:
      names: `crops`, `crops-2`, ... are folders of crops; `generated`, `generated-2`, ... are made on the spot, for
        trials; others are those that `liqe data prepare` wrote.
      folder: where they lie.

    Raises:
      DataError: a set is unknown or was not prepared, or one that was prepared has a name that stands for others.
    """
    from liqe_jax.data.reading.store import load_set

    sets = []
    for name in names:
        if is_generated(name) or is_crops(name):
            _check_unambiguous(name, Path(folder).expanduser())
        if is_generated(name):
            sets.append(generated_set(name))
        elif is_crops(name):
            sets.append(crops_set(Path(folder) / name, name))
        else:
            sets.append(load_set(name, folder))
    return sets


def _check_unambiguous(name: str, folder: Path) -> None:
    """Sets of one's own that were prepared before such names were refused must not be mistaken in silence."""
    if found := [*folder.glob(f"*/{name}/*/{FILE}")]:
        raise DataError(
            f"{name!r} stands for generated pictures or crops, but {found[0].parent} is a prepared set of that name. "
            "Prepare it under another name (liqe data prepare ... --name NAME), and remove that one."
        )
