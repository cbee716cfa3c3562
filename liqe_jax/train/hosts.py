"""What the processes of a run tell each other. All have to call these functions, in the same order."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int

from liqe_jax.errors import UsageError

# Seconds between two exchanges of the processes; a preempted TPU VM has 30 from SIGTERM on.
EXCHANGE_SECONDS = 5.0


def from_first(value: Any) -> Any:
    """The first process's value, on all: anything that JSON can hold (tuples become lists)."""
    text = json.dumps(value)
    if jax.process_count() == 1:
        return json.loads(text)
    letters = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(letters), np.int32)))
    letters = np.resize(letters, length)  # of the others only the shape matters
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(letters)).astype(np.uint8)))


def on_first(action: Callable[[], Any]) -> Any:
    """Does something on the first process alone; its result, as `from_first` gives it, on all.

    Where the action fails, the first process raises what it raised, and the others UsageError.
    """
    result, failure = None, None
    if jax.process_index() == 0:
        try:
            result = action()
        except Exception as error:  # the others wait for an answer, whatever happened
            failure = error
    result, told = from_first([result, None if failure is None else f"{failure}"])
    if failure is not None:
        raise failure
    if told is not None:
        raise UsageError(f"The first process failed: {told}")
    return result


def from_all(numbers: list[int]) -> Int[np.ndarray, "processes n"]:
    """A few integers of each process, on all."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(numbers, np.int32)))


def which(flag: bool) -> list[int]:
    """Numbers of the processes whose flag is set, ascending."""
    if jax.process_count() == 1:
        return [0] if flag else []
    return np.flatnonzero(from_all([int(flag)])).tolist()


class Stop:
    """Notes SIGTERM while it is entered, as before a machine is taken away; all processes stop after the same step."""

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
        """Whether any process was asked to stop, as exchanged every few seconds; all call this after each step."""
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
