"""A data set in memory, with images by random access.

Letters: N images of a set, S scenes (`taxonomy.SCENE`), T distortions (`taxonomy.DISTORTION`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

from liqe_jax.errors import DataError
from liqe_jax.messages import printable

# The splits of a session: one of LIQE's ten random sessions, "1" to "10", an official one or your own. Images that
# belong to no split have "".
SPLITS = ("train", "val", "test")

# The category of an image of unknown distortion.
UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """One data set: labels as arrays, images by random access.

    Attributes:
      name: name of the data set, a key of `weights.provenance.DATASET_PATHS` or any other.
      names: unique image names relative to the set's folder.
      mos: mean opinion scores on the scale of the set, higher is better.
      mos_range: lowest and highest possible MOS.
      raw_distortion: the set's name of each image's distortion, "" if unknown.
      distortion: index into `DISTORTION.labels`, or `UNKNOWN`.
      scenes: scenes of each image; all False if unknown.
      reference: id of each image's pristine original, or "".
      read: indices -> encoded bytes of those images: JPEG, PNG or BMP.
      splits: session ("1" to "10", "official", ...) -> split of each image.
      ready: (index, mirrored, uniform number per crop) -> array [P, ...] that training uses instead of crops, such as
        features of a frozen encoder; None uses crops.
    """

    name: str
    names: Sequence[str]
    mos: Float[np.ndarray, " N"]
    mos_range: tuple[float, float]
    raw_distortion: Sequence[str]
    distortion: Int[np.ndarray, " N"]
    scenes: Bool[np.ndarray, "N S"]
    reference: Sequence[str]
    read: Callable[[Sequence[int]], list[bytes]]
    splits: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    ready: Callable[[int, bool, np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def check_mos(self, indices: Int[np.ndarray, " M"]) -> None:
        """Refuses images without a MOS, before hours of work end in a correlation that is not a number.

        Raises:
          DataError: the MOS of one of the images at these positions is NaN or infinite.
        """
        missing = indices[~np.isfinite(np.asarray(self.mos, np.float64)[indices])]
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(indices)} images of {self.name} have a MOS that is NaN or infinite, the first "
                f"is {printable(self.names[missing[0]])}. Give them a MOS, or leave them out."
            )

    def indices(self, session: str, split: str) -> Int[np.ndarray, " M"]:
        """Positions of the images of a split, ascending; session "all" is the whole set.

        Raises:
          DataError: the set does not have the session, or the split is empty.
        """
        if session == "all":
            return np.arange(len(self))
        if session not in self.splits:
            raise DataError(
                f"{self.name} has no session {session!r}; it has {', '.join([*self.splits, 'all'])}. Choose one."
            )
        chosen = np.flatnonzero(np.asarray(self.splits[session]) == split)
        if not len(chosen):
            raise DataError(
                f"Session {session!r} of {self.name} has no image in split {split!r} (splits: {', '.join(SPLITS)})."
            )
        return chosen
