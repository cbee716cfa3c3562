"""Checkpoints of a run: asynchronous, atomic, the last few kept, damaged ones passed over.

Orbax writes to a temporary folder and renames it, so a checkpoint is there whole or not at all;
what it cannot see, a damaged disk, the digest finds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.train.step import TrainState

Progress = dict[str, Any]  # JSON: what the loop remembers beside the state

# Beside the checkpoints: the settings of the run.
CONFIG_FILE = "config.json"

# Settings that decide what a state consists of; all others may change when a run goes on.
SHAPING = ("init", "architecture", "tasks", "losses", "weighting")


def check_same_run(workdir: epath.Path, config: ConfigDict) -> None:
    """Refuses to go on with another model's run, whose checkpoints would look damaged and be removed.

    Raises:
      UsageError: names the settings that differ.
    """
    written, folder = workdir / CONFIG_FILE, workdir / "checkpoints"
    if not (written.exists() and folder.exists() and any(path.name.isdigit() for path in folder.iterdir())):
        return
    before, now = json.loads(written.read_text()), json.loads(config.to_json())
    if differing := [key for key in SHAPING if before.get(key) != now[key]]:
        told = ", ".join(f"config.{key} was {before.get(key)!r} and is {now[key]!r}" for key in differing)
        raise UsageError(
            f"{workdir} holds the checkpoints of another run: {told}. Choose another --workdir, remove that one, or "
            "give the same settings to go on."
        )


def digest(tree: Any) -> str:
    """sha256 of all leaves of a tree, in order."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class Checkpoints:
    """The checkpoints in one folder, local or on gs://."""

    def __init__(self, folder: str, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        # Orbax refuses relative paths, and only when the first checkpoint is written.
        self._folder = epath.Path(folder if "://" in folder else os.path.abspath(folder))
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are complete, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, progress: Progress) -> None:
        """Starts to write; `state` is one device's copy, on the host. Waits for the one before."""
        self._manager.wait_until_finished()
        if step in self._manager.all_steps():
            return
        described = {**progress, "digest": digest(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(described))
        self._manager.save(step, args=args)

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest checkpoint that can be read, or None; damaged ones are reported and removed.

        Args:
          like: a state of the same shapes.
        """
        for step in reversed(self.steps()):
            try:
                return self._read(step, like)
            # Whatever a damaged file makes Orbax raise, the checkpoint before it is the remedy.
            except Exception as error:
                logging.warning("Checkpoint %s of step %d is damaged and is removed: %s", self._folder, step, error)
                self._manager.delete(step)
        return None

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
        self._manager.wait_until_finished()
        self._manager.close()
