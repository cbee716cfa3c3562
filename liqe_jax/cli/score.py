"""`liqe score`: scores files, folders and lists."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from liqe_jax.cli import output, views
from liqe_jax.cli.inputs import passed_over
from liqe_jax.cli.rows import Scoring, expanded
from liqe_jax.cli.scorers import make_folder
from liqe_jax.cli.settings import add_call_options, add_model_options, add_preprocess_option, load_model, number_from_1
from liqe_jax.cli.writers import FORMATS, PERCENTILE, Writer, check_fields, csv_columns
from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import PRESETS, Preset
from liqe_jax.locks import in_use
from liqe_jax.messages import printable
from liqe_jax.tasks import Attribute
from liqe_jax.weights.known import ABOUT, EMBEDDED, KNOWN_MODELS

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

HELP = "score photographs"
DESCRIPTION = "Score photographs: quality from 1 (bad) to 5 (perfect), scene, distortion."
EPILOG = """\
examples:
  liqe score photo.jpg
  liqe score holiday/ --recursive --worst 20 --gallery worst/     # the 20 worst, as a page to look at
  liqe score holiday/ --sort quality --fields image,quality --format csv > scores.csv
  liqe score holiday/ --recursive --output scores.jsonl           # interrupted? the same with --resume
  liqe score --from scores.jsonl --worst 50 --copy-worst bad/     # without scoring again
  liqe score photo.jpg --model liqe_mix --preprocess even
  find . -name '*.jpg' | liqe score - --model my_model --format jsonl
  liqe score photo.jpg --map maps/

