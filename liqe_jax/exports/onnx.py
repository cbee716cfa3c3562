"""ONNX, by jax2onnx; the extra `onnx` installs what this needs."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from liqe_jax.encoders.products import one_form
from liqe_jax.errors import UsageError
from liqe_jax.exports.program import INPUT, Program
from liqe_jax.extras import require

# Of ONNX's operators; the first with all that jax2onnx writes.
OPSET = 23


def write_onnx(path: Path, program: Program, description: dict[str, Any]) -> None:
    """Writes an ONNX model that `onnx.checker` accepts; the description goes into its metadata.

    Args:
      path: of a file that does not exist.
      program: what to write.
      description: values that are not strings are stored as JSON.

    Raises:
      UsageError: jax2onnx is not installed, or the type is bfloat16.
    """
    if description["dtype"] not in ("float32", "int8"):
        raise UsageError(
            f"ONNX export is float32 or int8; got {description['dtype']}, whose sums in float32 ONNX does not have."
        )
    jax2onnx, onnx = require("jax2onnx", "onnx"), require("onnx", "onnx")
    # jax2onnx 0.17 does not convert a function of JAX that is compiled by itself, such as softmax, with JAX 0.12.
    with one_form(), jax.disable_jit(), _quiet("jax2onnx", "onnx_ir"):
        model = jax2onnx.to_onnx(
            program.function,
            [program.crops],
            model_name=description["name"],
            opset=OPSET,
            input_names=[INPUT],
            output_names=list(program.outputs),
        )
    described = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    onnx.helper.set_model_props(model, {**described, "opset": str(OPSET)})
    model.producer_name, model.producer_version = "liqe_jax", description["liqe_jax"]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    if description["dtype"] == "int8":
        with _quiet(""):
            require("onnxruntime.quantization", "onnx").quantize_dynamic(path, path)


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """What these libraries log below errors concerns their own developers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
