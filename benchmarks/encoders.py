"""What each encoder costs: parameters, arithmetic, memory and time of scoring one image in float32.

    python benchmarks/encoders.py [--encoders ViT-B/32 liqe_nano ...] [--rounds 5]

Weights are random, but for liqe_nano. Every encoder has a process of its own, which holds the model and one image of 15
crops (liqe_nano: one); its peak memory includes JAX and the compiler. The encoders take turns, and times are medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

ENCODERS = ("liqe_nano", "ViT-B/32", "ViT-B/16", "ViT-L/14", "SigLIP-2-B/16")


def measure(name: str) -> dict[str, float]:
    """Measurements of one encoder, in this process."""
    import jax
    import numpy as np

    import liqe_jax
    from benchmarks.accelerator import random_params
    from benchmarks.tpu import SCORED_CROPS, encoder_and_prompts
    from liqe_jax.model.predict import predict
    from liqe_jax.taxonomy import JOINT

    rng = np.random.default_rng(0)
    if name == "liqe_nano":
        model = liqe_jax.load(name)
        encoder, params, text, crops = model.encoder, model.params, model.text_features, 1
    else:
        encoder, crops = encoder_and_prompts(name, 1)[0], SCORED_CROPS
        params = random_params(encoder)
        text = rng.normal(size=(len(JOINT.prompts), encoder.projection_dim)).astype(np.float32)
    pixels = rng.integers(0, 256, (1, crops, encoder.image_size, encoder.image_size, 3), np.uint8)

    def score(params: Any, pixels: Any) -> Any:
        return predict(params, pixels, text, encoder=encoder, tasks=JOINT).values["quality"]

    program = jax.jit(score).lower(params, pixels).compile()
    jax.block_until_ready(program(params, pixels))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(program(params, pixels))
        times.append(time.perf_counter() - start)
    return {
        "parameters": sum(np.size(leaf) for leaf in jax.tree.leaves(params)),
        "flop": program.cost_analysis()["flops"],
        "seconds": statistics.median(times),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Measures in turns and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=ENCODERS, choices=ENCODERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=ENCODERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.encoders}
    for _ in range(arguments.rounds):
        for name, rows in found.items():
            command = [sys.executable, __file__, "--one", name]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print("| encoder | million parameters | GFLOP/image | s/image: median (least to most) | peak memory, GB |")
    print("|---|---|---|---|---|")
    for name, rows in found.items():
        seconds = sorted(row["seconds"] for row in rows)
        spread = f"{statistics.median(seconds):.3f} ({seconds[0]:.3f} to {seconds[-1]:.3f})"
        peak = statistics.median(row["peak_bytes"] for row in rows) / 1e9
        print(f"| {name} | {rows[0]['parameters'] / 1e6:.0f} | {rows[0]['flop'] / 1e9:.1f} | {spread} | {peak:.1f} |")


if __name__ == "__main__":
    main()
