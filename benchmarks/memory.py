"""Images per second and peak memory of scoring, with and without `liqe_jax.memory.keep_freed_memory`.

    python benchmarks/memory.py [--model liqe_nano] [--images 24] [--rounds 5]

Both settings take turns. Each turn is a process that scores random 500x500 arrays once to compile and three times for
the measurement.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

TURN = """
import resource, statistics, sys, time
import numpy as np
import liqe_jax
from liqe_jax.memory import keep_freed_memory

name, count, kept = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "kept"
if kept:
    keep_freed_memory()
model = liqe_jax.load(name)
images = np.random.default_rng(0).integers(0, 256, (count, 500, 500, 3), np.uint8)
seconds = []
for _ in range(4):
    start = time.perf_counter()
    list(model.score_many(images))
    seconds.append(time.perf_counter() - start)
print(count / statistics.median(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"default": [], "kept": []}
    for _ in range(options.rounds):
        for setting, rows in found.items():
            command = [sys.executable, "-c", TURN, options.model, str(options.images), setting]
            printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            speed, peak = map(float, printed.split())
            rows.append((speed, peak))
    print("| freed memory | images/s, median of processes (range) | peak, MB |")
    print("|---|---|---|")
    for setting, rows in found.items():
        speeds, peaks = zip(*rows, strict=True)
        print(
            f"| {setting} | {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}) | "
            f"{statistics.median(peaks):.0f} |"
        )


if __name__ == "__main__":
    main()
