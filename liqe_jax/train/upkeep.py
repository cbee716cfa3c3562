"""Validation and checkpoints while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from liqe_jax.train.checkpoints import Checkpoints
from liqe_jax.train.progress import Progress
from liqe_jax.train.step import TrainState
from liqe_jax.train.validate import Validation


class Upkeep:
    """Validates and saves copies of the state; a validation advances by one batch in each training step.

    A checkpoint of a validated step is written after its validation, so that it holds the best values so far: what a
    resumed run finds does not depend on when the run was stopped.
    """

    def __init__(self, validation: Validation, checkpoints: Checkpoints, progress: Progress):
        self._validation, self._checkpoints, self._progress = validation, checkpoints, progress
        self._running: Iterator[None] | None = None
        self._unsaved: tuple[TrainState, dict[str, Any]] | None = None

    def validate(self, state: TrainState, step: int, epoch: int) -> None:
        """Begins a validation.

        Args:
          state: a copy that training does not change.
          step, epoch: numbers of steps and epochs done.
        """
        self._running = self._validation(state, self._progress.best, step, epoch)
        self.advance()

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint with the counters as they are now, after the validation that is running."""
        self._unsaved = state, self._progress.to_json()
        self._save_if_validated()

    def advance(self) -> None:
        """One batch of a running validation."""
        if self._running is not None and next(self._running, self) is self:
            self._running = None
            self._save_if_validated()

    def finish(self) -> None:
        """Ends the validation, and waits until models and checkpoints are written."""
        while self._running is not None:
            self.advance()
        self._checkpoints.background.wait()

    def _save_if_validated(self) -> None:
        if self._unsaved is not None and self._running is None:
            (state, counters), self._unsaved = self._unsaved, None
            best = {"best": dict(self._progress.best)}
            self._checkpoints.save(counters["step"], state, counters | best)
