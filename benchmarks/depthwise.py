"""Depthwise convolutions as shifted products against XLA's grouped convolution, forwards and backwards.

    python benchmarks/depthwise.py

Shapes are those of EfficientNet-Lite0 on a picture of 512 pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from liqe_jax.encoders.depthwise import grouped, shifted

# Side, channels, kernel, stride.
SHAPES = ((256, 32, 3, 1), (256, 96, 3, 2), (128, 144, 5, 2), (64, 240, 5, 1), (32, 672, 5, 1), (16, 1152, 5, 1))
RUNS = 7


def milliseconds(function: Callable, *arguments: jax.Array) -> float:
    """The shortest of some runs."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Prints a Markdown table."""
    print("| side, channels, kernel, stride | shifted, ms | grouped, ms | with gradient: shifted | grouped |")
    print("|---|---|---|---|---|")
    for side, channels, size, stride in SHAPES:
        x = jax.random.normal(jax.random.key(0), (1, side, side, channels))
        kernel = jax.random.normal(jax.random.key(1), (size, size, channels))
        cells = []
        for function in (shifted, grouped):

            def total(x: jax.Array, kernel: jax.Array, function: Callable = function) -> jax.Array:
                return jnp.square(function(x, kernel, stride)).sum()  # noqa: B023 - called in this iteration

            forward = milliseconds(lambda x, k, function=function: function(x, k, stride), x, kernel)  # noqa: B023
            cells.append((forward, milliseconds(jax.grad(total, (0, 1)), x, kernel)))
        (forward, backward), (forward_grouped, backward_grouped) = cells
        print(
            f"| {side}, {channels}, {size}, {stride} | {forward:.1f} | {forward_grouped:.1f} | {backward:.1f} | "
            f"{backward_grouped:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
