"""Checkpoints of a run: written in the background, atomic, the last few kept, corrupt ones skipped and set aside.

Orbax writes to a temporary folder and renames it, so a checkpoint is there whole or not at all; what it cannot see, a
failing disk, the digest finds. The first process writes, without the others: they would have to wait for each other.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.options import MultiprocessingOptions

from liqe_jax.errors import UsageError
from liqe_jax.train.hosts import from_first, on_first, which
from liqe_jax.train.step import TrainState

Progress = dict[str, Any]  # JSON, of `report.Progress`


def digest(tree: Any) -> str:
    """sha256 of all leaves of a tree, in order."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class Background:
    """One thread that runs actions in their order. They must not use collectives, whose order the main thread sets."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._begun: list[Future[Any]] = []

    def submit(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Returns at once."""
        self._begun.append(self._pool.submit(action, *arguments))

    def wait(self) -> None:
        """Waits until everything is done; raises what an action raised."""
        while self._begun:
            self._begun.pop(0).result()

    def close(self) -> None:
        """Waits, and ends the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()


class Checkpoints:
    """The checkpoints in one folder, local or on gs://."""

    def __init__(self, folder: str, keep: int):
        # Orbax refuses relative paths, and only when the first checkpoint is written.
        self._folder = epath.Path(folder if "://" in folder else os.path.abspath(folder))
        on_first(lambda: self._folder.mkdir(parents=True, exist_ok=True))
        number = jax.process_index()
        alone = MultiprocessingOptions(primary_host=number, active_processes={number})
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=False, enable_async_checkpointing=False, multiprocessing_options=alone
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        self.background = Background()

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are complete, ascending; waits for one that is being written."""
        self.background.wait()
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, progress: Progress) -> None:
        """Begins to write, on the first process, a copy of the state that training does not change."""
        if jax.process_index() == 0:
            self.background.submit(self._write, step, state, progress)

    def _write(self, step: int, state: TrainState, progress: Progress) -> None:
        if step in self._manager.all_steps():
            return
        state = jax.device_get(state)
        described = {**progress, "digest": digest(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(described))
        self._manager.save(step, args=args)

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest checkpoint that can be read, with the shapes of `like`, or None where there are none at all.

        Corrupt ones that are newer are reported and set aside as `corrupt-STEP`. Raises UsageError if none can be read
        or the processes see different ones; OSError or MemoryError if the machine fails, not the checkpoint.
        """
        steps = self.steps()
        expected = from_first(steps)
        if others := which(steps != expected):
            raise UsageError(
                f"The first process finds the checkpoints {expected} in {self._folder}; processes "
                f"{', '.join(map(str, others))} find others. All hosts need the same --workdir: a folder that they "
                "share (NFS), or gs://."
            )
        corrupt: dict[int, Exception | None] = {}
        for step in reversed(steps):
            found, fault = None, None
            try:
                found = self._read(step, like)
            except Exception as error:  # whatever a corrupt file makes Orbax raise, an earlier checkpoint is the remedy
                fault = error
            # The disk or the memory is to blame, not the checkpoint; a file that is missing is the checkpoint's fault.
            if failing := which(isinstance(fault, (OSError, MemoryError)) and not isinstance(fault, FileNotFoundError)):
                raise fault or UsageError(
                    f"Processes {', '.join(map(str, failing))} could not read step {step} of {self._folder}; their "
                    "own messages say why. Start again when they can."
                )
            if not which(fault is not None):
                if corrupt:
                    self._set_aside(corrupt)
                return found
            corrupt[step] = fault
        if corrupt:
            step, fault = next(iter(corrupt.items()))
            raise UsageError(
                f"None of the checkpoints {sorted(corrupt)} in {self._folder} can be read; step {step}: {fault}. "
                "They were left as they are. Restore them from a copy if there is one; to begin anew, remove that "
                "folder or choose another --workdir."
            )
        return None

    def _set_aside(self, corrupt: Mapping[int, Exception | None]) -> None:
        """Renames checkpoints: what is wrong with them may be elsewhere, so they are kept."""

        def rename() -> None:
            for step in corrupt:
                aside = self._folder / f"corrupt-{step}"
                if aside.exists():
                    aside.rmtree()
                (self._folder / str(step)).rename(aside)

        for step, fault in corrupt.items():
            logging.warning("Checkpoint of step %d is corrupt and is set aside as corrupt-%d: %s", step, step, fault)
        on_first(rename)
        self._manager.reload()

    def _read(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        abstract = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=args)
        state, progress = restored["state"], dict(restored["progress"])
        if digest(state) != progress.pop("digest"):
            raise ValueError("its numbers are not those that were written")
        return state, progress

    def close(self) -> None:
        """Waits until everything is written."""
        try:
            self.background.close()
        finally:
            self._manager.close()
