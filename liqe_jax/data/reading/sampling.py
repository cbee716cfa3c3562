"""Which images, patches and flips make up the batch of a step: a pure function of seed and step.

Every data set is shuffled without replacement once per pass over it, by a permutation that depends on the
seed, the set and the number of the pass; step n takes the next `count` places. Nothing is replayed to start
at any step, and every host can work out the whole plan and decode its share. Batches are always full: one
that begins at the end of a pass goes on with the next (the reference lets it shrink, down to one image,
whose loss is NaN: MNL_Loss.py:137).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from liqe_jax.errors import DataError

# Domains that keep the streams of random numbers apart.
_SHUFFLE, _CROP = 1, 2


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step's images, in the order of the data sets; letters: N images, P patches.

    Attributes:
      group: the data set of each image.
      place: how many images of its set were taken before it, over all steps.
      index: position in its data set.
      flip: whether the whole image is mirrored, before patches are cut.
      where: a uniform number per patch, which becomes a cell of the grid once the image's size is known, or
        whatever `LabelledSet.ready` draws by it.
    """

    group: Int[np.ndarray, " N"]
    place: Int[np.ndarray, " N"]
    index: Int[np.ndarray, " N"]
    flip: Bool[np.ndarray, " N"]
    where: Float[np.ndarray, "N P"]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Plans of all steps.

    Attributes:
      names: of the data sets; their order and number may change without changing each one's shuffle.
      indices: positions of each set's images that may be drawn.
      counts: images of each set per step.
      seed, split: what else the shuffle depends on.
      patches: per image.
    """

    names: tuple[str, ...]
    indices: tuple[Int[np.ndarray, " M"], ...]
    counts: tuple[int, ...]
    seed: int
    split: str
    patches: int

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.indices) == len(self.counts):
            raise DataError(
                f"{len(self.names)} data sets, {len(self.counts)} counts: give one number of images per data set."
            )
        if len(set(self.names)) != len(self.names):
            raise DataError(f"A data set appears twice in {self.names}. Raise its number of images instead.")
        for name, indices, count in zip(self.names, self.indices, self.counts, strict=True):
            if count < 1 or not len(indices):
                raise DataError(f"{name} gives {len(indices)} images and a batch wants {count}; both must be above 0.")

    def image_at(self, group: int, place: int) -> int:
        """The position in its set of the image at a place of the endless shuffle."""
        indices = self.indices[group]
        turn, offset = divmod(place, len(indices))
        return int(indices[self._permutation(group, turn)[offset]])

    def _permutation(self, group: int, turn: int) -> Int[np.ndarray, " M"]:
        return self._random(_SHUFFLE, group, turn).permutation(len(self.indices[group]))

    def _random(self, domain: int, group: int, number: int) -> np.random.Generator:
        words = [self.seed, domain, zlib.crc32(f"{self.names[group]}/{self.split}".encode()), number]
        return np.random.default_rng(np.random.SeedSequence(words))

    def plan(self, step: int) -> StepPlan:
        """Everything that is drawn for one step."""
        parts = []
        for group, count in enumerate(self.counts):
            first = step * count
            places = np.arange(first, first + count)
            turns, offsets = np.divmod(places, len(self.indices[group]))
            shuffles = {turn: self._permutation(group, turn) for turn in np.unique(turns).tolist()}
            order = [shuffles[turn][offset] for turn, offset in zip(turns.tolist(), offsets.tolist(), strict=True)]
            random = self._random(_CROP, group, step)
            flip = random.random(count) < 0.5
            where = random.random((count, self.patches))
            parts.append((np.full(count, group), places, self.indices[group][order], flip, where))
        return StepPlan(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def share(images: int, host: int, hosts: int) -> slice:
    """The part of a batch that a host decodes.

    Raises:
      DataError: the images do not divide among the hosts.
    """
    if images % hosts:
        raise DataError(f"A batch of {images} images does not divide among {hosts} hosts. Change the images per step.")
    each = images // hosts
    return slice(host * each, (host + 1) * each)


def sampler_for(sets: Sequence, counts: Sequence[int], *, split: str, seed: int, patches: int) -> Sampler:
    """The sampler of the training parts of data sets; a set without the split is used whole.

    Raises:
      DataError: a part is empty.
    """
    indices = tuple(s.indices(split if split in s.parts else "all", "train") for s in sets)
    return Sampler(tuple(s.name for s in sets), indices, tuple(counts), seed, split, patches)
