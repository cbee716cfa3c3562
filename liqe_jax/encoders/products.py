"""Matrix products whose operands are what they seem, on every kind of device.

Left to itself, JAX multiplies float32 on a TPU in bfloat16, and on newer GPUs with ten bits (TF32): with operands
rounded as a TPU does, a score of 4.39 became 4.34. Who wants that asks for `dtype` bfloat16.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from liqe_jax.encoders.arrays import AnyArray


def _exactly(*operands: AnyArray) -> dict[str, Any]:
    """All bits of float32 operands; of shorter ones, of which devices take all bits anyway, the sums in float32."""
    if jnp.result_type(*operands).itemsize < 4:
        return {"preferred_element_type": jnp.float32}
    return {"precision": jax.lax.Precision.HIGHEST}


def matmul(a: Float[AnyArray, ...], b: Float[AnyArray, ...]) -> Float[Array, ...]:
    """`a @ b` with sums in float32."""
    return jnp.matmul(a, b, **_exactly(a, b))


def einsum(subscripts: str, a: Float[AnyArray, ...], b: Float[AnyArray, ...]) -> Float[Array, ...]:
    """`jnp.einsum` of two operands with sums in float32."""
    return jnp.einsum(subscripts, a, b, **_exactly(a, b))


def flat_patches(pixels: Num[AnyArray, "B H H C"], size: int) -> Num[Array, "B T N"]:
    """ViT patches of `size` x `size` pixels in row order, each as N = size * size * C numbers.

    What does not fill a patch is dropped: 384 pixels hold 27 patches of 14.
    """
    side, colours = pixels.shape[1] // size, pixels.shape[-1]
    used = jnp.asarray(pixels[:, : side * size, : side * size])
    patches = used.reshape(-1, side, size, side, size, colours).swapaxes(2, 3)
    return patches.reshape(-1, side * side, size * size * colours)
