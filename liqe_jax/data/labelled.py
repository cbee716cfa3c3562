"""A data set in memory but for its images: what builders give and pipelines take.

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

# Parts of a data set that a session (one of LIQE's ten random splits, "1" to "10") or an
# official split tells apart; images that belong to none have "".
PARTS = ("train", "val", "test")

# The category of an image whose distortion nobody named.
UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """One data set: every label as an array, images by random access.

    Attributes:
      name: of the data set, a key of `weights.provenance.DATASET_PATHS` or any other.
      names: image names relative to the set's folder, unique.
      mos: opinion scores, higher is better, on the set's own scale.
      mos_range: lowest and highest value of that scale, as documented.
      raw_distortion: the set's own name of each image's distortion, "" where unknown.
      distortion: index into `DISTORTION.labels`, or `UNKNOWN`.
      scenes: which scenes each photograph has; all False where nobody said.
      reference: id of the pristine original, "" where there is none.
      parts: split name ("1" to "10", "official", ...) -> part of each image.
      read: indices -> encoded bytes of those images, JPEG, PNG or BMP, ready for patches.
      ready: (index, mirrored, a uniform number for each patch) -> what training takes instead of patches, where that
        was prepared.
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
    parts: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    ready: Callable[[int, bool, np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def check_mos(self, indices: Int[np.ndarray, " M"]) -> None:
        """Refuses images that nobody scored, before hours of work end in a correlation that is not a number.

        Args:
          indices: of the images that are about to be used.

        Raises:
          DataError: the MOS of one of them is NaN or infinite.
        """
        missing = indices[~np.isfinite(np.asarray(self.mos, np.float64)[indices])]
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(indices)} images of {self.name} have a MOS that is NaN or infinite, the first "
                f"is {printable(self.names[missing[0]])}. Give them a MOS, or leave them out."
            )

    def indices(self, split: str, part: str) -> Int[np.ndarray, " M"]:
        """Positions of the images of one part of one split, ascending; split "all" is the whole set.

        Raises:
          DataError: the set has no such split, or the part is empty.
        """
        if split == "all":
            return np.arange(len(self))
        if split not in self.parts:
            raise DataError(
                f"{self.name} has no split {split!r}; it has {', '.join([*self.parts, 'all'])}. Choose one of those."
            )
        chosen = np.flatnonzero(np.asarray(self.parts[split]) == part)
        if not len(chosen):
            raise DataError(
                f"Split {split!r} of {self.name} has no image in part {part!r} (parts: {', '.join(PARTS)})."
            )
        return chosen
