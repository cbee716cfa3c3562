"""`liqe score`: judge files, folders and lists."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from liqe_jax.cli import output
from liqe_jax.cli.inputs import expand, passed_over
from liqe_jax.cli.scorers import make_folder
from liqe_jax.cli.settings import (
    add_model_options,
    add_preprocess_option,
    read_tasks,
    text_cache_folder,
    use_compilation_cache,
)
from liqe_jax.cli.writers import WRITERS, Writer
from liqe_jax.errors import LiqeError, UsageError
from liqe_jax.locks import in_use
from liqe_jax.messages import printable
from liqe_jax.scoring.result import Failure, Score

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

EXAMPLES = """\
examples:
  liqe score photo.jpg
  liqe score photo.jpg --model liqe_mix
  liqe score holiday/ --recursive --model LIQE.pt --output scores.jsonl
  liqe score holiday/ --recursive --model LIQE.pt --output scores.jsonl --resume
  liqe score '*.png' --model my_model --preprocess even --format csv > scores.csv
  find . -name '*.jpg' | liqe score - --model my_model --format jsonl
  liqe score photo.jpg --model my_model --map maps/

exit status: 0 all scored, 1 some images failed, 2 wrong use or no such model
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "score",
        help="judge photographs",
        description="Score photographs: quality from 1 (bad) to 5 (perfect), scene, distortion.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, pattern, or - for a list on stdin")
    add_model_options(parser)
    add_preprocess_option(parser)
    parser.add_argument(
        "--crops",
        type=_crops,
        metavar="N",
        help='crops of each photograph, or "all" of the grid (default: the preset\'s)',
    )
    parser.add_argument("--patches", type=_renamed, help=argparse.SUPPRESS)
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="operands of matrix products (default: float32, exact); int8 is for CPUs with VNNI and the newest JAX",
    )
    parser.add_argument("--format", choices=tuple(WRITERS), help="default: table, or by the suffix of --output")
    parser.add_argument("--output", metavar="FILE", help="write results here instead of standard output")
    parser.add_argument("--resume", action="store_true", help="skip the images that --output holds already")
    parser.add_argument("--overwrite", action="store_true", help="replace --output if it exists")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per call (default: by the devices)")
    parser.add_argument("--recursive", action="store_true", help="look into sub-folders too")
    parser.add_argument("--map", metavar="DIR", help="write a heat map of per-crop quality for every image")
    parser.add_argument("--allow-truncated", action="store_true", help="score what can be decoded of cut files")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def _crops(argument: str) -> int | str:
    if argument == "all":
        return argument
    if argument.isdecimal() and int(argument) > 0:
        return int(argument)
    raise argparse.ArgumentTypeError(f'expected a number from 1, or "all"; got {argument!r}')


def _renamed(argument: str) -> NoReturn:
    raise argparse.ArgumentTypeError("the option is now called --crops")


def run(arguments: argparse.Namespace) -> int:
    """Scores and writes; returns the exit status.

    Raises:
      LiqeError: wrong use or no such model, which the caller turns into status 2.
    """
    form = output.format_for(arguments.output, arguments.format)
    if arguments.resume and not arguments.output:
        raise UsageError("--resume continues the file given by --output; give that too.")
    with in_use(arguments.output) if arguments.output else contextlib.nullcontext():
        return _run(arguments, form)


def _run(arguments: argparse.Namespace, form: str) -> int:
    if arguments.output:
        output.check_destination(arguments.output, form, arguments.resume, arguments.overwrite)
    tasks = read_tasks(arguments.tasks)
    passed: Counter[str] = Counter()
    first = next(expand(arguments.paths, arguments.recursive, passed), None) if "-" not in arguments.paths else ""
    if first is None:
        hints = ["" if arguments.recursive else "Add --recursive to look into sub-folders.", passed_over(passed)]
        raise UsageError(" ".join([f"No images in {', '.join(arguments.paths)}.", *filter(None, hints)]))
    if arguments.map:
        make_folder(arguments.map)

    # Imported after everything that can be said without it: JAX takes a second.
    from liqe_jax.images.preprocess import PRESETS
    from liqe_jax.scoring.load import load
    from liqe_jax.weights.embedded import ABOUT, EMBEDDED
    from liqe_jax.weights.known import KNOWN_MODELS

    use_compilation_cache()
    # What Pillow remarks on odd metadata says nothing about the pixels; damage to those is a row.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    model = load(
        arguments.model,
        tasks=tasks,
        dtype=arguments.dtype,
        encoder=arguments.encoder,
        text_cache_folder=text_cache_folder(),
    )
    arguments.preprocess = arguments.preprocess or model.preprocess
    done: set[str] = set()
    if arguments.resume:
        preset = PRESETS[arguments.preprocess].with_crops(arguments.crops)
        done = output.take_up(arguments.output, form, model.tasks, output.settings_of(model, preset.name))
    model.batch_size(arguments.batch_size)  # refuses nonsense before anything is overwritten

    with contextlib.ExitStack() as stack:
        stream = _open(arguments.output, append=arguments.resume, stack=stack)
        if arguments.model == EMBEDDED and not arguments.quiet:
            print(ABOUT, file=sys.stderr)
        if arguments.model in KNOWN_MODELS and not arguments.quiet:
            print(printable(f"{model.name}: weights are not ours. {model.provenance.licence}", 1000), file=sys.stderr)
        continued = arguments.resume and Path(arguments.output).stat().st_size > 0
        digest = "" if form == "table" else output.short_digest(model)
        writer = WRITERS[form](stream, model.tasks, digest, not continued)
        passed = Counter()
        results = _score_all(model, arguments, done, passed)
        total = None if "-" in arguments.paths else _count(arguments, done)
        status = _write_all(results, writer, model, arguments, total, done)
        if passed and not arguments.quiet:
            print(passed_over(passed), file=sys.stderr)
        return status


