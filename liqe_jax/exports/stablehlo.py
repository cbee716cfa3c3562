"""StableHLO: one program for CPUs, GPUs and TPUs, by `jax.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from jax import export as jax_export

from liqe_jax.exports.program import Program
from liqe_jax.weights.exported import write_exported

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(path: Path, program: Program, description: dict[str, Any]) -> None:
    """Writes a program that runs on all of `PLATFORMS`.

    Args:
      path: of a file that does not exist.
      program: what to write.
      description: stored beside it.
    """
    exported = jax_export.export(jax.jit(program.function), platforms=PLATFORMS)(program.crops)
    write_exported(path, exported, {**description, "platforms": list(PLATFORMS)})
