"""`liqe_jax.export`: a model as one file for another runtime."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax import export as jax_export

from liqe_jax.encoders.products import one_form
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.exports.program import INPUT, Program, description, program_of
from liqe_jax.imports import require
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import DTYPES, Model
from liqe_jax.weights.exported import write_exported

PLATFORMS = ("cpu", "cuda", "tpu")  # of StableHLO

# Of ONNX's operators; the first with all that jax2onnx writes.
OPSET = 23


def write_stablehlo(path: Path, program: Program, description: dict[str, Any]) -> None:
    """Writes one program that runs on all of `PLATFORMS`, and the description beside it."""
    exported = jax_export.export(jax.jit(program.function), platforms=PLATFORMS)(program.crops)
    write_exported(path, exported, {**description, "platforms": list(PLATFORMS)})


def write_onnx(path: Path, program: Program, description: dict[str, Any]) -> None:
    """Writes an ONNX model that `onnx.checker` accepts; the description goes into its metadata."""
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
        quantization = require("onnxruntime.quantization", "onnx")
        with _quiet(""):  # ONNX Runtime logs to the root
            # Products of signed weights overflow 16 bits on processors with AVX2 and without VNNI.
            quantization.quantize_dynamic(path, path, weight_type=quantization.QuantType.QUInt8)


WRITERS = {"stablehlo": write_stablehlo, "onnx": write_onnx}
FORMATS = tuple(WRITERS)


def export(
    model: Model | str | os.PathLike,
    path: str | os.PathLike,
    to: str | None = None,
    *,
    output: str = "joint",
    batch: int | None = None,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Writes a model as StableHLO or ONNX: crops in, predictions out, normalisation and sentences inside.

    The input is `crops`, uint8 [images, crops, S, S, 3], RGB; S is the model's crop size. Returns the description that
    is stored in the file, JSON-ready: outputs, labels, and how crops are made (docs/export.md).

    Args:
      model: a model, or what `liqe_jax.load` takes.
      to: "stablehlo" or "onnx"; None goes by the suffix.
      output: "quality" (values only), "marginals" (values, and a distribution of each attribute) or "joint".
      batch: images of a call, each with the number of crops of the model's preset; None leaves both numbers free.
      dtype: operand type of the products: "float32", "bfloat16" (StableHLO only) or "int8" (ONNX only, of float32
        models, by ONNX Runtime's dynamic quantization); None takes the model's own, float32 for a name or path.

    Raises:
      ModelError: no such model, or the file exists.
      UsageError: an argument is not one of those, or jax2onnx is not installed.
    """
    to, path = check_destination(path, to), Path(path)
    model = _computing_in(dtype, to, model)
    program = program_of(model, output, batch)
    described = {**description(model, output, batch), "dtype": dtype or model.dtype}
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[to](part, program, described)
        part.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        part.unlink(missing_ok=True)
    return described


def check_destination(path: str | os.PathLike, to: str | None) -> str:
    """The format that is meant; raises ModelError if the file exists, UsageError if the format does not."""
    to = to or Path(path).suffix.removeprefix(".")
    if to not in WRITERS:
        raise UsageError(f"to must be one of {', '.join(FORMATS)}; got {to!r}. Name the format, or end the name in it.")
    if Path(path).exists():
        raise ModelError(f"{path} exists already. Remove it, or choose another name.")
    return to


def _computing_in(dtype: str | None, to: str, model: Model | str | os.PathLike) -> Model:
    if dtype not in (None, *DTYPES):
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    loaded = "float32" if dtype in (None, "int8") else dtype
    if not isinstance(model, Model):
        model = load(model, dtype=loaded)
    elif dtype is not None and loaded != model.dtype:
        raise UsageError(f"This model computes in {model.dtype}; got dtype {dtype!r}. Load it with dtype={loaded!r}.")
    if model.dtype == "int8" or (dtype == "int8" and to != "onnx"):
        raise UsageError('int8 is for ONNX, of a float32 model: export(model, "model.onnx", dtype="int8").')
    if dtype == "int8":
        model.encoder.quantise(model.params)  # refuses encoders that int8 does not suit
    return model


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """What these libraries log below errors concerns their own developers."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
