"""The data sets of a run, by name, and which of their images are held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.named import load_sets
from liqe_jax.errors import UsageError
from liqe_jax.metrics.correlation import FEWEST

# In place of names: nothing of this kind.
NONE = ("none",)

HeldOut = list[tuple[LabelledSet, Int[np.ndarray, " M"]]]


def training_sets(config: ConfigDict, sets: Sequence[LabelledSet] | None = None) -> list[LabelledSet]:
    """The sets that a run trains on, in the order of `config.data.sets`, among `sets` in memory or prepared ones.

    Raises DataError if a set is unknown or was not prepared, UsageError if a name is not among `sets`.
    """
    found = _named([name for name, _ in config.data.sets], config, sets)
    if config.data.mos_scale:
        low, high = map(float, config.data.mos_scale)
        for place, dataset in enumerate(found):
            least, most = dataset.mos_range
            mos = low + (dataset.mos - least) * ((high - low) / (most - least))
            found[place] = dataclasses.replace(dataset, mos=mos, mos_range=(low, high))
    return found


def _named(names: Sequence[str], config: ConfigDict, sets: Sequence[LabelledSet] | None) -> list[LabelledSet]:
    if sets is None:
        return load_sets(names, config.data.folder)
    by_name = {dataset.name: dataset for dataset in sets}
    if missing := [name for name in names if name not in by_name]:
        raise UsageError(
            f"config.data names {', '.join(missing)}, and the data sets that were given are {', '.join(by_name)}. Use "
            "their names."
        )
    return [by_name[name] for name in names]


def check_split(sets: Sequence[LabelledSet], split: str) -> list[str]:
    """A sentence about each set that is used whole because it lacks the split.

    Raises UsageError if every set lacks it and some have others: a misspelt name would train on test images.
    """
    whole = [dataset for dataset in sets if split not in dataset.splits]
    if split == "all":
        return []
    if len(whole) == len(sets) and any(dataset.splits for dataset in whole):
        there = "; ".join(f"{dataset.name} has {', '.join([*dataset.splits, 'all'])}" for dataset in whole)
        raise UsageError(f"No data set has the split config.data.split = {split!r}: {there}. Choose one of those.")
    return [
        f"{dataset.name} has no split {split!r}, "
        f"{'only ' + ', '.join(dataset.splits) if dataset.splits else 'nor any other'}: all its images are trained on."
        for dataset in whole
    ]


def held_out(
    names: Sequence[str],
    trained: Sequence[LabelledSet],
    config: ConfigDict,
    part: str,
    sets: Sequence[LabelledSet] | None = None,
) -> HeldOut:
    """The images that the model is evaluated with: sets with the positions of the part "val" or "test" of the split.

    A set without the split is a test set as a whole, unless it is trained on. What has no image in the part is left
    out. `names` are those of sets, `NONE`, or () for the sets `trained` on; `sets` are as of `training_sets`. Raises as
    `training_sets`, DataError if an image of the part has no MOS, UsageError if it is too small for a correlation.
    """
    if tuple(names) == NONE:
        return []
    found, split = [], config.data.split
    for dataset in _named(names, config, sets) if names else trained:
        if split in dataset.splits:
            indices = np.flatnonzero(np.asarray(dataset.splits[split]) == part)
        elif part == "test" and dataset.name not in [one.name for one in trained]:
            indices = np.arange(len(dataset))
        else:
            continue
        if 0 < len(indices) < FEWEST:
            key = {"val": "validate", "test": "test"}[part]
            raise UsageError(
                f"Part {part!r} of split {split!r} of {dataset.name} has {len(indices)} images; a correlation needs at "
                f"least {FEWEST}. Give it more, or do without: --config.data.{key}=\"('none',)\"."
            )
        dataset.check_mos(indices)
        if len(indices):
            found.append((dataset, indices))
    return found
