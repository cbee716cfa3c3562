"""Whether a working directory is this run's: its settings lie beside its checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.train.hosts import on_first, which

# Beside the checkpoints: the settings of the run, and the names of its losses.
CONFIG_FILE = "config.json"
LOSSES_KEY = "terms"

# Of the form of a training state; states of other versions cannot be read.
VERSION, FORMAT = 3, "format"

# Settings that decide what a state consists of; all others may change when a run goes on.
SHAPING = (
    "init",
    "encoder",
    "architecture",
    "tasks",
    "losses",
    "weighting",
    "freeze",
    "train_only",
    "optimizer",
    "ema_decay",
    LOSSES_KEY,
)

# Seconds between looks for a file that another host wrote: NFS shows it after 30 at the latest.
WAITS = (1, 2, 4, 8, 15)


def check_workdir(workdir: str, config: ConfigDict, losses: Sequence[str]) -> None:
    """Takes a working directory, local or gs://, for this run: checks what is there, and writes the settings.

    The first process alone reads and writes, since the others would read what it is writing. Raises UsageError if the
    folder holds another run, its settings cannot be read, or the processes do not share it.
    """
    folder = epath.Path(workdir)
    content = {**json.loads(config.to_json()), LOSSES_KEY: list(losses), FORMAT: VERSION}

    def take() -> str:
        check_same_run(folder, content)
        text = json.dumps(content, indent=2) + "\n"
        write_whole(folder / CONFIG_FILE, text)
        return text

    text = on_first(take)
    if blind := which(not _is_there(folder / CONFIG_FILE, text)):
        raise UsageError(
            f"{folder / CONFIG_FILE}, which the first process wrote, is not there for processes "
            f"{', '.join(map(str, blind))}. All hosts need the same --workdir: a folder that they share (NFS), or gs://."
        )


def check_same_run(folder: epath.Path, now: dict) -> None:
    """Raises UsageError for the checkpoints of another model's run, which would look corrupt; `now` is as in JSON."""
    written, checkpoints = folder / CONFIG_FILE, folder / "checkpoints"
    if not (written.exists() and checkpoints.exists() and any(path.name.isdigit() for path in checkpoints.iterdir())):
        return
    try:
        before = dict(json.loads(written.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{written} holds no settings of a run ({error}): it is corrupt, or was cut off when a run was killed. To "
            "go on with the settings that the run had, remove that file; else choose another --workdir."
        ) from error
    if before.get(FORMAT) != VERSION:
        raise UsageError(
            f"{folder} holds the checkpoints of another version of liqe_jax, whose training states have another form. "
            "Choose another --workdir; with --config.init set to a model in that one, a run starts from its weights."
        )
    # What an older version did not write is not compared.
    if differing := [key for key in SHAPING if key in before and _shape(key, before[key]) != _shape(key, now[key])]:
        named = {key: "the list of losses" if key == LOSSES_KEY else f"config.{key}" for key in differing}
        changes = ", ".join(
            f"{name} was {_shape(key, before[key])!r} and is {_shape(key, now[key])!r}" for key, name in named.items()
        )
        raise UsageError(
            f"{folder} holds the checkpoints of another run: {changes}. Choose another --workdir, remove that one, or "
            "give the same settings to go on."
        )


def write_whole(path: epath.Path, text: str) -> None:
    """Writes a text file, whose folder is made, aside first: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def _shape(key: str, value: Any) -> object:
    """What a setting says of the state: of the optimizer its name, of averages whether there are any."""
    if key in ("freeze", "train_only") and isinstance(value, list):
        return sorted(value)
    if key == "optimizer" and isinstance(value, dict):
        return value.get("name")
    return bool(value) if key == "ema_decay" else value


def _is_there(path: epath.Path, text: str) -> bool:
    for wait in (0, *(WAITS if jax.process_index() else ())):
        time.sleep(wait)
        try:
            if path.read_text() == text:
                return True
        except OSError:
            continue
    return False
