"""`liqe realign`: the labels of several data sets on one scale."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.bounded_io import read_json
from liqe_jax.cli.labelfiles import TOGETHER, LabelFile, read_labels, refuse_to_overwrite, whole_file, write_labels
from liqe_jax.cli.scorers import add_scoring_options, load_model, make_folder, score_into
from liqe_jax.errors import DataError, LiqeError, UsageError
from liqe_jax.messages import LONGEST_TABLE, printable, quoted

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """\
examples:
  liqe realign --labels csiq.csv koniq.csv --scores csiq.jsonl koniq.jsonl --output common/
  liqe realign --labels CSIQ=csiq.csv KonIQ=koniq.csv --model liqe_mix --images CSIQ/ koniq10k/1024x768/ \\
      --lower-is-better CSIQ --range CSIQ=0,1 --range KonIQ=1,5 --output common/
  liqe realign --labels CSIQ=more.csv --maps common/realign.json --output more/

Label files: CSV with the columns image and mos. Written: DIR/NAME.csv (every column, and `realigned`), all.csv
with the images of all sets, realign.json (the maps), realign.md (overlap before and after), realign.png.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "realign",
        help="bring the labels of several data sets onto one scale",
        description="Map each data set's MOS monotonically onto a model's scale, 1 to 5, and rewrite the labels.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labels", nargs="+", required=True, metavar="[NAME=]CSV", help="image and mos, one per set")
    parser.add_argument("--scores", nargs="+", metavar="FILE", help="scores of each set, as `liqe score` writes them")
    parser.add_argument("--model", metavar="M", help="score the images now, with this model")
    parser.add_argument("--images", nargs="+", metavar="DIR", help="each set's folder, for --model")
    parser.add_argument("--maps", metavar="JSON", help="apply the maps of an earlier run instead of fitting")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results; scores in it are reused")
    parser.add_argument("--method", choices=("isotonic", "logistic"), default="isotonic", help="form of the maps")
    parser.add_argument("--lower-is-better", action="append", default=[], metavar="NAME", help="set with DMOS")
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="NAME=LOW,HIGH",
        help="ends of a set's scale, for the comparison with a linear stretch (default: its least and greatest MOS)",
    )
    parser.add_argument("--mos-column", metavar="C", help="default mos")
    parser.add_argument("--score-column", metavar="C", help="default quality, score or prediction")
    parser.add_argument("--no-figure", action="store_true", help="do not draw (drawing takes matplotlib)")
    add_scoring_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fits or applies and writes; returns the exit status.

    Raises:
      LiqeError: wrong use, no such file or model, or labels that cannot be carried over.
    """
    _check(arguments)
    sets = read_labels(arguments.labels, arguments.mos_column)
    _check_output(arguments, sets)
    _known([*arguments.lower_is_better, *_ranges(arguments.range)], sets)
    return _apply(arguments, sets) if arguments.maps else _fit(arguments, sets)


def _fit(arguments: argparse.Namespace, sets: dict[str, LabelFile]) -> int:
    from liqe_jax.evaluate.realign import METHODS, stretch
    from liqe_jax.evaluate.realign_report import markdown_of, report_of

    ranges = _ranges(arguments.range)
    # Before scoring, which takes long.
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
    with whole_file(output / "realign.json") as file:
        file.write(json.dumps(_without_nan(report), indent=2) + "\n")
    text = markdown_of(report, arguments.method)
    (output / "realign.md").write_text(text, "utf-8")
    if not arguments.no_figure:
        from liqe_jax.evaluate.realign_figure import draw

        draw(output / "realign.png", before, after, scores, scorer)
    print(printable(text, LONGEST_TABLE, keep="\n"), end="")
    if not arguments.quiet:
        print(f"{len(sets)} sets realigned: {output / 'all.csv'}", file=sys.stderr)
    return 1 if any(row["scored"] < row["images"] for row in report["sets"]) else 0


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Errors within say of which set they are."""
    try:
        yield
    except LiqeError as error:
        raise type(error)(f"{what}: {error}") from error


