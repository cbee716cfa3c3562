"""Training runs for tests: a short configuration, the command, and what is read from a working directory."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from configs import smoke
from liqe_jax.train.checkpoints import Checkpoints
from liqe_jax.train.start import make_plan, starting_checkpoint
from liqe_jax.train.step import initial_state

ROOT = Path(__file__).parent.parent


def tiny_config() -> ConfigDict:
    """The smoke run, shorter still."""
    config = smoke.get_config()
    config.architecture.vision.layers = config.architecture.text.layers = 1
    config.data.validate = ("none",)
    config.epochs, config.steps_per_epoch = 2, 6
    config.checkpoint.every_steps = 2
    config.log_every_steps = 1
    config.devices = 1
    return config


def environment(devices: int = 1) -> dict[str, str]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last one counts
    ours = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}  # JAX sets it
    return {**ours, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def command(workdir: Path, *options: str, start: Sequence[str] = ("train.py",)) -> list[str]:
    overrides = [
        "--config.architecture.vision.layers=1",
        "--config.architecture.text.layers=1",
        "--config.data.validate=('none',)",
        "--config.epochs=2",
        "--config.steps_per_epoch=6",
        "--config.checkpoint.every_steps=2",
        "--config.log_every_steps=1",
    ]
    return [sys.executable, *start, "--config=configs/smoke.py", f"--workdir={workdir}", *overrides, *options]


def final_state(workdir: Path, config: ConfigDict):
    start = starting_checkpoint(config)
    like = jax.device_get(initial_state(start.params, make_plan(config, start, 1)[0]))
    checkpoints = Checkpoints(str(workdir / "checkpoints"), config.checkpoint.keep)
    state, progress = checkpoints.restore(like)
    checkpoints.close()
    return state, progress


def losses_of(workdir: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss/quality" in line]
    assert len(steps) == len(set(steps))
    return {line["step"]: line["loss/quality"] for line in lines if "loss/quality" in line}


def wait_for_step(process: subprocess.Popen, step: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(rf"step {step}/", line):
            return
    raise AssertionError(f"the run ended before step {step}")


def run_on_two(
    *workdirs: Path, options: Sequence[str] = (), start: Sequence[str] = ("train.py",)
) -> list[tuple[int, str]]:
    """Two processes with one working directory, or one for each; their statuses and what they said."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", "--processes=2", *options]
    processes = [
        subprocess.Popen(
            command(workdirs[number % len(workdirs)], f"--process_id={number}", *together, start=start),
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    told = [process.communicate(timeout=400)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, told, strict=True)]
