"""TensorFlow without accelerators, for reading data."""

from __future__ import annotations

import contextlib
from types import ModuleType


def tensorflow_on_host() -> ModuleType:
    """Imports TensorFlow and hides GPUs and TPUs from it, since it would reserve their memory, which JAX needs.

    Devices that TensorFlow already uses stay visible.
    """
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], kind)
    return tf
