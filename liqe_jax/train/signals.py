"""Stopping at the end of a step when the machine is about to be taken away."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any, Self

import jax

from liqe_jax.train.hosts import from_all

# Seconds between two exchanges of the processes; a preempted TPU VM has 30 from SIGTERM on.
EXCHANGE_SECONDS = 5.0


class Stop:
    """Notes SIGTERM while it is entered; all processes of a run stop after the same step."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None
        self._exchanged = self._next = 0
        self._at = 0.0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True

    def everywhere(self, step: int) -> bool:
        """Whether any process was asked to stop, as far as is known; every process calls this after each step.

        Several processes exchange it every few seconds: after as many steps as the first process says.
        """
        if jax.process_count() == 1:
            return self._asked
        if step < self._next:
            return False
        now = time.monotonic()
        pace = (step - self._exchanged) / (now - self._at) if self._exchanged else 0.0
        self._exchanged, self._at = step, now
        answers = from_all([int(self._asked), min(int(pace * EXCHANGE_SECONDS), 10_000)])
        self._next = step + max(int(answers[0, 1]), 1)
        return bool(answers[:, 0].any())
