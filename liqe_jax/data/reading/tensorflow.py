"""The import of TensorFlow, which takes its time, and prints to standard error whatever one asks for."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any


def import_tensorflow() -> Any:
    """TensorFlow, in half the time of `import tensorflow`: 2.6 processor seconds instead of 5.2.

    TF_CPP_MIN_LOG_LEVEL=3 silences its import, whose messages TensorFlow 2.21 shows all the same.
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
    """Modules are no garbage, and Python looks through them dozens of times."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """TensorFlow imports Keras 3, and pandas with it, unless it is to use another Keras; `tf.keras` still finds it."""
    name = "TF_USE_LEGACY_KERAS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
