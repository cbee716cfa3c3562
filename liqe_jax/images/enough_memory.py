"""When the memory does not suffice for one image, that is an error of this image, and the others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from liqe_jax.errors import ImageError


@contextlib.contextmanager
def memory_errors_are_of_the_image() -> Iterator[None]:
    """Turns a `MemoryError` into an `ImageError`; also a decorator.

    Raises:
      ImageError: instead of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise ImageError(
            "The memory does not suffice to decode and prepare this image. Shrink it, or score with more memory or "
            "fewer workers."
        ) from error
