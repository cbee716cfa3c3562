"""A step within the training loop against the bare compiled step, and the host's own time.

    python benchmarks/loop.py                          eight virtual devices, one process; two processes, both mappings

The model is tiny and the crops are in memory, so that what is measured is the loop: batches from tf.data, placing
them, metrics, logs and stop flags. Bare means the same compiled function on arrays that stay on the devices. Both are
measured in turns in the same processes. The host's time is the CPU time of the main thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

WARM_UP = 12  # steps


class Recorder:
    """In place of a compiled step: notes when it is called, and keeps what it needs to be called again."""

    def __init__(self, step: Any):
        self.step, self.wall, self.host, self.last = step, [], [], ()

    def __call__(self, *arguments: Any) -> Any:
        self.wall.append(time.perf_counter())
        self.host.append(time.thread_time())
        state, metrics = self.step(*arguments)
        self.last = (state, *arguments[1:])
        return state, metrics

    def in_loop(self) -> tuple[float, float]:
        """Seconds a step, and the main thread's seconds, since the warm-up."""
        count = len(self.wall) - 1 - WARM_UP
        return (self.wall[-1] - self.wall[WARM_UP]) / count, (self.host[-1] - self.host[WARM_UP]) / count

    def bare(self, steps: int) -> float:
        """Seconds a step without the loop."""
        import jax

        state, *rest = self.last
        start = time.perf_counter()
        for number in range(steps):
            state, metrics = self.step(state, *rest)
            if number % 4 == 3:  # as far ahead as the loop
                jax.block_until_ready(metrics.finite)
        jax.block_until_ready(metrics.finite)
        self.last = (state, *rest)
        return (time.perf_counter() - start) / steps


def work(arguments: argparse.Namespace) -> None:
    """One process: rounds of the loop and of the bare step."""
    import jax
    import numpy as np

    from configs import smoke
    from liqe_jax.data.named import load_sets
    from liqe_jax.train import loop

    if arguments.coordinator:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(arguments.coordinator, 2, arguments.process)
    config = smoke.get_config()
    config.mapping, config.data.validate = arguments.mapping, ("none",)
    config.epochs, config.steps_per_epoch, config.log_every_steps = 1, arguments.steps, 10
    config.checkpoint.every_steps = 10**6
    config.data.sets = (("generated", 8), ("generated-2", 8))
    crops = np.random.default_rng(0).integers(0, 256, (config.data.crops, 224, 224, 3), np.uint8)
    sets = [
        dataclasses.replace(one, ready=lambda index, flip, where: crops)
        for one in load_sets(("generated", "generated-2"), "data")
    ]
    recorders: list[Recorder] = []

    def recorded(step: Any, *rest: Any) -> Recorder:
        recorders.append(Recorder(compiled_ahead(step, *rest)))
        return recorders[-1]

    compiled_ahead, loop.compiled_ahead = loop.compiled_ahead, recorded
    looped, hosts, bare = [], [], []
    for number in range(arguments.rounds):
        loop.train_and_evaluate(config, f"{arguments.workdir}/{number}", sets=sets)
        seconds, host = recorders[-1].in_loop()
        looped.append(seconds)
        hosts.append(host)
        bare.append(recorders[-1].bare(arguments.steps - WARM_UP))
    if arguments.process == 0:
        best = statistics.median(looped), statistics.median(bare)
        print(
            f"{arguments.title}: in the loop {best[0] * 1e3:.1f} ms a step, bare {best[1] * 1e3:.1f} ms, ratio "
            f"{best[0] / best[1]:.3f}; host {statistics.median(hosts) * 1e6:.0f} us a step"
        )


def start(title: str, devices: int, process: int, *options: str) -> subprocess.Popen:
    """A process of this script with virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--title", title, "--process", str(process), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL if process else None)


def main() -> None:
    """Starts the processes, or is one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("title", "coordinator", "workdir"):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    parser.add_argument("--mapping", default="pmap", help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.title:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(folder, arguments.steps, arguments.rounds)


def compare(folder: str, steps: int, rounds: int) -> None:
    """One process and two, both mappings."""
    for mapping in ("pmap", "shard_map"):
        options = ("--steps", str(steps), "--rounds", str(rounds), "--mapping", mapping)
        start(f"one process of 8 devices, {mapping}", 8, 0, *options, "--workdir", f"{folder}/{mapping}/1").wait()
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            coordinator = f"localhost:{probe.getsockname()[1]}"
        title = f"two processes of 4 devices, {mapping}"
        both = [
            start(title, 4, number, *options, "--coordinator", coordinator, "--workdir", f"{folder}/{mapping}/2")
            for number in range(2)
        ]
        for process in both:
            process.wait()


if __name__ == "__main__":
    main()
