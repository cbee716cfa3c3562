"""`liqe merge-shards`: the best images of what `liqe score-shards` wrote."""

from __future__ import annotations

import argparse
import sys

from liqe_jax.imports import require
from liqe_jax.messages import printable

HELP = "list the best images of liqe score-shards"
DESCRIPTION = "Write the rows of the best images of all shards to one parquet file."
EPILOG = "exit status: 0 done, 1 done, but some shards are incomplete, 2 wrong use"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", metavar="DIR", help="the --output of liqe score-shards, a path or URL")
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument("--top", type=float, metavar="F", help="keep this fraction of the whole set, such as 0.1")
    rule.add_argument("--min-quality", type=float, metavar="Q", help="keep images with at least this quality")
    parser.add_argument("--output", required=True, metavar="FILE", help="parquet file, a path or URL")
    parser.add_argument("--overwrite", action="store_true", help="replace --output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Merges."""
    for module in ("pyarrow", "fsspec"):
        require(module, "scale")
    from liqe_jax.scale.merge import merge_shards

    merged = merge_shards(
        arguments.folder,
        arguments.output,
        top=arguments.top,
        min_quality=arguments.min_quality,
        overwrite=arguments.overwrite,
    )
    print(
        f"{merged.kept} of {merged.images} images from {merged.shards} shards, quality {merged.least:.4f} and higher",
        file=sys.stderr,
    )
    if merged.incomplete:
        names = printable(", ".join(merged.incomplete), 1000)
        print(f"liqe: {len(merged.incomplete)} shards are incomplete: {names}", file=sys.stderr)
    return 1 if merged.incomplete else 0
