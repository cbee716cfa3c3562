"""How fast this machine multiplies matrices in each type, with the shapes of a ViT-B/32.

    python benchmarks/products.py

A type is worth using where its product is faster: a processor without bfloat16 or int8
instructions (AVX-512 BF16 and VNNI, AMX) emulates them.
"""

from __future__ import annotations

import statistics
import time

import jax
import jax.numpy as jnp

TOKENS, WIDTH, HIDDEN = 750, 768, 3072


def main() -> None:
    """Prints 10^9 operations per second, median of 30."""
    print(f"jax {jax.__version__}, [{TOKENS}, {WIDTH}] x [{WIDTH}, {HIDDEN}]")
    for operand, total in (("float32", "float32"), ("bfloat16", "float32"), ("int8", "int32")):
        x, kernel = jnp.ones((TOKENS, WIDTH), operand), jnp.ones((WIDTH, HIDDEN), operand)
        product = jax.jit(lambda a, b, total=total: jnp.matmul(a, b, preferred_element_type=total))
        product(x, kernel).block_until_ready()
        seconds = []
        for _ in range(30):
            began = time.perf_counter()
            product(x, kernel).block_until_ready()
            seconds.append(time.perf_counter() - began)
        print(f"{operand:9} -> {total:8} {2e-9 * TOKENS * WIDTH * HIDDEN / statistics.median(seconds):7.0f}")


if __name__ == "__main__":
    main()
