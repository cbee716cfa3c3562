"""What the processes of a run tell each other, so that all of them do the same.

All have to call these functions, in the same order. A run of one process pays nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int

from liqe_jax.errors import UsageError


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

    Raises:
      UsageError: on the others, where the action failed; the first process raises what the action raised.
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
