"""`liqe realign`: maps the labels of several data sets to one scale."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from liqe_jax.bounded_io import read_json
from liqe_jax.cli.scorers import add_scoring_options, make_folder, score_into, without_nan, write_report
from liqe_jax.cli.settings import load_model
from liqe_jax.compare.overlap import draw, markdown_of, report_of
from liqe_jax.compare.realign import METHODS, MonotoneMap, stretch
from liqe_jax.data.score_tables import TOGETHER, LabelFile, matched, numbers, read_labels, write_labels
from liqe_jax.errors import DataError, LiqeError, UsageError
from liqe_jax.messages import printable, quoted

HELP = "map the labels of several data sets to one scale"
DESCRIPTION = "Map each data set's MOS monotonically onto a model's scale, 1 to 5, and rewrite the labels."
EPILOG = """\
examples:
  liqe realign --labels csiq.csv koniq.csv --scores csiq.jsonl koniq.jsonl --output common/
  liqe realign --labels CSIQ=csiq.csv KonIQ=koniq.csv --model liqe_mix --images CSIQ/ koniq10k/1024x768/ \\
      --lower-is-better CSIQ --range CSIQ=0,1 --range KonIQ=1,5 --output common/
  liqe realign --labels CSIQ=more.csv --maps common/realign.json --output more/

Label files: CSV with the columns image and mos. Output: DIR/NAME.csv (all columns, and `realigned`), all.csv
with the images of all sets, realign.json (the maps), realign.md (overlap before and after), realign.png.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "--labels", nargs="+", required=True, metavar="[NAME=]CSV", help="image and mos, one file per set"
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--scores", nargs="+", metavar="FILE", help="scores of each set, from `liqe score`")
    way.add_argument("--model", metavar="M", help="score the images with this model")
    parser.add_argument("--images", nargs="+", metavar="DIR", help="folder of each set, for --model")
    way.add_argument("--maps", metavar="JSON", help="apply the maps of an earlier run instead of fitting")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results; scores in it are reused")
    parser.add_argument("--method", choices=("isotonic", "logistic"), default="isotonic", help="form of the maps")
    parser.add_argument("--lower-is-better", action="append", default=[], metavar="NAME", help="set with DMOS")
    parser.add_argument(
        "--range",
        type=_range,
        action="append",
        default=[],
        metavar="NAME=LOW,HIGH",
        help="range of a set's scale, for comparison with linear rescaling (default: lowest and highest MOS)",
    )
    parser.add_argument("--mos-column", metavar="C", help="MOS column of the label files (default mos)")
    parser.add_argument(
        "--score-column", metavar="C", help="score column of the score files (default quality, score or prediction)"
    )
    parser.add_argument("--no-figure", action="store_true", help="do not draw the figure, which needs matplotlib")
    add_scoring_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status: 1 if an image has no score."""
    _check(arguments)
    sets = read_labels(arguments.labels, arguments.mos_column)
    _check_output(arguments, sets)
    for name in (*arguments.lower_is_better, *dict(arguments.range)):
        if name not in sets:
            raise UsageError(f"There is no set {name!r}; the sets are {', '.join(sets)}.")
    return _apply(arguments, sets) if arguments.maps else _fit(arguments, sets)


def _fit(arguments: argparse.Namespace, sets: dict[str, LabelFile]) -> int:
    ranges = dict(arguments.range)
    # Before scoring, which is slow.
    before = {}
    for name, labels in sets.items():
        with _naming(name):
            before[name] = stretch(labels.mos, ranges.get(name), lower_is_better=name in arguments.lower_is_better)
    output = make_folder(arguments.output)
    scorer, scores = _scores(arguments, sets, output)
    maps, after = {}, {}
    for name, labels in sets.items():
        falls = name in arguments.lower_is_better
        with _naming(name):
            maps[name] = METHODS[arguments.method](labels.mos, scores[name], lower_is_better=falls)
        after[name] = maps[name](labels.mos)
    write_labels(sets, after, output)
    mos = {name: labels.mos for name, labels in sets.items()}
    report = report_of(mos, before, after, scores, scorer)
    report["maps"] = {name: found.to_dict() for name, found in maps.items()}
    write_report(output, "realign", without_nan(report), markdown_of(report, arguments.method))
    if not arguments.no_figure:
        draw(output / "realign.png", before, after, scores, scorer)
    if not arguments.quiet:
        print(f"{len(sets)} sets realigned: {output / 'all.csv'}", file=sys.stderr)
    return 1 if any(row["scored"] < row["images"] for row in report["sets"]) else 0


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Adds the name of the set to errors."""
    try:
        yield
    except LiqeError as error:
        raise type(error)(f"{what}: {error}") from error


