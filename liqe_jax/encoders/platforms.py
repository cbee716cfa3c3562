"""Forms of an operation that are faster on one kind of device, and the switch that leaves only one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax
from jaxtyping import Array

# Part of the key under which JAX caches what it has traced, so that no program of the other setting is used again.
_ONE_FORM = jax.make_user_context(False)


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


@contextlib.contextmanager
def one_form() -> Iterator[None]:
    """What is traced in this context has one form for all platforms; converters to ONNX know no platforms."""
    with _ONE_FORM(True):
        yield
