"""The import of TensorFlow, which is slow, and prints to standard error whatever one asks for."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any


def import_tensorflow() -> Any:
    """Imports TensorFlow in half the time of a plain `import tensorflow`.

    TF_CPP_MIN_LOG_LEVEL=3 silences the import, whose messages TensorFlow 2.21 shows all the same.
    """
    with contextlib.ExitStack() as stack:
        if "tensorflow" not in sys.modules:
            for pause in (_quiet, _without_garbage_collection, _without_keras):
                stack.enter_context(pause())
        import tensorflow
    return tensorflow


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3":
            shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            stack.callback(os.close, shown)
            stack.callback(os.dup2, shown, 2)
            os.dup2(nowhere, 2)
        yield


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """An import leaves little garbage, but Python looks for it dozens of times."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """TensorFlow imports Keras 3, and pandas with it, unless it is told to use Keras 2; `tf.keras` still is Keras 3."""
    name = "TF_USE_LEGACY_KERAS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
