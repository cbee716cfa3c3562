"""The file of a StableHLO export: a program of `jax.export` and a description, in an uncompressed zip archive.

A program that was serialized by one version of JAX runs for six months of later versions (JAX's documentation of
`jax.export`, "Compatibility guarantees"). Keep the model that it was made from.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax import export
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import chlo, stablehlo

from liqe_jax.bounded_io import check_regular, parse_json
from liqe_jax.encoders.exported import ExportedModel
from liqe_jax.errors import LiqeError, ModelError
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.messages import json_text, printable
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance

SUFFIX = ".stablehlo"
PROGRAM, DESCRIPTION = "program.jax_export", "liqe.json"

# Of the description, which has a few kilobytes, and of the program.
_MOST_DESCRIPTION, _MOST_PROGRAM = 10_000_000, 20_000_000_000

# Functions outside of the program that it may call: checks of free sizes. Mathematics without an operation of its own
# in StableHLO begins with "mhlo.". Others, such as JAX's callbacks into Python, take addresses that a file could forge.
_CALLS, _MATHEMATICS = frozenset({"shape_assertion"}), "mhlo."


def write_exported(path: Path, program: export.Exported, description: Mapping[str, Any]) -> None:
    """Writes a new file with a program, whose one argument are the crops, and the description of `exports`."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        archive.writestr(DESCRIPTION, json_text(description, indent=2))
        archive.writestr(PROGRAM, bytes(program.serialize()))


def read_exported(path: str | os.PathLike) -> Checkpoint:
    """Reads what `write_exported` wrote, as a checkpoint without parameters.

    ModelError: corrupt, of another JAX, without the joint distribution, of a fixed batch, or with foreign calls.
    """
    path = Path(path)
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            content = parse_json(_read(archive, DESCRIPTION, _MOST_DESCRIPTION))
            serialized = _read(archive, PROGRAM, _MOST_PROGRAM)
        tasks, provenance = TaskSet.from_dict(content["tasks"]), Provenance.from_dict(content["provenance"])
        size, dtype, preset = content["input"]["shape"][-2], content["dtype"], content["preprocess"]["name"]
        output, fixed = content["output"], not isinstance(content["input"]["shape"][0], str)
        made_with = content["jax"]
    except (LiqeError, OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} is not a file of `liqe export --to stablehlo` ({printable(error)}). Export the model again."
        ) from error
    if output != "joint" or fixed:
        raise ModelError(
            f"{path} was exported with --output {printable(output)}{' and a fixed batch' if fixed else ''}; scoring "
            "needs --output joint and --batch dynamic. Export the model again."
        )
    if preset not in PRESETS:
        raise ModelError(f"{path} asks for the preset {printable(preset)}; this version has {', '.join(PRESETS)}.")
    try:
        program = export.deserialize(bytearray(serialized))
        calls = _calls(program)
    except Exception as error:  # a corrupt buffer raises all sorts of things
        raise ModelError(
            f"{path} cannot be read by this version of JAX ({printable(error)}); it was written with jax "
            f"{printable(made_with)}. Export the model again."
        ) from error
    foreign = sorted(call for call in calls - _CALLS if not call.startswith(_MATHEMATICS))
    if foreign:
        raise ModelError(
            f"The program in {path} calls {printable(foreign[0])}, which is not a part of it. It is refused, since "
            "such calls could run anything."
        )
    count = len(tasks.prompts)
    if len(program.in_avals) != 1 or [aval.shape[1:] for aval in program.out_avals] != [tasks.shape]:
        raise ModelError(f"The program in {path} does not compute what its description says. Export the model again.")
    digest = hashlib.sha256(serialized).hexdigest()
    encoder = ExportedModel(size, count, dtype, digest, program)
    features = np.zeros((count, count), np.float32)  # the program has its own
    return Checkpoint({}, encoder, provenance, tasks, text_features=features, preprocess=preset)


def _calls(program: export.Exported) -> set[str]:
    """Names of the functions that a program calls outside of itself."""
    found = set()

    def visit(operation: ir.Operation) -> ir.WalkResult:
        if operation.name == "stablehlo.custom_call":
            found.add(ir.StringAttr(operation.attributes["call_target_name"]).value)
        return ir.WalkResult.ADVANCE

    with ir.Context() as context:
        stablehlo.register_dialect(context)
        chlo.register_dialect(context)
        module = stablehlo.deserialize_portable_artifact(context, bytes(program.mlir_module_serialized))
        module.operation.walk(visit)
    return found


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        raise ValueError(f"{name} is compressed or has more than {most:,} bytes")
    return archive.read(entry)
