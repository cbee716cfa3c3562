"""`liqe convert`: from any format that can be read to any that can be written."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from liqe_jax.cli.settings import (
    MODEL_HELP,
    PRESET_NAMES,
    add_encoder_option,
    add_tasks_option,
    read_tasks,
    use_compilation_cache,
)
from liqe_jax.errors import ModelError, UsageError

if TYPE_CHECKING:
    from liqe_jax.tasks import TaskSet
    from liqe_jax.weights.checkpoint import Checkpoint

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

EXAMPLES = """\
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


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "convert",
        help="convert a model between formats",
        description="Convert a model between formats, in either direction.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("destination", metavar="DST", help="a folder or file that does not exist yet")
    add_encoder_option(parser)
    add_writing_options(parser)
    add_tasks_option(parser)
    parser.set_defaults(run=run)


def add_writing_options(parser: argparse.ArgumentParser) -> None:
    """How the model is written; `write` takes them."""
    parser.add_argument("--to", choices=FORMATS, help="default: by the suffix of DST, and liqe where it has none")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="stored type")
    parser.add_argument("--name", help="name of the model in results (default: that of the source, or the first)")
    parser.add_argument(
        "--preprocess",
        choices=PRESET_NAMES,
        help="how it chooses crops where nobody says otherwise, kept in our own format (default: as the source, or "
        "the first)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Converts; returns the exit status.

    Raises:
      LiqeError: no such model, or the destination exists.
    """
    tasks = read_tasks(arguments.tasks)
    refuse(arguments.destination, arguments, tasks)

    from liqe_jax.weights.open import open_checkpoint

    use_compilation_cache()
    checkpoint = open_checkpoint(arguments.source, arguments.encoder)
    form = write(checkpoint, arguments.destination, arguments, tasks)
    print(f"{arguments.destination}: {checkpoint.parameter_count:,} parameters, {form}, {arguments.dtype}")
    return 0


def refuse(destination: str, options: argparse.Namespace, tasks: str | TaskSet | None = None) -> None:
    """What cannot be written, before any work is done.

    Raises:
      ModelError: the destination exists.
      UsageError: the format has no room for what the options ask for, or its name is that of no file.
    """
    from liqe_jax.weights.write import default_format

    if Path(destination).exists():
        raise ModelError(f"{destination} exists already. Remove it, or choose another name.")
    form = options.to or default_format(destination)
    lost = [f"--{key}" for key in ("name", "preprocess") if getattr(options, key)] + ["--tasks"] * bool(tasks)
    if form != "liqe" and lost:
        raise UsageError(f"Only our own format keeps {', '.join(lost)}, and {form} has no room for it. Leave it out.")


def write(
    checkpoint: Checkpoint, destination: str, options: argparse.Namespace, tasks: TaskSet | str | None = None
) -> str:
    """Writes a model as `add_writing_options` has it; returns the format.

    Args:
      checkpoint: of any source.
      destination: must not exist.
      options: `to`, `dtype`, `name` and `preprocess`.
      tasks: for our format; None takes the checkpoint's own.

    Raises:
      LiqeError: the model does not fit the format or the type, or cannot be written.
    """
    from liqe_jax.weights.open import with_text_features
    from liqe_jax.weights.write import default_format, rounded, write_model

    if options.dtype != "float32":
        # The stored text features have to belong to the weights as stored.
        flat = rounded(checkpoint.flat, options.dtype)
        checkpoint = dataclasses.replace(checkpoint, flat=flat, text_features=None)
    if options.preprocess:
        checkpoint = dataclasses.replace(checkpoint, preprocess=options.preprocess)
    if options.name:
        provenance = dataclasses.replace(checkpoint.provenance, name=options.name)
        checkpoint = dataclasses.replace(checkpoint, provenance=provenance)
    form = options.to or default_format(destination)
    if form == "liqe":
        checkpoint = with_text_features(checkpoint, tasks)
    write_model(destination, checkpoint, form, options.dtype)
    return form