def _apply(arguments: argparse.Namespace, sets: dict[str, LabelFile]) -> int:
    from liqe_jax.evaluate.realign import MonotoneMap

    try:
        stored = read_json(arguments.maps)["maps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Cannot read maps from {arguments.maps} ({printable(repr(error))}). Expected a realign.json."
        ) from error
    if not isinstance(stored, dict):
        raise DataError(
            f"{arguments.maps} holds no maps by name: 'maps' is {quoted(stored)}. Expected a realign.json that "
            "`liqe realign` wrote."
        )
    missing = [name for name in sets if name not in stored]
    if missing:
        raise UsageError(
            f"{arguments.maps} has maps of {printable(', '.join(stored))}; none of {', '.join(missing)}. "
            "Name the sets as they were named: --labels NAME=CSV."
        )
    after = {}
    for name, labels in sets.items():
        with _naming(f"{arguments.maps}, {name}"):
            after[name] = MonotoneMap.from_dict(stored[name])(labels.mos)
    output = make_folder(arguments.output)
    write_labels(sets, after, output)
    if not arguments.quiet:
        print(f"{sum(map(len, after.values()))} labels realigned: {output / 'all.csv'}", file=sys.stderr)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    count = len(arguments.labels)
    ways = [way for way in ("scores", "model", "maps") if getattr(arguments, way)]
    if len(ways) != 1:
        raise UsageError(
            f"Give one of --scores, --model (with --images) and --maps; got {', '.join(ways) or 'none of them'}."
        )
    if bool(arguments.model) != bool(arguments.images):
        raise UsageError("--model scores the images of --images, a folder for every set; give both.")
    for option in ("scores", "images"):
        given = getattr(arguments, option)
        if given and len(given) != count:
            raise UsageError(f"--labels names {count} sets and --{option} {len(given)}; give one each, in that order.")
    if arguments.maps and (arguments.lower_is_better or arguments.range):
        raise UsageError("--maps holds the directions and needs no range; leave --lower-is-better and --range out.")


def _check_output(arguments: argparse.Namespace, sets: Mapping[str, LabelFile]) -> None:
    """Nothing that is read here, and no table of the fit whose maps are applied, is written over."""
    output = Path(arguments.output)
    if arguments.maps and os.path.realpath(os.path.dirname(arguments.maps) or ".") == os.path.realpath(output):
        raise UsageError(
            f"{output} holds the tables of the fit that {arguments.maps} comes from, and they would be replaced. Give "
            "another folder as --output."
        )
    names = [TOGETHER, "realign.json", "realign.md", "realign.png", *(f"{name}.csv" for name in sets)]
    inputs = [*(labels.path for labels in sets.values()), *(arguments.scores or ()), *filter(None, [arguments.maps])]
    refuse_to_overwrite([output / name for name in names], inputs)


def _ranges(arguments: Sequence[str]) -> dict[str, tuple[float, float]]:
    ranges = {}
    for argument in arguments:
        name, _, ends = argument.rpartition("=")
        try:
            low, high = map(float, ends.split(","))
        except ValueError:
            raise UsageError(f"Expected --range NAME=LOW,HIGH; got {argument!r}.") from None
        ranges[name] = (low, high)
    return ranges


def _known(names: Sequence[str], sets: Mapping[str, LabelFile]) -> None:
    for name in names:
        if name not in sets:
            raise UsageError(f"No set is called {name!r}; the sets are {', '.join(sets)}.")


def _scores(
    arguments: argparse.Namespace, sets: Mapping[str, LabelFile], output: Path
) -> tuple[str, dict[str, np.ndarray]]:
    from liqe_jax.evaluate.scorefiles import matched, numbers

    if arguments.scores:
        tables = zip(sets.items(), arguments.scores, strict=True)
        found = {name: matched(numbers(path, arguments.score_column), labels.images) for (name, labels), path in tables}
        return "the given scores", found
    model = load_model(arguments.model, arguments)
    scores = {}
    for (name, labels), folder in zip(sets.items(), arguments.images, strict=True):
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is no folder. Expected the folder that the images of {name} are named in.")
        destination = output / f"{name}.scores.jsonl"
        score_into(model, [os.path.join(folder, image) for image in labels.images], destination, arguments)
        scores[name] = matched(numbers(destination), labels.images, folder)
    return model.name, scores


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
