"""`liqe convert`: from any format that can be read to any that can be written."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from liqe_jax.cli.settings import (
    MODEL_HELP,
    PRESET_NAMES,
    add_encoder_option,
    add_tasks_option,
    read_tasks,
    use_compilation_cache,
)
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.tasks import TaskSet

FORMATS = (
    "liqe",
    "hf-safetensors",
    "hf-pytorch",
    "hf-flax",
    "openai-pt",
    "openai-safetensors",
    "pyiqa-pt",
    "checkpoint-pt",
)

HELP = "convert a model between formats"
DESCRIPTION = "Convert a model between formats, in either direction."
EPILOG = """\
formats:
  liqe                folder: weights, task set, text features, tokenizer, provenance (loads fastest)
  hf-safetensors      folder for transformers' CLIPModel; also hf-pytorch (.bin) and hf-flax (.msgpack)
  openai-pt           file in the layout of LIQE.pt and OpenAI's code; also openai-safetensors
  pyiqa-pt            file for pyiqa's LIQE
  checkpoint-pt       file in the layout of the reference's training checkpoints, weights only

examples:
  liqe convert LIQE.pt my_liqe
  liqe convert liqe_mix liqe_mix_folder
  liqe convert openai/clip-vit-base-patch16 clip_b16 --tasks quality
  liqe convert my_liqe LIQE.pt --dtype float16
  liqe convert my_liqe for_transformers --to hf-safetensors
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("destination", metavar="DST", help="a folder or file that does not exist yet")
    add_encoder_option(parser)
    parser.add_argument("--to", choices=FORMATS, help="default: by the suffix of DST, and liqe where it has none")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="stored type")
    parser.add_argument("--name", help="name of the model in results (default: that of the source)")
    parser.add_argument(
        "--preprocess",
        choices=PRESET_NAMES,
        help="how it chooses crops by default, kept in our own format (default: as the source)",
    )
    add_tasks_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Converts."""
    tasks = read_tasks(arguments.tasks)
    form = _format_of(arguments, tasks)

    from liqe_jax.weights.open import open_checkpoint, with_text_features
    from liqe_jax.weights.write import rounded, write_model

    use_compilation_cache()
    checkpoint = open_checkpoint(arguments.source, arguments.encoder)
    if arguments.dtype != "float32":
        # The stored text features have to belong to the weights as stored.
        flat = rounded(checkpoint.flat, arguments.dtype)
        checkpoint = dataclasses.replace(checkpoint, flat=flat, text_features=None)
    if arguments.preprocess:
        checkpoint = dataclasses.replace(checkpoint, preprocess=arguments.preprocess)
    if arguments.name:
        provenance = dataclasses.replace(checkpoint.provenance, name=arguments.name)
        checkpoint = dataclasses.replace(checkpoint, provenance=provenance)
    if form == "liqe":
        checkpoint = with_text_features(checkpoint, tasks)
    write_model(arguments.destination, checkpoint, form, arguments.dtype)
    print(f"{arguments.destination}: {checkpoint.parameter_count:,} parameters, {form}, {arguments.dtype}")
    return 0


def _format_of(arguments: argparse.Namespace, tasks: str | TaskSet | None) -> str:
    """The format to write; refuses what cannot be written before any work is done."""
    from liqe_jax.weights.write import default_format

    if Path(arguments.destination).exists():
        raise ModelError(f"{arguments.destination} exists already. Remove it, or choose another name.")
    form = arguments.to or default_format(arguments.destination)
    lost = [f"--{key}" for key in ("name", "preprocess") if getattr(arguments, key)] + ["--tasks"] * bool(tasks)
    if form != "liqe" and lost:
        raise UsageError(f"Only our own format keeps {', '.join(lost)}, and {form} has no room for it. Leave it out.")
    return form
