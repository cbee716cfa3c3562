"""Checks whether a model has seen the images that it is evaluated on.

A model's provenance states the data sets and sessions that it was trained on, and the data set states which
images those are. An evaluation counts as a test only if both are known and do not overlap.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from liqe_jax.data.named import is_generated
from liqe_jax.data.sets import specs
from liqe_jax.errors import DataError
from liqe_jax.weights.provenance import TrainingSet

TEST, SEEN, UNKNOWN = "test", "seen", "not stated"

# Different sets that share pristine originals (docs/datasets).
_SHARED = ("tid2013", "live")


class SeenCheck(NamedTuple):
    """Whether a model has seen the images: `TEST`, `SEEN` or `UNKNOWN`, the reason, and how many it has seen."""

    status: str
    reason: str
    images: int = 0


def slug(dataset: str) -> str:
    """Normalizes the name of a data set: "KADID-10k" and "kadid" give the same slug."""
    plain = re.sub(r"[^a-z0-9]", "", dataset.lower())
    return next((spec.slug for spec in specs().values() if plain in spec.aliases), plain)


def session_key(description: str) -> str | None:
    """The session that a provenance describes: "1" to "10", "official", "all"; None for anything else."""
    if found := re.match(r"session (\d+)\b", description):
        return found[1]
    word = description.split(" ", maxsplit=1)[0]
    return word if word in ("official", "all") else None


def check_seen(
    trained_on: Sequence[TrainingSet] | None,
    dataset: str,
    splits: Mapping[str, Sequence[str]],
    indices: Int[np.ndarray, " M"],
    others: Collection[str] = (),
) -> SeenCheck:
    """Checks whether a model has seen the images `indices` of a data set.

    Args:
      trained_on: from the model's provenance; None if it is not stated.
      dataset: name of the set.
      splits: session -> split of each image, as in `LabelledSet`.
      indices: positions of the evaluated images.
      others: names of the sets in the same evaluation, which are known to be different sets.
    """
    if trained_on is None:
        return SeenCheck(UNKNOWN, "the model's provenance does not say what it was trained on")
    entries = [entry for entry in trained_on if slug(entry.dataset) == slug(dataset)]
    unknown = ""
    for entry in entries:
        # A session of the user's own data may have any name.
        key = entry.split if entry.split in splits else session_key(entry.split)
        if key == "all":
            return SeenCheck(SEEN, f"trained on all of {dataset}", len(indices))
        if key is None:
            unknown = f"trained on {dataset}, but the session is not known ({entry.split!r})"
        elif key not in splits:
            unknown = f"trained on {entry.split} of {dataset}, which the prepared set does not have"
        else:
            split = np.asarray(splits[key])[indices]
            train, val = int(np.sum(split == "train")), int(np.sum(split == "val"))
            if train or val:
                reason = f"of {len(indices)} images, {train} are training and {val} validation images of {entry.split}"
                return SeenCheck(SEEN, reason, train + val)
    # The images of a set of any other name are unknown; it may be another name of the evaluated set.
    known = {slug(name) for name in (dataset, *others, *(spec.name for spec in specs().values()))}
    unlisted = [e.dataset for e in trained_on if slug(e.dataset) not in known and not is_generated(e.dataset)]
    if unlisted and not unknown:
        unknown = (
            f"trained on {', '.join(map(repr, unlisted))}, which is not a known data set and may contain images of "
            f"{dataset}; if it does not, state the training data without it (config.trained_on)"
        )
    if unknown:
        return SeenCheck(UNKNOWN, unknown)
    if entries:
        return SeenCheck(TEST, f"held out from {', '.join(entry.split for entry in entries)}")
    reason = "not trained on this set"
    if slug(dataset) in _SHARED and any(slug(entry.dataset) in _SHARED for entry in trained_on):
        reason += "; LIVE and TID2013 share most of their originals, the Kodak photographs"
    return SeenCheck(TEST, reason)


def require_test(seen: SeenCheck, what: str) -> None:
    """Raises DataError if the model has seen the images, or its training data are not known."""
    if seen.status != TEST:
        raise DataError(
            f"{what} is not a test: {seen.reason}. Evaluate on held-out images, state the training data "
            "(config.trained_on) if they are not known, or set config.on_seen = 'mark' to mark such results."
        )