def _apply(arguments: argparse.Namespace, sets: dict[str, LabelFile]) -> int:
    try:
        maps = read_json(arguments.maps)["maps"]
        if not isinstance(maps, dict):
            raise TypeError(f"'maps' is {quoted(maps)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Cannot read maps from {arguments.maps} ({printable(repr(error))}). Expected a realign.json that `liqe "
            "realign` has written."
        ) from error
    missing = [name for name in sets if name not in maps]
    if missing:
        raise UsageError(
            f"{arguments.maps} has maps of {printable(', '.join(maps))}, but not of {', '.join(missing)}. "
            "Use the same names: --labels NAME=CSV."
        )
    after = {}
    for name, labels in sets.items():
        with _naming(f"{arguments.maps}, {name}"):
            after[name] = MonotoneMap.from_dict(maps[name])(labels.mos)
    output = make_folder(arguments.output)
    write_labels(sets, after, output)
    if not arguments.quiet:
        print(f"{sum(map(len, after.values()))} labels realigned: {output / 'all.csv'}", file=sys.stderr)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    count = len(arguments.labels)
    if bool(arguments.model) != bool(arguments.images):
        raise UsageError("--model and --images (a folder per set) belong together; give both.")
    for option in ("scores", "images"):
        given = getattr(arguments, option)
        if given and len(given) != count:
            raise UsageError(
                f"--labels has {count} sets, --{option} has {len(given)}; give one per set, in the same order."
            )
    if arguments.maps and (arguments.lower_is_better or arguments.range):
        raise UsageError("--maps already contains directions and ranges; remove --lower-is-better and --range.")


def _check_output(arguments: argparse.Namespace, sets: Mapping[str, LabelFile]) -> None:
    """Raises if an input, or a table of the fit whose maps are applied, would be overwritten."""
    output = Path(arguments.output)
    if arguments.maps and os.path.realpath(os.path.dirname(arguments.maps) or ".") == os.path.realpath(output):
        raise UsageError(
            f"{output} contains the tables of the fit of {arguments.maps}, which would be overwritten. Give another "
            "folder as --output."
        )
    names = [TOGETHER, "realign.json", "realign.md", "realign.png", *(f"{name}.csv" for name in sets)]
    inputs = [*(labels.path for labels in sets.values()), *(arguments.scores or ()), *filter(None, [arguments.maps])]
    for target in (output / name for name in names):
        for path in filter(os.path.exists, inputs):
            if target.exists() and os.path.samefile(target, path):  # also through links
                raise UsageError(f"The input {path} would be overwritten. Give another folder as --output.")


def _range(argument: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = argument.rpartition("=")
    try:
        low, high = map(float, ends.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=LOW,HIGH; got {argument!r}") from None
    return name, (low, high)


def _scores(
    arguments: argparse.Namespace, sets: Mapping[str, LabelFile], output: Path
) -> tuple[str, dict[str, np.ndarray]]:
    if arguments.scores:
        tables = zip(sets.items(), arguments.scores, strict=True)
        found = {name: matched(numbers(path, arguments.score_column), labels.images) for (name, labels), path in tables}
        return "the given scores", found
    model = load_model(arguments)
    scores = {}
    for (name, labels), folder in zip(sets.items(), arguments.images, strict=True):
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is not a folder. Expected the folder of the images of {name}.")
        destination = output / f"{name}.scores.jsonl"
        scores[name] = score_into(model, folder, labels.images, destination, arguments)
    return model.name, scores
