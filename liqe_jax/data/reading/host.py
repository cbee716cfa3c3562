"""TensorFlow for reading data, and for nothing else."""

from __future__ import annotations

import contextlib
from types import ModuleType


def tensorflow_on_host() -> ModuleType:
    """TensorFlow without GPUs and TPUs: it would claim their memory, which JAX needs.

    Where a program uses them with TensorFlow already, they stay as they are.
    """
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], kind)
    return tf
