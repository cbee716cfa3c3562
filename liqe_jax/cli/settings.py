"""Options and set-up that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from liqe_jax.bounded_io import read_json
from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.memory import keep_freed_memory
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.known import EMBEDDED

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

MODEL_HELP = (
    "a model folder, a file (LIQE.pt, .safetensors, .msgpack, .bin, .stablehlo), liqe_nano (inside the package), "
    "liqe_mix, liqe_koniq, or a Hugging Face repository of a CLIP or SigLIP"
)

PRESET_NAMES = tuple(PRESETS)


def number_from_1(*words: str) -> Callable[[str], int | str]:
    """The type of an option that takes a whole number from 1, or one of some words."""

    def parse(argument: str) -> int | str:
        if argument in words:
            return argument
        if argument.isdecimal() and int(argument) > 0:
            return int(argument)
        expected = " or ".join(["a number from 1", *(f'"{word}"' for word in words)])
        raise argparse.ArgumentTypeError(f"expected {expected}; got {argument!r}")

    return parse


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """--model, --encoder and --tasks."""
    parser.add_argument("--model", default=EMBEDDED, metavar="M", help=f"{MODEL_HELP} (default: {EMBEDDED})")
    add_encoder_option(parser)
    add_tasks_option(parser)


def add_encoder_option(parser: argparse._ActionsContainer) -> None:
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


def add_call_options(parser: argparse._ActionsContainer) -> None:
    """--dtype and --batch-size."""
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="operands of matrix products (default: float32, exact); int8 is for CPUs with VNNI and the newest JAX",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per call (default: depends on the devices)")


def add_tasks_option(parser: argparse._ActionsContainer) -> None:
    """--tasks."""
    parser.add_argument(
        "--tasks",
        metavar="T",
        help="joint, quality_scene, quality_distortion, quality, a JSON file with name, attributes and template, or "
        "the import path of a TaskSet, as module:name or file.py:name (default: the model's own)",
    )


def read_tasks(argument: str | None) -> TaskSet | str | None:
    """A task set from a JSON file; names are passed on."""
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


def load_model(arguments: argparse.Namespace, name: str | None = None, dtype: str | None = None) -> Model:
    """Loads `arguments.model`, or a model by name or of another dtype, with the command's other options and caches."""
    options = vars(arguments)
    tasks = read_tasks(options.get("tasks"))

    # Imported after the checks: JAX takes a second.
    from liqe_jax.scoring.load import load
    from liqe_jax.weights.hub import models_folder

    use_compilation_cache()
    keep_freed_memory()
    return load(
        name or arguments.model,
        tasks=tasks,
        dtype=dtype or options.get("dtype", "float32"),
        encoder=options.get("encoder"),
        text_cache_folder=models_folder().parent / "text_features",
    )
