"""Data sets by the names that configurations give them: published, folders of crops, or made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from liqe_jax.data.crops import CROPS, crops_set
from liqe_jax.data.generated import GENERATED, generated_set
from liqe_jax.data.labelled import LabelledSet


def load_sets(names: Sequence[str], folder: str | Path) -> list[LabelledSet]:
    """Prepared data sets.

    Args:
      names: `crops`, `crops-2`, ... are folders of crops; `generated`, `generated-2`, ... are made on the spot, for
        trials; others are those that `liqe data prepare` wrote.
      folder: where they lie.

    Raises:
      DataError: a set is unknown or was not prepared.
    """
    from liqe_jax.data.store import load_set

    sets = []
    for name in names:
        if name.startswith(GENERATED):
            sets.append(generated_set(name))
        elif name.startswith(CROPS):
            sets.append(crops_set(Path(folder) / name, name))
        else:
            sets.append(load_set(name, folder))
    return sets
