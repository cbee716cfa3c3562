"""What may be called a test: an evaluation on images that the model has certainly not seen.

A model's provenance says which parts of which splits it was trained on, and the data set says which
images those are. What nobody said is not known to be a test, and is not called one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from liqe_jax.data.crops import CROPS
from liqe_jax.data.generated import GENERATED
from liqe_jax.data.sets import SPECS
from liqe_jax.errors import DataError
from liqe_jax.weights.provenance import TrainingSet

TEST, SEEN, UNKNOWN = "test", "seen", "not stated"

# Names of data sets that differ by more than case and punctuation.
_ALIASES = MappingProxyType(
    {
        "kadid": "kadid10k",
        "kadid10": "kadid10k",
        "koniq": "koniq10k",
        "koniq10": "koniq10k",
        "livechallenge": "clive",
        "livec": "clive",
        "liveinthewild": "clive",
        "liveitw": "clive",
        "livewild": "clive",
        "challengedb": "clive",
        "challengedbrelease": "clive",
        "agiqa": "agiqa3k",
        "tid": "tid2013",
        "paq2piq": "flive",
    }
)

# Different sets whose photographs show the same originals (docs/datasets).
_SHARED_ORIGINALS = MappingProxyType(
    {frozenset(("tid2013", "live")): "LIVE and TID2013 share most of their originals, the Kodak photographs"}
)


class Verdict(NamedTuple):
    """Whether an evaluation is a test.

    Attributes:
      standing: `TEST`, `SEEN` or `UNKNOWN`.
      reason: a sentence.
      seen: images that the model was trained or selected on; of those evaluated.
    """

    standing: str
    reason: str
    seen: int = 0


def slug(dataset: str) -> str:
    """A data set's name without case, punctuation and fashion: "KADID-10k" and "kadid" are the same."""
    plain = re.sub(r"[^a-z0-9]", "", dataset.lower())
    return _ALIASES.get(plain, plain)


def known_set(name: str) -> bool:
    """Whether this is a set that can be prepared here, crops of photographs, or pictures made on the spot.

    Of another name nobody can say which images are behind it: it may be one more name of the set that is evaluated.
    """
    made = re.fullmatch(rf"({CROPS}|{GENERATED})(-.*)?", name)
    return bool(made) or slug(name) in {slug(spec.name) for spec in SPECS.values()}


def split_key(description: str) -> str | None:
    """The split that a provenance's words mean: "1" to "10", "official", "all"; None for anything else."""
    if found := re.match(r"session (\d+)\b", description):
        return found[1]
    word = description.split(" ", maxsplit=1)[0]
    return word if word in ("official", "all") else None


def judge(
    trained_on: Sequence[TrainingSet] | None,
    dataset: str,
    parts: Mapping[str, Sequence[str]],
    indices: Int[np.ndarray, " M"],
    others: Collection[str] = (),
) -> Verdict:
    """Whether the images `indices` of a set are test images for a model.

    Args:
      trained_on: from the model's provenance; None where nobody said.
      dataset: the set's name.
      parts: its splits, as in `LabelledSet.parts`.
      indices: which images are evaluated.
      others: names of sets that are evaluated beside it, and so are other sets whatever they are called.
    """
    if trained_on is None:
        return Verdict(UNKNOWN, "the model's provenance does not say what it was trained on")
    entries = [entry for entry in trained_on if slug(entry.dataset) == slug(dataset)]
    unknown = ""
    for entry in entries:
        # A split of one's own may have any name.
        key = entry.split if entry.split in parts else split_key(entry.split)
        if key == "all":
            return Verdict(SEEN, f"trained on all of {dataset}", len(indices))
        if key is None:
            unknown = f"trained on {dataset}, but on which part is not known ({entry.split!r})"
        elif key not in parts:
            unknown = f"trained on {entry.split} of {dataset}, and the prepared set does not have that split"
        else:
            part = np.asarray(parts[key])[indices]
            train, val = int(np.sum(part == "train")), int(np.sum(part == "val"))
            if train or val:
                told = f"of {len(indices)} images, {train} are training and {val} validation images of {entry.split}"
                return Verdict(SEEN, told, train + val)
    named = {slug(dataset), *map(slug, others)}
    strange = [e.dataset for e in trained_on if slug(e.dataset) not in named and not known_set(e.dataset)]
    if strange and not unknown:
        told = ", ".join(map(repr, strange))
        unknown = (
            f"trained on {told}, which is no name of a set that is known here and might hold images of {dataset}; if "
            "it does not, state the training data without it (config.trained_on)"
        )
    if unknown:
        return Verdict(UNKNOWN, unknown)
    if entries:
        return Verdict(TEST, f"held out from {', '.join(entry.split for entry in entries)}")
    others = {slug(entry.dataset) for entry in trained_on}
    shared = [text for pair, text in _SHARED_ORIGINALS.items() if slug(dataset) in pair and pair & others]
    return Verdict(TEST, "; ".join(["not trained on this set", *shared]))


def require_test(verdict: Verdict, what: str) -> None:
    """Passes test evaluations only.

    Raises:
      DataError: the images were seen, or nobody knows.
    """
    if verdict.standing != TEST:
        raise DataError(
            f"{what} is no test: {verdict.reason}. Evaluate on images that were held out, state the training data "
            "(config.trained_on) where they are not known, or set config.on_seen = 'mark' to have the figures marked."
        )
