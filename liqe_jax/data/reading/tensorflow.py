"""The import of TensorFlow, which prints to standard error whatever one asks for."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


def import_tensorflow() -> Any:
    """TensorFlow. TF_CPP_MIN_LOG_LEVEL=3 silences its import, whose messages TensorFlow 2.21 shows all the same."""
    with contextlib.ExitStack() as stack:
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3" and "tensorflow" not in sys.modules:
            shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            stack.callback(os.close, shown)
            stack.callback(os.dup2, shown, 2)
            os.dup2(nowhere, 2)
        import tensorflow
    return tensorflow
