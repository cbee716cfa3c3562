"""`liqe export`: a model for another runtime."""

from __future__ import annotations

import argparse
import os

from liqe_jax.cli.settings import MODEL_HELP, add_encoder_option, add_tasks_option, load_model, number_from_1

# Of `exports.export` and `exports.program`, which are not imported before they are needed.
FORMATS = ("stablehlo", "onnx")
OUTPUTS = ("quality", "marginals", "joint")

HELP = "write a model for another runtime"
DESCRIPTION = "Write a model as one file that takes crops and gives predictions: StableHLO or ONNX."
EPILOG = """\
formats:
  stablehlo   for JAX on CPUs, GPUs and TPUs; `liqe score --model FILE.stablehlo` reads it. JAX reads such files for
              six months of its own versions.
  onnx        for ONNX Runtime and others, opset 23; needs pip install 'liqe_jax[onnx]'

The page that scores in the browser is made of such a file: make web.

examples:
  liqe export liqe_nano liqe_nano.stablehlo
  liqe export liqe_nano liqe_nano.onnx --output marginals
  liqe export liqe_mix liqe_mix.onnx --batch 8
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("destination", metavar="OUT", help="a file that does not exist yet")
    parser.add_argument("--to", choices=FORMATS, help="default: by the suffix of OUT")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="operands of matrix products (default: float32); bfloat16 is for StableHLO; int8 is for ONNX and for "
        "transformers, a quarter of the size",
    )
    parser.add_argument(
        "--batch",
        type=number_from_1("dynamic"),
        default="dynamic",
        metavar="N",
        help='images of a call, or "dynamic" (default); N also fixes the number of crops',
    )
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        default="joint",
        help="quality: the expected value; marginals: that, and a distribution of each attribute; joint: the joint "
        "distribution (default; `liqe score` needs it)",
    )
    add_encoder_option(parser)
    add_tasks_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exports."""
    from liqe_jax.exports.export import check_destination, export

    check_destination(arguments.destination, arguments.to)
    batch = None if arguments.batch == "dynamic" else arguments.batch
    options = {"output": arguments.output, "batch": batch, "dtype": arguments.dtype}
    model = load_model(arguments, dtype="float32" if arguments.dtype == "int8" else None)  # ONNX Runtime rounds to int8
    described = export(model, arguments.destination, arguments.to, **options)
    outputs = ", ".join(f"{one['name']} {one['shape']}" for one in described["outputs"])
    megabytes = os.path.getsize(arguments.destination) / 1e6
    print(f"{arguments.destination}: {megabytes:.1f} MB, crops {described['input']['shape']} -> {outputs}")
    return 0
