"""`liqe ranktest`: rank tests of a model on pristine photographs, without human scores."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.bounded_io import parse_json, read_json
from liqe_jax.cli.output import end_of_lines, settings_of
from liqe_jax.cli.scorers import add_scoring_options, images_in, make_folder, progress, without_nan, write_report
from liqe_jax.cli.settings import load_model
from liqe_jax.compare.ranktest import check_margin
from liqe_jax.compare.ranktest_run import RankTests, Rendering, renderings, run_rank_tests, score_renderings, scorer_of
from liqe_jax.errors import DataError, UsageError
from liqe_jax.locks import in_use
from liqe_jax.markup import markdown_table
from liqe_jax.messages import printable
from liqe_jax.weights.known import EMBEDDED

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

HELP = "test a model on distorted copies of pristine photographs"
DESCRIPTION = "D-test, L-test and P-test on a folder of pristine photographs, without human scores."
EPILOG = """\
examples:
  liqe ranktest pristine/ --model liqe_mix --output ranktest/
  liqe ranktest pristine/ --model my_model --kinds 1 9 10 11 --size 768 --output ranktest/

Every photograph is scored without distortion and with each kind of distortion at five levels: 126 images with all
25 kinds. D-test: the scores separate pristine from distorted images. L-test: scores decrease level by level. P-test:
of two images with clearly different expected MOS, the better one has the higher score. An interrupted run continues
where it stopped.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", metavar="FOLDER", help="pristine photographs")
    parser.add_argument("--model", default=EMBEDDED, metavar="M", help=f"the model to test (default: {EMBEDDED})")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results; scores in it are reused")
    parser.add_argument("--kinds", type=int, nargs="+", metavar="K", help="kinds of distortion (default: all 25)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N photographs, by name")
    parser.add_argument(
        "--size",
        type=int,
        default=512,
        metavar="S",
        help="longest side of the photographs before distortion, in pixels (default 512, close to KADID-10k's; "
        "0: original size)",
    )
    parser.add_argument("--margin", type=float, default=1.0, help="smallest MOS difference in the P-test (default 1.0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the distortions (default 0)")
    parser.add_argument("--recursive", action="store_true", help="include sub-folders")
    add_scoring_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status: 1 if an image has no score."""
    from liqe_jax.synthetic import KINDS
    from liqe_jax.synthetic.mos import mean_mos

    kinds = sorted(set(arguments.kinds or KINDS))
    wrong = not set(kinds) <= set(KINDS) or (arguments.limit is not None and arguments.limit < 1)
    if wrong or min(arguments.size, arguments.seed) < 0:
        raise UsageError(
            f"Expected kinds from 1 to {len(KINDS)}, a size and a seed of at least 0, and a limit of at least 1; got "
            f"kinds {arguments.kinds}, size {arguments.size}, seed {arguments.seed}, limit {arguments.limit}."
        )
    check_margin(arguments.margin)
    names = images_in(arguments.folder, arguments.recursive)[: arguments.limit]
    output = make_folder(arguments.output)
    model = load_model(arguments)
    arguments.preprocess = arguments.preprocess or model.preprocess
    scores = output / "scores.jsonl"
    with in_use(scores):
        _check_settings(output / "settings.json", scores, model, arguments)
        _score(model, names, kinds, scores, arguments)
    chosen = {(name, kind) for name in names for kind in (0, *kinds)}
    rows = [row for row in _rows(scores) if (row["image"], row["kind"]) in chosen]
    tests = run_rank_tests(rows, mean_mos, margin=arguments.margin)
    settings = {"model": model.name, "preprocess": arguments.preprocess, "size": arguments.size}
    report = without_nan({**settings, **_describe(tests)})
    with open(output / "ranktest.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["kind", "name", "d", "l"], lineterminator="\n")
        table.writeheader()
        table.writerows(report["kinds"])
    write_report(output, "ranktest", report, _markdown(report))
    if tests.failed and not arguments.quiet:
        print(f"{tests.failed} images have no score; {scores} contains the errors.", file=sys.stderr)
    return 1 if tests.failed else 0


def _check_settings(path: Path, scores: Path, model: Model, arguments: argparse.Namespace) -> None:
    """Raises if existing scores were computed with other settings."""
    settings = {
        **settings_of(model, arguments.preprocess),
        "dtype": arguments.dtype,
        "size": arguments.size,
        "seed": arguments.seed,
        "folder": os.path.abspath(arguments.folder),
    }
    if scores.exists() and scores.stat().st_size:
        try:
            earlier = read_json(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"{scores} exists without {path} ({error}). Write to another folder.") from error
        if earlier != settings:
            differing = {key: (earlier.get(key), ours) for key, ours in settings.items() if earlier.get(key) != ours}
            raise UsageError(
                f"{scores} was written with other settings (then, now): {printable(differing, 1000)}. Write to another "
                "folder, or use the same settings."
            )
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _score(model: Model, names: list[str], kinds: list[int], scores: Path, arguments: argparse.Namespace) -> None:
    from liqe_jax.synthetic import distort

    done: set[tuple[str, int, int]] = set()
    if scores.exists():
        os.truncate(scores, end_of_lines(scores))
        done = {(row["image"], row["kind"], row["level"]) for row in _rows(scores)}

    def missing() -> Iterator[Rendering]:
        everything = renderings(arguments.folder, names, kinds, distort, side=arguments.size, seed=arguments.seed)
        return (item for item in everything if item.key not in done)

    scorer = scorer_of(model, preprocess=arguments.preprocess, batch_size=arguments.batch_size)
    with open(scores, "a", encoding="utf-8", newline="") as stream:
        rows = score_renderings(scorer, missing())
        for row in progress(rows, sum(1 for _ in missing()), f"scoring with {model.name}", arguments.quiet):
            stream.write(json.dumps(row) + "\n")
            stream.flush()


def _rows(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        rows = []
        for number, line in enumerate(file, 1):
            try:
                row = parse_json(line)
                rows.append({**row, "image": row["image"], "kind": int(row["kind"]), "level": int(row["level"])})
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"Line {number} of {path} is not a row of this command ({printable(repr(error))}). Remove it."
                ) from error
    return rows


def _describe(tests: RankTests) -> dict[str, Any]:
    from liqe_jax.synthetic import KINDS

    columns = zip(tests.kinds, tests.d_by_kind.tolist(), tests.l.srcc_by_kind.tolist(), strict=True)
    return {
        "photographs": tests.photographs,
        "failed": tests.failed,
        "d_test": dataclasses.asdict(tests.d),
        "l_test": {key: getattr(tests.l, key) for key in ("srcc", "krcc", "lists", "incomplete")},
        "l_test_by_mos": {key: getattr(tests.l_by_mos, key) for key in ("srcc", "krcc")},
        "p_test": {**dataclasses.asdict(tests.p), "people": tests.people} if tests.p else None,
        "without_p": tests.without_p,
        "kinds": [{"kind": kind, "name": str(KINDS[kind]), "d": d, "l": srcc} for kind, d, srcc in columns],
    }


def _markdown(report: dict[str, Any]) -> str:
    d, l_, p, by_mos = (report[key] for key in ("d_test", "l_test", "p_test", "l_test_by_mos"))
    threshold = "" if d["threshold"] is None else f", threshold {d['threshold']:.3f}"
    tests = [
        ("D-test", f"{d['accuracy']:.4f}", f"{d['pristine']} pristine, {d['distorted']} distorted{threshold}"),
        ("L-test, SRCC", f"{l_['srcc']:.4f}", f"{l_['lists']} lists, {l_['incomplete']} incomplete"),
        ("L-test, KRCC", f"{l_['krcc']:.4f}", ""),
        ("L-test, SRCC, by MOS", f"{by_mos['srcc']:.4f}", "levels in descending order of MOS"),
    ]
    if p is None:
        tests.append(("P-test", "-", report["without_p"]))
    else:
        pairs = f"{p['pairs']:,} pairs more than {p['margin']:g} apart, {p['tied']:.2%} tied"
        expected = f"the true MOS of the images would give about {p['people']:.3f}"
        tests.append(("P-test", f"{p['consistency']:.4f}", f"{pairs}; {expected}"))
    kinds = [
        (f"{row['kind']} {row['name']}", *("-" if row[key] is None else f"{row[key]:.3f}" for key in ("d", "l")))
        for row in report["kinds"]
    ]
    head = f"# Rank tests of {report['model']} ({report['preprocess']}) on {report['photographs']} photographs"
    blocks = [head, markdown_table(("test", "result", "on"), tests), markdown_table(("distortion", "D", "L"), kinds)]
    return "\n\n".join(blocks) + "\n"
