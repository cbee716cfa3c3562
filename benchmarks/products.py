"""How fast this machine multiplies matrices in each type, and how much of that a ViT-B/32 reaches.

    python benchmarks/products.py

The first column is the speed of one product, in 10^9 operations per second. The second is the time of all matrix
products of an image of 15 crops, each shape measured by itself. The third is the time of scoring that image, in the
same rounds. The last is the second divided by the third. A type is worth using where its product is faster: a processor
without bfloat16 or int8 instructions (AVX-512 BF16 and VNNI, AMX) emulates them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.scoring import CROPS, liqe_jobs

TYPES = {"float32": "float32", "bfloat16": "float32", "int8": "int32"}  # of operands, and of sums
ROUNDS = 9
WIDTH, HIDDEN, LAYERS = 768, 3072, 12
PATCHES, TOKENS = 49 * CROPS, 50 * CROPS

# Rows, inputs and outputs, and how many such products an image takes. The last layer computes its class token only:
# its keys and values are counted. Products of 15 rows, and those within attention, are left out.
SHAPES = {
    (PATCHES, 32 * 32 * 3, WIDTH): 1,
    (TOKENS, WIDTH, WIDTH): 4 * (LAYERS - 1) + 2,
    (TOKENS, WIDTH, HIDDEN): LAYERS - 1,
    (TOKENS, HIDDEN, WIDTH): LAYERS - 1,
}
SHOWN = (TOKENS, WIDTH, HIDDEN)


def product_of(operand: str, rows: int, inputs: int, outputs: int) -> Callable[[], None]:
    """A product of this shape, with as many kernels in turn as the network has layers, so that none is in a cache."""
    x = jnp.ones((rows, inputs), operand)
    kernels = [jnp.full((inputs, outputs), number, operand) for number in range(LAYERS)]
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=TYPES[operand]))

    def run() -> None:
        for kernel in kernels:
            product(x, kernel).block_until_ready()

    return run


def seconds(run: Callable[[], object]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Prints medians of rounds in which all types take turns."""
    jobs: dict[tuple, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for operand in TYPES:
            jobs |= {(operand, *shape): product_of(operand, *shape) for shape in SHAPES}
            jobs[operand, "scoring"] = liqe_jobs(operand, Path(folder))["compute"]
    times: dict[tuple, list[float]] = {job: [] for job in jobs}
    for number in range(ROUNDS + 1):
        for job, run in jobs.items():
            took = seconds(run)
            if number:  # the first round compiles
                times[job].append(took)
    median = {job: statistics.median(taken) for job, taken in times.items()}
    rows, inputs, outputs = SHOWN
    print(
        f"jax {jax.__version__}; 10^9 operations/s of [{rows}, {inputs}] x [{inputs}, {outputs}], then ms of an image"
    )
    print(f"{'':21}{'operations':>11}{'products':>10}{'scoring':>9}{'ratio':>10}")
    for operand, total in TYPES.items():
        speed = 2e-9 * rows * inputs * outputs * LAYERS / median[operand, *SHOWN]
        products = sum(count * median[operand, *shape] / LAYERS for shape, count in SHAPES.items())
        scoring = median[operand, "scoring"]
        print(
            f"{operand:9} -> {total:8}{speed:11.0f}{1e3 * products:10.0f}{1e3 * scoring:9.0f}{products / scoring:10.2f}"
        )


if __name__ == "__main__":
    main()
