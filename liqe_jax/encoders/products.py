"""Matrix products in full float32 on every kind of device; ViT patches; operations with one form for each platform.

Left to itself, JAX multiplies float32 on a TPU in bfloat16, and on newer GPUs with ten bits (TF32): with operands
rounded as a TPU does, a score of 4.39 became 4.34. Who wants that asks for `dtype` bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

# Functions take NumPy's arrays too; they return JAX's.
AnyArray = Array | np.ndarray

# Part of the key under which JAX caches what it has traced, so that no program of the other setting is used again.
_ONE_FORM = jax.make_user_context(False)


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
    """ViT patches in row order, each as N = size * size * C numbers; pixels that do not fill one are dropped."""
    side, colours = pixels.shape[1] // size, pixels.shape[-1]
    used = jnp.asarray(pixels[:, : side * size, : side * size])
    patches = used.reshape(-1, side, size, side, size, colours).swapaxes(2, 3)
    return patches.reshape(-1, side * side, size * size * colours)


def by_platform(*operands: Array, cpu: Callable[..., Array], default: Callable[..., Array]) -> Array:
    """`cpu(*operands)` on CPUs and `default(*operands)` elsewhere, or everywhere within `one_form`.

    The platform is the one that a program is compiled for, which is not always the one that traces it.
    """
    if is_one_form():
        return default(*operands)
    return jax.lax.platform_dependent(*operands, cpu=cpu, default=default)


def is_one_form() -> bool:
    """Whether what is being traced must not depend on the platform."""
    return bool(_ONE_FORM.value)


def one_form() -> AbstractContextManager[None]:
    """What is traced in this context has one form for all platforms; converters to ONNX know no platforms."""
    return _ONE_FORM(True)
