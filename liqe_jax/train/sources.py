"""The data sets of a run, by name, and which of their images are held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.named import is_crops, load_sets
from liqe_jax.errors import UsageError
from liqe_jax.evaluate.metrics import FEWEST
from liqe_jax.model.config import CLIPConfig
from liqe_jax.train.squares import with_squares

# In place of names: nothing of this kind.
NONE = ("none",)

HeldOut = list[tuple[LabelledSet, Int[np.ndarray, " M"]]]


def training_sets(config: ConfigDict, model: CLIPConfig) -> list[LabelledSet]:
    """The sets that a run trains on, with the stem from a file if the configuration says so.

    Args:
      config: the run's.
      model: shape of what it starts from.

    Raises:
      DataError: a set is unknown or was not prepared, or a file belongs to another stem.
      UsageError: the stem cannot come from a file.
    """
    names = [name for name, _ in config.data.sets]
    if not config.data.stored_stem:
        if config.data.mosaic:
            raise UsageError(
                f"config.data.mosaic is for stored stems; got {config.data.mosaic} without config.data.stored_stem."
            )
        return load_sets(names, config.data.folder)
    if not all(is_crops(name) for name in names):
        raise UsageError(
            f"config.data.stored_stem is for sets of crops; got {', '.join(names)}. Leave it out, or use crops only."
        )
    if model.stem != "frequencies":
        raise UsageError(
            "config.data.stored_stem is for models with the stem 'frequencies'; got init "
            f"{config.init!r}, stem {model.stem!r}."
        )
    return [
        with_squares(
            crops, Path(config.data.folder) / crops.name, model.patch_size, config.data.patches, config.data.mosaic
        )
        for crops in load_sets(names, config.data.folder)
    ]


def check_split(sets: Sequence[LabelledSet], split: str) -> list[str]:
    """A sentence about each set that is used whole because it lacks the split.

    Raises:
      UsageError: every set lacks it and some have others: a misspelt name would train on test images.
    """
    whole = [dataset for dataset in sets if split not in dataset.parts]
    if split == "all":
        return []
    if len(whole) == len(sets) and any(dataset.parts for dataset in whole):
        there = "; ".join(f"{dataset.name} has {', '.join([*dataset.parts, 'all'])}" for dataset in whole)
        raise UsageError(f"No data set has the split config.data.split = {split!r}: {there}. Choose one of those.")
    return [
        f"{dataset.name} has no split {split!r}, "
        f"{'only ' + ', '.join(dataset.parts) if dataset.parts else 'nor any other'}: all its images are trained on."
        for dataset in whole
    ]


def held_out(
    names: Sequence[str], trained: Sequence[LabelledSet], split: str, part: str, config: ConfigDict
) -> HeldOut:
    """The images that the model is judged by: sets with the positions of that part.

    A set without the split is judged whole as a test, unless it is trained on. What has no image in
    the part is left out.

    Args:
      names: of sets, `NONE`, or () for the sets of the run.
      trained: the sets of the run.
      split, part: which images.
      config: the run's.

    Raises:
      DataError: a set is unknown or was not prepared, or an image of the part has no MOS.
      UsageError: a part is too small for a correlation.
    """
    if tuple(names) == NONE:
        return []
    found = []
    for dataset in load_sets(names, config.data.folder) if names else trained:
        if split in dataset.parts:
            indices = np.flatnonzero(np.asarray(dataset.parts[split]) == part)
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