def _open(path: str | None, append: bool, stack: contextlib.ExitStack) -> IO[str]:
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what the terminal's encoding does not
            sys.stdout.reconfigure(errors="backslashreplace")
        return sys.stdout
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        mode = "a" if append else "w"
        return stack.enter_context(open(path, mode, encoding="utf-8", errors="backslashreplace", newline=""))
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror or error}.") from error


def _wanted(
    arguments: argparse.Namespace, done: set[str], passed: Counter[str] | None = None
) -> Iterator[str | Failure]:
    for item in expand(arguments.paths, arguments.recursive, passed):
        # What could not be listed is never done: behind it may be any number of images.
        if isinstance(item, Failure) or output.stored_name(item) not in done:
            yield item


def _count(arguments: argparse.Namespace, done: set[str]) -> int:
    return sum(1 for _ in _wanted(arguments, done))


def _score_all(
    model: Model, arguments: argparse.Namespace, done: set[str], passed: Counter[str]
) -> Iterator[Score | Failure]:
    """Results in the order of the inputs; failures to find an image keep their place."""
    for is_path, group in itertools.groupby(_wanted(arguments, done, passed), lambda item: isinstance(item, str)):
        if not is_path:
            yield from (item for item in group if isinstance(item, Failure))
            continue
        yield from model.score_many(
            (item for item in group if isinstance(item, str)),
            batch_size=arguments.batch_size,
            preprocess=arguments.preprocess,
            crops=arguments.crops,
            allow_truncated=arguments.allow_truncated,
        )


def _write_all(
    results: Iterator[Score | Failure],
    writer: Writer,
    model: Model,
    arguments: argparse.Namespace,
    total: int | None,
    done: set[str],
) -> int:
    from tqdm import tqdm

    began, scored, failed = time.monotonic(), 0, 0
    quiet = arguments.quiet or not sys.stderr.isatty()
    try:
        with tqdm(total=total, unit="image", disable=quiet, file=sys.stderr, dynamic_ncols=True, leave=False) as bar:
            for result in results:
                with bar.external_write_mode(file=sys.stdout) if not quiet else contextlib.nullcontext():
                    if isinstance(result, Failure) and output.stored_name(result.image) in done:
                        # A folder that could not be listed by the run before either: it has its row.
                        print(f"liqe: {printable(result.image)}: {printable(result.error, 1000)}", file=sys.stderr)
                    else:
                        writer.write(result)
                if isinstance(result, Failure):
                    failed += 1
                else:
                    scored += 1
                    if arguments.map and not _write_map(model, result, arguments):
                        failed += 1
                bar.update()
    except KeyboardInterrupt:
        print(f"\nInterrupted after {scored} images; what was scored is written.", file=sys.stderr)
        return 130
    if not arguments.quiet:
        seconds = time.monotonic() - began
        rate = f", {scored / seconds:.2f} images/s" if scored else ""
        before = f", {len(done)} already in {arguments.output}" if done else ""
        print(
            f"{scored} scored, {failed} failed{before}{rate} ({printable(model.name)}, {model.dtype})", file=sys.stderr
        )
    return 1 if failed else 0


def map_path(image: str) -> Path:
    """Where in the folder of maps that of a photograph goes: by its path alone, so that no other run or order moves it.

    Seen from the current folder where it lies there, otherwise from the root.
    """
    path = Path(os.path.abspath(image))
    here = Path.cwd()
    inside = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return inside.with_name(f"{inside.name}.map.jpg")


def _write_map(model: Model, result: Score, arguments: argparse.Namespace) -> bool:
    from liqe_jax.scoring.heatmap import render

    target = Path(arguments.map) / map_path(result.image)
    try:
        quality_map = model.quality_map(
            result.image, preprocess=arguments.preprocess, allow_truncated=arguments.allow_truncated
        )
        title = f"{Path(result.image).name}: {result.quality:.2f} ({model.name}, {arguments.preprocess})"
        target.parent.mkdir(parents=True, exist_ok=True)
        render(quality_map, title).save(target, quality=92)
    except (LiqeError, OSError) as error:
        print(f"liqe: no map of {printable(result.image)}: {printable(error, 1000)}", file=sys.stderr)
        return False
    return True
