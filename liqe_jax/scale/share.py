"""Which shards are this process's: given, or by its place among SLURM's tasks or JAX's processes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from liqe_jax.errors import UsageError
from liqe_jax.messages import quoted

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Share:
    """Every `count`-th shard from `index` on; `source` says where that is from."""

    index: int
    count: int
    source: str

    def of(self, shards: Sequence[T]) -> list[T]:
        """This process's shards."""
        return list(shards[self.index :: self.count])


def find_share(given: str | None, environment: Mapping[str, str] | None = None) -> Share:
    """The share that is given as "I/N", I from 0 to N - 1; else SLURM's; else that of JAX's process.

    Tasks of a SLURM array count, and so do the tasks that `srun` starts in each of them. `environment` are SLURM's
    variables. Raises UsageError if `given` is not of that form, or SLURM's variables are not numbers.
    """
    environment = os.environ if environment is None else environment
    if given is not None:
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", given)
        if match is None or not int(match[1]) < int(match[2]):
            raise UsageError(f"--shards must be I/N with I from 0 to N - 1, such as 0/8; got {quoted(given)}.")
        return Share(int(match[1]), int(match[2]), "--shards")
    try:
        index, count = _of_slurm(environment)
    except ValueError as error:
        raise UsageError(f"SLURM's variables do not say which task this is ({error}). Give --shards I/N.") from error
    if count > 1:
        return Share(index, count, "SLURM")
    import jax

    return Share(jax.process_index(), jax.process_count(), "JAX")


def _of_slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    def number(name: str, default: int) -> int:
        return int(environment.get(f"SLURM_{name}") or default)

    # SLURM_NTASKS is set in a batch script too, which runs once; SLURM_STEP_NUM_TASKS is of `srun` alone.
    tasks = number("STEP_NUM_TASKS", 1)
    task = number("PROCID", 0) if tasks > 1 else 0
    members = number("ARRAY_TASK_COUNT", 1)
    member = (number("ARRAY_TASK_ID", 0) - number("ARRAY_TASK_MIN", 0)) // max(number("ARRAY_TASK_STEP", 1), 1)
    if not (0 <= task < tasks and 0 <= member < members):
        raise ValueError(f"task {task} of {tasks}, member {member} of {members} of the array")
    return member * tasks + task, members * tasks
