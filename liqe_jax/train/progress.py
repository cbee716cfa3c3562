"""What a run remembers beside the training state; all of it is in its checkpoints, as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np


@dataclasses.dataclass
class Progress:
    """Counters of a run.

    Attributes:
      step: steps done.
      losses: names of the losses; M is their number.
      best: name of an average over the validation sets -> its best value so far.
      epoch_means: mean losses of each epoch so far, M numbers each.
      sums: of the losses in this epoch, M numbers.
      counted: steps of this epoch that were taken.
      skipped: steps of the run that were not finite.
    """

    losses: tuple[str, ...]
    step: int = 0
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch_means: list[list[float]] = dataclasses.field(default_factory=list)
    sums: list[float] = dataclasses.field(default_factory=list)
    counted: int = 0
    skipped: int = 0

    def count(self, losses: np.ndarray) -> None:
        """Adds a step's losses to the epoch's."""
        before = self.sums or [0.0] * len(self.losses)
        self.sums = [total + float(loss) for total, loss in zip(before, losses, strict=True)]
        self.counted += 1

    def end_epoch(self) -> None:
        """Closes the epoch: its mean losses are kept. Skipped steps do not count, unlike in the reference (bug B15)."""
        if self.counted:
            self.epoch_means.append([total / self.counted for total in self.sums])
        self.sums, self.counted = [], 0

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dataclasses.asdict(self) | {"losses": list(self.losses)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**content, "losses": tuple(content["losses"])})
