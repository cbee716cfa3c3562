"""Samples the images, crops and flips of the batch of a step: a pure function of seed and step.

Every data set is shuffled once per pass. Where pairs are formed within the copies of a photograph, photographs are
shuffled, and copies of one follow each other. So training can start at any step without replay, and every host computes
the whole sample and decodes its share. Batches are always full: a batch at the end of a pass continues with the next
one (the reference lets it shrink, down to one image, whose loss is NaN: MNL_Loss.py:137).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError

# What pairs are formed within: a data set, or its copies of one photograph (`LabelledSet.reference`).
PAIRS = ("set", "photograph")

# Domains that separate the streams of random numbers.
_SHUFFLE, _CROP, _MIX = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class StepSample:
    """The sample of one step, in the order of the data sets; letters: N images, P crops.

    Attributes:
      dataset: number of each image's data set.
      group: equal for images that form pairs: those of a data set, or its copies of one photograph.
      place: number of images of its set that were taken before it, over all steps.
      index: position in its data set.
      flip: whether the image is mirrored before crops are cut.
      where: uniform number per crop, from which the cell of the grid is computed when the size of the image is known.
      partner: row of the image of the same group that the image is mixed with.
      mix_weight: of the image itself in that mixture, 0 to 1; 1 leaves it as it is.
    """

    dataset: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    place: Int[np.ndarray, " N"]
    index: Int[np.ndarray, " N"]
    flip: Bool[np.ndarray, " N"]
    where: Float[np.ndarray, "N P"]
    partner: Int[np.ndarray, " N"]
    mix_weight: Float[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Samples of all steps.

    Attributes:
      names: names of the data sets; the shuffle of a set does not depend on their order and number.
      indices: positions of the images of each set that are sampled.
      counts: number of images of each set per step.
      seed, session: the other inputs of the shuffle.
      crops: number of crops per image.
      photographs: by number of the set, the number of each sampled image's photograph, for sets whose pairs are formed
        within the copies of one.
      mixup: of each set, a > 0 of the Beta(a, a) distribution of `StepSample.mix_weight` (Zhang et al., mixup, ICLR
        2018, figure 1); 0, or (), mixes nothing.
    """

    names: tuple[str, ...]
    indices: tuple[Int[np.ndarray, " M"], ...]
    counts: tuple[int, ...]
    seed: int
    session: str
    crops: int
    photographs: Mapping[int, Int[np.ndarray, " M"]] = dataclasses.field(default_factory=dict)
    mixup: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.indices) == len(self.counts):
            raise DataError(f"{len(self.names)} data sets, {len(self.counts)} counts: give one count per data set.")
        if self.mixup and len(self.mixup) != len(self.names):
            raise DataError(f"{len(self.names)} data sets, {len(self.mixup)} of mixup: give one for each data set.")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"A data set appears twice in {self.names}. Raise its number of images instead.")
        for name, indices, count in zip(self.names, self.indices, self.counts, strict=True):
            if count < 1 or not len(indices):
                raise DataError(f"{name} has {len(indices)} images and {count} images per batch; both must be above 0.")

    def image_at(self, dataset: int, place: int) -> int:
        """Position in its set of the image at a place of the infinite shuffle."""
        turn, offset = divmod(place, len(self.indices[dataset]))
        return int(self._shuffled(dataset, turn)[offset])

    def _shuffled(self, dataset: int, turn: int) -> Int[np.ndarray, " M"]:
        rng = self._random(_SHUFFLE, dataset, turn)
        order = rng.permutation(len(self.indices[dataset]))
        if dataset in self.photographs:
            photographs = self.photographs[dataset]
            rank = rng.permutation(photographs.max() + 1)
            order = order[np.argsort(rank[photographs[order]], kind="stable")]
        return self.indices[dataset][order]

    def _group(self, dataset: int, index: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """The set's number; or numbers after those of all sets, for which each image of a step has room."""
        if dataset not in self.photographs:
            return np.full(len(index), dataset)
        photographs = self.photographs[dataset][np.searchsorted(self.indices[dataset], index)]
        return len(self.counts) + sum(self.counts[:dataset]) + np.unique(photographs, return_inverse=True)[1]

    def _mixture(
        self, dataset: int, step: int, group: Int[np.ndarray, " N"]
    ) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """`partner` and `mix_weight` of a set's rows in a step."""
        rows = np.arange(len(group))
        first_row = sum(self.counts[:dataset])
        a = self.mixup[dataset] if self.mixup else 0.0
        if not a:
            return first_row + rows, np.ones(len(group))
        rng = self._random(_MIX, dataset, step)
        order = rng.permutation(rows)
        order = order[np.argsort(group[order], kind="stable")]
        partner = np.empty_like(rows)
        for one_group in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            partner[one_group] = np.roll(one_group, 1)
        return first_row + partner, rng.beta(a, a, len(group))

    def _random(self, domain: int, dataset: int, number: int) -> np.random.Generator:
        words = [self.seed, domain, zlib.crc32(f"{self.names[dataset]}/{self.session}".encode()), number]
        return np.random.default_rng(np.random.SeedSequence(words))

    def sample(self, step: int) -> StepSample:
        """The sample of one step."""
        columns = []
        for dataset, count in enumerate(self.counts):
            places = np.arange(step * count, (step + 1) * count)
            first, last = (place // len(self.indices[dataset]) for place in (places[0], places[-1]))
            passes = np.concatenate([self._shuffled(dataset, turn) for turn in range(first, last + 1)])
            index = passes[places - first * len(self.indices[dataset])]
            random = self._random(_CROP, dataset, step)
            flip = random.random(count) < 0.5
            where = random.random((count, self.crops))
            group = self._group(dataset, index)
            mixture = self._mixture(dataset, step, group)
            columns.append((np.full(count, dataset), group, places, index, flip, where, *mixture))
        return StepSample(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def share(images: int, host: int, hosts: int) -> slice:
    """The share of a batch that a host decodes.

    Raises:
      DataError: the images cannot be divided evenly among the hosts.
    """
    if images % hosts:
        raise DataError(
            f"A batch of {images} images cannot be divided among {hosts} hosts. Change the images per step."
        )
    each = images // hosts
    return slice(host * each, (host + 1) * each)


def sampler_for(
    sets: Sequence[LabelledSet],
    counts: Sequence[int],
    *,
    session: str,
    seed: int,
    crops: int,
    pairs: Sequence[str] = (),
    mixup: Sequence[float] = (),
) -> Sampler:
    """The sampler of the train splits of data sets; a set without the session is used whole.

    Args:
      pairs: of each set, one of `PAIRS`; () is "set" for all.
      mixup: see `Sampler`.

    Raises:
      DataError: a train split is empty, or images form pairs within a photograph of which nothing is known.
    """
    indices = tuple(s.indices(session if session in s.splits else "all", "train") for s in sets)
    within = [number for number, kind in enumerate(pairs) if kind == "photograph"]
    photographs = {number: _photographs_of(sets[number], indices[number]) for number in within}
    return Sampler(tuple(s.name for s in sets), indices, tuple(counts), seed, session, crops, photographs, tuple(mixup))


def number_of_groups(counts: Sequence[int], pairs: Sequence[str]) -> int:
    """A number that all numbers in `StepSample.group` are below."""
    return len(counts) + (sum(counts) if "photograph" in pairs else 0)


def _photographs_of(dataset: LabelledSet, indices: Int[np.ndarray, " M"]) -> Int[np.ndarray, " M"]:
    names = [dataset.reference[index] for index in indices]
    if "" in names:
        raise DataError(
            f"{names.count('')} of {len(names)} images of {dataset.name} have no reference, so nobody knows of which "
            'photograph they are copies. Set config.data.pairs to "set" for this data set.'
        )
    return np.unique(names, return_inverse=True)[1]
