"""Stopping at the end of a step when the machine is about to be taken away."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self

from liqe_jax.train.hosts import which


class Stop:
    """Notes SIGTERM while it is entered; all processes of a run stop after the same step."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True

    def everywhere(self) -> bool:
        """Whether any process was asked to stop; every process has to call this."""
        return bool(which(self._asked))