exit status: 0 all scored, 1 some images failed, 2 wrong use or no such model
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="file, folder, pattern, or - for a list on stdin")
    parser.add_argument("--recursive", action="store_true", help="look into sub-folders too")
    parser.add_argument("--allow-truncated", action="store_true", help="score what can be decoded of cut files")
    parser.add_argument(
        "--raw-previews", action="store_true", help="score the JPEG preview inside cameras' raw files; rows say so"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")

    model = parser.add_argument_group("model")
    add_model_options(model)
    add_preprocess_option(model)
    model.add_argument(
        "--crops",
        type=number_from_1("all"),
        metavar="N",
        help='crops of each photograph, or "all" of the grid (default: the preset\'s)',
    )
    add_call_options(model)

    results = parser.add_argument_group("results")
    results.add_argument("--format", choices=tuple(FORMATS), help="default: table, or by the suffix of --output")
    results.add_argument("--output", metavar="FILE", help="write results here instead of standard output")
    results.add_argument("--resume", action="store_true", help="skip the images that --output contains already")
    results.add_argument("--overwrite", action="store_true", help="replace --output and --gallery if they exist")
    results.add_argument(
        "--from", dest="rows", metavar="FILE", help="take results from a JSONL file instead of scoring"
    )
    results.add_argument(
        "--fields", type=_names, default=(), metavar="A,B", help="only these fields, such as image,quality"
    )
    results.add_argument("--sort", metavar="FIELD", help="order by a field, lowest first; failed images come last")
    results.add_argument("--descending", action="store_true", help="with --sort: highest first")
    results.add_argument("--worst", type=number_from_1(), metavar="N", help="only the N images of lowest quality")
    results.add_argument(
        "--percentile", action="store_true", help="add the percentage of all these images that have a lower quality"
    )

    views_of = parser.add_argument_group("photographs")
    views_of.add_argument("--gallery", metavar="DIR", help="write a page with thumbnails and maps: DIR/index.html")
    views_of.add_argument("--copy-worst", metavar="DIR", help="with --worst: copy these photographs to DIR")
    views_of.add_argument("--link-worst", metavar="DIR", help="with --worst: link to these photographs in DIR")
    views_of.add_argument(
        "--xmp", action="store_true", help="write IMAGE.xmp with 1 to 5 stars beside each image; keeps existing files"
    )
    views_of.add_argument("--map", metavar="DIR", help="write a heat map of per-crop quality for every image")


def _names(argument: str) -> tuple[str, ...]:
    return tuple(name for part in argument.split(",") if (name := part.strip()))


def run(arguments: argparse.Namespace) -> int:
    """Scores and writes."""
    form = output.format_for(arguments.output, arguments.format)
    _check(arguments)
    with in_use(arguments.output) if arguments.output else contextlib.nullcontext():
        return _run(arguments, form)


def _check(arguments: argparse.Namespace) -> None:
    """Refuses combinations that make no sense."""
    if arguments.resume and not arguments.output:
        raise UsageError("--resume continues the file given by --output; give that too.")
    needs_all = arguments.sort or arguments.worst or arguments.percentile
    if arguments.resume and (needs_all or arguments.fields):
        raise UsageError(
            "--resume needs a file with all fields in the order of the input. Score into it first, then use "
            f"--sort, --worst, --percentile or --fields with: liqe score --from {arguments.output}"
        )
    if bool(arguments.paths) == bool(arguments.rows):
        raise UsageError("Give either files or folders to score, or --from FILE.")
    if arguments.rows and (arguments.resume or arguments.map):
        raise UsageError("--from does not score, so it cannot be combined with --resume or --map.")
    if (arguments.copy_worst or arguments.link_worst) and not arguments.worst:
        raise UsageError("--copy-worst and --link-worst need the number of photographs: add --worst N.")
    if arguments.descending and not arguments.sort:
        raise UsageError("--descending is the order of --sort; add --sort FIELD.")


def _run(arguments: argparse.Namespace, form: str) -> int:
    if arguments.output:
        output.check_destination(arguments.output, form, arguments.resume, arguments.overwrite)
    if arguments.gallery:
        from liqe_jax.app.gallery import check_folder

        check_folder(arguments.gallery, arguments.overwrite)
    for folder in (arguments.map, arguments.copy_worst, arguments.link_worst):
        if folder:
            make_folder(folder)
    if arguments.rows:
        rows = output.read_rows(arguments.rows)
        first = next((row for row in rows if "error" not in row), {})
        model, preset = _load(arguments) if arguments.gallery else (None, None)
        if model and first and first["digest"] != output.short_digest(model):
            raise UsageError(
                f"{arguments.rows} has scores of {printable(first['model'])}, and the maps of --gallery would be of "
                f"another model. Give --model, --dtype and --tasks as they were then."
            )
        attributes = output.attributes_of(first)
        return _write(output.read_rows(arguments.rows), attributes, arguments, form, model, preset, None)

    passed: Counter[str] = Counter()
    first_path: Any = ""
    if "-" not in arguments.paths:
        first_path = next(expanded(arguments, passed), None)
    if first_path is None:
        raise UsageError(f"No images in {', '.join(arguments.paths)}. {passed_over(passed)}".rstrip())

    model, preset = _load(arguments)
    done: set[str] = set()
    if arguments.resume:
        chosen = preset.with_crops(arguments.crops)
        done = output.take_up(arguments.output, form, model.tasks, output.settings_of(model, chosen.name))
    model.batch_size(arguments.batch_size)  # refuses nonsense before anything is overwritten
    scoring = Scoring(model, preset, arguments, done)
    return _write(scoring.rows(), model.tasks.attributes, arguments, form, model, preset, scoring)


def _load(arguments: argparse.Namespace) -> tuple[Model, Preset]:
    # What Pillow remarks on odd metadata says nothing about the pixels; damage to those is a row.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    model = load_model(arguments)
    if arguments.model == EMBEDDED and not arguments.quiet:
        print(ABOUT, file=sys.stderr)
    if arguments.model in KNOWN_MODELS and not arguments.quiet:
        print(printable(f"{model.name}: weights are not ours. {model.provenance.licence}", 1000), file=sys.stderr)
    preset = PRESETS[arguments.preprocess or model.preprocess]
    return model, dataclasses.replace(preset, raw_previews=arguments.raw_previews)


def _write(
    rows: Iterator[dict[str, Any]],
    attributes: Sequence[Attribute],
    arguments: argparse.Namespace,
    form: str,
    model: Model | None,
    preset: Preset | None,
    scoring: Scoring | None,
) -> int:
    """Writes rows as they come, or all in order at the end; then the photographs."""
    check_fields([*arguments.fields, *([arguments.sort] if arguments.sort else [])], attributes)
    fields = arguments.fields
    if arguments.percentile and not fields:
        usual = csv_columns(attributes)[1:] if form == "csv" else [a.name for a in attributes]
        fields = () if form == "jsonl" else ("image", PERCENTILE, *usual)
    if arguments.sort or arguments.worst or arguments.percentile:
        arranged = views.arrange(rows, arguments.sort, arguments.descending, arguments.worst, arguments.percentile)
        rows = iter(arranged)
    kept, failed, ratings = [], 0, Counter[bool]()
    with contextlib.ExitStack() as stack:
        stream = _open(arguments.output, append=arguments.resume, stack=stack)
        continued = arguments.resume and Path(arguments.output).stat().st_size > 0
        writer = Writer(form, stream, attributes, fields, not continued)
        try:
            for row in rows:
                with scoring.above_the_bar() if scoring else contextlib.nullcontext():
                    writer.write(row)
                failed += "error" in row
                if arguments.gallery or arguments.copy_worst or arguments.link_worst:
                    kept.append(row)
                if arguments.xmp and "error" not in row:
                    ratings[views.write_rating(row)] += 1
        except KeyboardInterrupt:  # between two rows; `rows` notices those within
            if scoring is None:
                raise
            scoring.interrupt()
    chosen = [row for row in kept if "error" not in row]
    for folder, link in ((arguments.copy_worst, False), (arguments.link_worst, True)):
        if folder:
            views.gather(chosen, Path(folder), link)
    if arguments.gallery and model and preset:
        from liqe_jax.app.gallery import write_gallery

        page = write_gallery(Path(arguments.gallery), kept, model, preset, arguments.quiet)
        print(f"gallery: {page}", file=sys.stderr)
    if arguments.xmp and not arguments.quiet:
        print(f"{ratings[True]} ratings written, {ratings[False]} existing .xmp files kept", file=sys.stderr)
    return scoring.status() if scoring else int(failed > 0)


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
