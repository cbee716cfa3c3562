"""`liqe gmad`: pairs of images on which two scorers differ most."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from liqe_jax.cli.scorers import add_scoring_options, images_in, make_folder, scores_by, without_nan, write_report
from liqe_jax.compare.gmad import ROLES, Competition, check_settings, compete
from liqe_jax.compare.gmad_page import page, write_pictures
from liqe_jax.compare.gmad_ranking import global_ranking, strengths_of, tally
from liqe_jax.data.score_tables import read_rows
from liqe_jax.errors import DataError
from liqe_jax.markup import escaped, html_table, markdown_table

HELP = "find the pairs of images on which two scorers differ most"
DESCRIPTION = "gMAD competition: each scorer defends levels of equal quality, the other attacks them."
EPILOG = """\
examples:
  liqe gmad photos/ --first liqe_mix --second my_model --output gmad/
  liqe gmad photos/ --first liqe_mix --second niqe.csv --lower-is-better second --output gmad/
  liqe gmad photos/ --first a.jsonl --second b.jsonl --levels 6 --ranking ranking.csv --output gmad/

Open gmad/index.html, rate the pairs, save ranking.csv, and run the last line.
Score files: CSV with a header or JSONL, as `liqe score` writes, with the columns image and quality (or score).
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument("--first", required=True, metavar="M|FILE", help="a model, or a CSV or JSONL file of scores")
    parser.add_argument("--second", required=True, metavar="M|FILE", help="the second scorer, likewise")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results; scores in it are reused")
    parser.add_argument("--levels", type=int, default=6, metavar="L", help="level sets per defender (default 6)")
    parser.add_argument(
        "--tolerance",
        type=float,
        nargs=2,
        metavar=("T1", "T2"),
        help="half widths of the level sets, on the scales of the first and the second scorer "
        "(default: 5%% of the spread of the scores between their 5th and 95th percentiles)",
    )
    parser.add_argument(
        "--lower-is-better", choices=("first", "second"), action="append", default=[], help="whose scores are negated"
    )
    parser.add_argument("--columns", nargs=2, metavar=("C1", "C2"), help="score columns of the two files")
    parser.add_argument("--ranking", metavar="CSV", help="ratings of the pairs: pair, better, strength")
    parser.add_argument("--recursive", action="store_true", help="include sub-folders")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sides on which images are shown (default 0)")
    add_scoring_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status: 1 if images have no score of both."""
    # Before scoring, which is slow.
    check_settings(arguments.levels, arguments.tolerance or (), arguments.seed)
    ratings = read_rows(arguments.ranking) if arguments.ranking else []
    names = images_in(arguments.folder, arguments.recursive)
    output = make_folder(arguments.output)
    labels, scores = [], []
    for role, column in zip(ROLES, arguments.columns or (None, None), strict=True):
        destination = output / f"{role}.jsonl"
        label, values = scores_by(getattr(arguments, role), arguments.folder, names, destination, arguments, column)
        labels.append(label)
        scores.append(-values if role in arguments.lower_is_better else values)
    if labels[0] == labels[1]:
        labels = [f"{label} ({role})" for label, role in zip(labels, ROLES, strict=True)]
    tolerances = tuple(arguments.tolerance or (None, None))
    competition = compete(names, *scores, levels=arguments.levels, tolerances=tolerances, seed=arguments.seed)
    result = describe(competition, labels)
    result["negated"] = [label for label, role in zip(labels, ROLES, strict=True) if role in arguments.lower_is_better]
    if ratings:
        result["ranking"] = rank(competition, ratings, labels)
    _write_pairs(competition, output / "pairs.csv")
    write_pictures(competition, arguments.folder, output / "pairs")
    index = output / "index.html"
    index.write_text(page(competition, arguments.folder, (labels[0], labels[1]), _above_pairs(result)), "utf-8")
    write_report(output, "gmad", result, _markdown(result))
    if not arguments.quiet:
        print(f"{len(competition.pairs)} pairs: open {index}", file=sys.stderr)
    return 1 if competition.left_out else 0


def describe(competition: Competition, labels: list[str]) -> dict[str, Any]:
    """Pairs, levels and ignored images, as a JSON-ready object."""
    return {
        "scorers": labels,
        "images": len(competition.names),
        "left_out": list(competition.left_out),
        "without_pair": competition.without_pair,
        "pairs": [
            {
                "pair": pair.id,
                "defender": labels[pair.defender],
                "attacker": labels[pair.attacker],
                "level": pair.level,
                "center": pair.level_set.center,
                "tolerance": pair.level_set.tolerance,
                "members": len(pair.level_set.members),
                **{
                    which: {
                        "image": competition.names[index],
                        "defender": float(competition.scores[pair.defender, index]),
                        "attacker": float(competition.scores[pair.attacker, index]),
                    }
                    for which, index in (("better", pair.better), ("worse", pair.worse))
                },
            }
            for pair in competition.pairs
        ],
    }


def rank(competition: Competition, ratings: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    """Aggressiveness, resistance and global ranks from the rows of a file of ratings."""
    strengths = strengths_of(ratings, competition)
    matrices = tally(competition, strengths)
    result: dict[str, Any] = {"rated": len(strengths), "ratings": sum(map(len, strengths.values()))}
    for name, matrix in zip(("aggressiveness", "resistance"), matrices, strict=True):
        prior = None
        try:
            ranks = global_ranking(matrix)
        except DataError:  # one scorer was never beaten, so the likelihood has no maximum
            prior = 1.0
            ranks = global_ranking(matrix, prior)
        result[name] = dict(zip(labels, matrix[[0, 1], [1, 0]].tolist(), strict=True))
        result[f"{name}_rank"] = dict(zip(labels, ranks.tolist(), strict=True))
        result[f"{name}_prior_sd"] = prior
    return without_nan(result)


def _write_pairs(competition: Competition, path: Path) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("pair", "left", "right", "better", "strength"))
        for pair in competition.pairs:
            # Raters fill in the last two columns.
            rows.writerow((pair.id, competition.names[pair.left], competition.names[pair.right], "", ""))


RANKING_HEADER = ("scorer", "aggressiveness", "global rank", "resistance", "global rank")


def _ranking(result: dict[str, Any]) -> tuple[list[list[str]], str]:
    """Rows of the table of ranks, and a note below it."""
    found = result["ranking"]
    keys = ("aggressiveness", "aggressiveness_rank", "resistance", "resistance_rank")
    values = [[found[key][label] for key in keys] for label in result["scorers"]]
    cells = [["-" if value is None else f"{value:.3f}" for value in row] for row in values]
    note = f"{found['rated']} of {len(result['pairs'])} pairs rated, {found['ratings']} ratings."
    if priors := [name for name in ("aggressiveness", "resistance") if found[f"{name}_prior_sd"]]:
        note += f" Rank of {' and '.join(priors)} with a normal prior of sd 1, without which none is finite."
    return [[label, *row] for label, row in zip(result["scorers"], cells, strict=True)], note


def _signs(result: dict[str, Any]) -> str:
    return f"The scores of {' and '.join(result['negated'])} are negated, since lower is better."


def _above_pairs(result: dict[str, Any]) -> str:
    text = f"<p>{escaped(_signs(result))}</p>" if result["negated"] else ""
    if "ranking" in result:
        rows, note = _ranking(result)
        text += f"{html_table(RANKING_HEADER, rows)}<p>{escaped(note)}</p>"
    return text


def _markdown(result: dict[str, Any]) -> str:
    rows = [
        (
            pair["pair"],
            f"{pair['center']:.3f} ± {pair['tolerance']:.3f}",
            str(pair["members"]),
            *(f"{pair[which]['image']} ({pair[which]['attacker']:.3f})" for which in ("better", "worse")),
        )
        for pair in result["pairs"]
    ]
    header = ("pair", "level", "images", "attacker's better", "attacker's worse")
    blocks = [f"# gMAD: {' and '.join(result['scorers'])}", markdown_table(header, rows)]
    if result["negated"]:
        blocks.append(_signs(result))
    if result["without_pair"]:
        blocks.append("\n".join(f"- {key}: no pair, {why}." for key, why in result["without_pair"].items()))
    if result["left_out"]:
        blocks.append("Ignored, without a score of both: " + ", ".join(result["left_out"]))
    if "ranking" in result:
        ranks, note = _ranking(result)
        blocks += [markdown_table(RANKING_HEADER, ranks), note]
    return "\n\n".join(blocks) + "\n"
