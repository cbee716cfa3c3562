"""Options and set-up that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from liqe_jax.bounded_io import read_json
from liqe_jax.errors import UsageError
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.known import EMBEDDED

MODEL_HELP = (
    "a model folder, a file (LIQE.pt, .safetensors, .msgpack, .bin, .stablehlo), liqe_nano (inside the package), "
    "liqe_mix, liqe_koniq, or a Hugging Face repository of a CLIP or SigLIP"
)


# Keys of `images.preprocess.PRESETS`, which is not imported before it is needed.
PRESET_NAMES = ("paper", "pyiqa", "even", "whole")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, --encoder and --tasks."""
    parser.add_argument("--model", default=EMBEDDED, metavar="M", help=f"{MODEL_HELP} (default: {EMBEDDED})")
    add_encoder_option(parser)
    add_tasks_option(parser)


def add_encoder_option(parser: argparse.ArgumentParser) -> None:
    """--encoder, for models whose encoder is not part of the package."""
    parser.add_argument(
        "--encoder",
        metavar="E",
        help="the class of your own encoder, as module:Class or file.py:Class; its code is run (default: the encoder "
        "that the model names)",
    )


def add_preprocess_option(
    parser: argparse._ActionsContainer,
    ours: str = "the model's own, which is paper for LIQE's weights and whole for liqe_nano",
) -> None:
    """--preprocess; `ours` is what the help says of None."""
    parser.add_argument(
        "--preprocess",
        choices=PRESET_NAMES,
        help="how crops are chosen: as LIQE was tested (paper), as in pyiqa, spread evenly with EXIF rotation (even; "
        "best for photographs from phones with LIQE's weights), or the whole picture as one square (whole) "
        f"(default: {ours})",
    )


def add_tasks_option(parser: argparse.ArgumentParser) -> None:
    """--tasks."""
    parser.add_argument(
        "--tasks",
        metavar="T",
        help="joint, quality_scene, quality_distortion, quality, a JSON file with name, attributes and template, or "
        "the import path of a TaskSet, as module:name or file.py:name (default: the model's own)",
    )


def read_tasks(argument: str | None) -> TaskSet | str | None:
    """A task set from a JSON file; names are passed on.

    Raises:
      UsageError: the file cannot be read or describes no task set.
    """
    if argument is None or not argument.endswith(".json"):
        return argument
    try:
        description = read_json(argument)
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot read the task set {argument}: {error}.") from error
    if not isinstance(description, dict):
        raise UsageError(f"{argument} holds a JSON {type(description).__name__}; a task set is an object.")
    return TaskSet.from_dict(description)


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, beside the models or where `JAX_COMPILATION_CACHE_DIR` says.

    Only the command does this: in somebody's own program the setting is theirs to make.
    """
    import jax

    from liqe_jax.weights.hub import models_folder

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = models_folder().parent / "compiled"
        # In a home that is read-only JAX would warn of every program.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def text_cache_folder() -> Path:
    """Where the command keeps the sentences' features of weight files."""
    from liqe_jax.weights.hub import models_folder

    return models_folder().parent / "text_features"
