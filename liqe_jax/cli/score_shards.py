"""`liqe score-shards`: image sets in shards, to one parquet file for each."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from liqe_jax.cli.settings import add_call_options, add_model_options, add_preprocess_option, load_model, read_tasks
from liqe_jax.errors import UsageError
from liqe_jax.imports import require
from liqe_jax.messages import printable, quoted

if TYPE_CHECKING:
    from liqe_jax.scale.run import Options
    from liqe_jax.scale.shards import Shard

HELP = "score image sets in shards (tar, parquet), to parquet"
DESCRIPTION = "Score WebDataset tars, parquet files, folders or lists: one parquet file for each shard."
EPILOG = """\
examples:
  liqe score-shards 'train/{00000..00041}.tar' --output scores/
  liqe score-shards 's3://bucket/set/*.parquet' --image-column jpg --output s3://bucket/scores/
  liqe score-shards photos/ --output scores/ --shards 0/4
  liqe score-shards 'train/*.tar' --output scores/ --engine ray --actors 8 --resources GPU=1 CPU=8

A shard whose output exists is skipped, so the same command continues an interrupted run.

exit status: 0 all done, 1 some shards are broken or in use by another process (images that cannot be read are rows),
2 wrong use, no such model, or the output cannot be written
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="tar, parquet file, folder, or .txt list of paths or URLs; with {00000..00041} and patterns",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder, a path or URL")
    add_model_options(parser)
    add_preprocess_option(parser)
    add_call_options(parser)
    parser.add_argument("--shards", metavar="I/N", help="each N-th from I on (default: SLURM's, then JAX's; Ray: all)")
    parser.add_argument("--columns", nargs="+", metavar="C", help="columns to write besides the key and the status")
    parser.add_argument("--image-column", default="image", metavar="C", help="of parquet inputs: bytes, paths or URLs")
    parser.add_argument("--key-column", default="key", metavar="C", help="of parquet inputs (default: key, or numbers)")
    parser.add_argument("--workers", type=int, metavar="W", help="decoding threads (default: cores, at most eight)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a shard that is broken or not ours")
    parser.add_argument("--overwrite", action="store_true", help="score all shards again and replace their outputs")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or a Ray cluster")
    parser.add_argument("--address", metavar="A", help="of the Ray cluster (default: a new one on this machine)")
    parser.add_argument("--actors", type=int, metavar="N", help="of Ray (default: as many as there is room for)")
    parser.add_argument("--resources", nargs="+", metavar="NAME=N", help="of each actor, such as GPU=1 CPU=8 or TPU=4")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Scores; returns the exit status."""
    for module in ("pyarrow", "fsspec"):
        require(module, "scale")
    from liqe_jax.scale.run import Options
    from liqe_jax.scale.shards import Columns, find_shards

    columns = Columns(arguments.image_column, arguments.key_column)
    shards = find_shards(arguments.inputs, columns=columns)
    options = Options(
        preprocess=arguments.preprocess,
        columns=None if arguments.columns is None else tuple(arguments.columns),
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    engine = _with_ray if arguments.engine == "ray" else _here
    return _report(engine(shards, options, arguments), arguments)


def _here(shards: list[Shard], options: Options, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from liqe_jax.scale.output import OutputFolder
    from liqe_jax.scale.rows import schema_of
    from liqe_jax.scale.run import attempt_shard, unfinished
    from liqe_jax.scale.share import find_share

    # What Pillow remarks on odd metadata says nothing about the pixels; images that cannot be decoded are rows.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    model = load_model(arguments)
    model.batch_size(options.batch_size)  # refuses nonsense before anything is written
    schema_of(model.tasks, options.columns)
    share, folder = find_share(arguments.shards), OutputFolder(arguments.output).create()
    ours = share.of(shards)
    left = unfinished(ours, folder, model, options)
    if not arguments.quiet:
        print(
            f"{len(left)} of {len(ours)} shards to score; share {share.index}/{share.count} ({share.source}) of "
            f"{len(shards)} shards",
            file=sys.stderr,
        )
    for shard in left:
        yield attempt_shard(shard, folder, model, options)


def _with_ray(shards: list[Shard], options: Options, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    require("ray", "ray")
    from liqe_jax.scale.output import OutputFolder
    from liqe_jax.scale.ray import score_shards
    from liqe_jax.scale.share import find_share

    folder = OutputFolder(arguments.output).create()
    share = find_share(arguments.shards or "0/1")
    return score_shards(
        share.of(shards),
        folder.fs.unstrip_protocol(folder.path),
        {
            "name_or_path": arguments.model,
            "tasks": read_tasks(arguments.tasks),
            "dtype": arguments.dtype,
            "encoder": arguments.encoder,
        },
        options,
        address=arguments.address,
        actors=arguments.actors,
        resources=_resources(arguments.resources or ()),
    )


def _resources(assignments: list[str] | tuple[str, ...]) -> dict[str, float]:
    found = {}
    for assignment in assignments:
        name, _, amount = assignment.partition("=")
        try:
            found[name] = float(amount)
            if not (name and 0 <= found[name] < float("inf")):
                raise ValueError
        except ValueError:
            raise UsageError(f"--resources takes NAME=NUMBER, such as GPU=1; got {quoted(assignment)}.") from None
    return found


def _report(results: Iterator[dict[str, Any]], arguments: argparse.Namespace) -> int:
    """Prints a line for each shard and a summary; stops at a fault unless told to go on."""
    began, total, faults = time.monotonic(), Counter[str](), 0
    for result in results:
        total["shards"] += 1
        total.update({key: result.get(key, 0) for key in ("images", "failed", "duplicate_keys", "skipped")})
        if not arguments.quiet and "images" in result:
            print(
                f"{printable(result['shard'])}: {result['images']} images, {result['failed']} failed, "
                f"{result['images_per_second']} images/s",
                file=sys.stderr,
            )
        if result.get("fault"):
            faults += 1
            print(f"liqe: {printable(result['shard'])}: {printable(result['fault'], 1000)}", file=sys.stderr)
            if not arguments.keep_going:
                print("liqe: stopped; --keep-going goes on with the other shards.", file=sys.stderr)
                break
    if not arguments.quiet:
        seconds = time.monotonic() - began
        print(
            f"{total['shards']} shards ({total['skipped']} skipped, {faults} with faults), {total['images']} images, "
            f"{total['failed']} failed, {total['duplicate_keys']} with a key that occurs twice, {seconds:.0f} s, "
            f"{total['images'] / seconds:.2f} images/s",
            file=sys.stderr,
        )
    return 1 if faults else 0
