"""Data sets by name: prepared sets and generated sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from liqe_jax.data.generated import GENERATED, generated_set
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.prepared import FILE, load_set
from liqe_jax.errors import DataError


def is_generated(name: str) -> bool:
    """Whether a name stands for a generated set: `generated`, `generated-2`, ..."""
    return re.fullmatch(rf"{GENERATED}(-\d+)?", name) is not None


def check_own_name(name: str) -> None:
    """Checks the name of a set of the user's data.

    Raises:
      DataError: the name is reserved for generated sets, or is not a valid folder name.
    """
    if is_generated(name.lower()):
        raise DataError(
            f"{name!r} cannot name a set of your own: generated and generated-NUMBER are reserved for generated sets. "
            "Choose another name."
        )
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"{name!r} cannot name a folder; use letters, digits, '_', '-' and '.'.")


def load_sets(names: Sequence[str], folder: str | Path) -> list[LabelledSet]:
    """Loads data sets that `liqe data prepare` wrote to the folder, and generated sets (see `is_generated`).

    Raises:
      DataError: a set is not prepared, or a prepared set has a reserved name.
    """
    sets = []
    for name in names:
        if not is_generated(name):
            sets.append(load_set(name, folder))
            continue
        # An earlier version allowed such names.
        if found := [*Path(folder).expanduser().glob(f"*/{name}/*/{FILE}")]:
            raise DataError(
                f"{name!r} is reserved for generated sets, but {found[0].parent} is a prepared set of that name. "
                "Prepare it under another name (liqe data prepare ... --name NAME), and remove that one."
            )
        sets.append(generated_set(name))
    return sets
