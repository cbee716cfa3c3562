"""`liqe info`: what a model is, and what is known of where it comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from liqe_jax.cli.settings import MODEL_HELP, add_encoder_option
from liqe_jax.messages import json_text, printable
from liqe_jax.weights.known import EMBEDDED

if TYPE_CHECKING:
    from liqe_jax.weights.checkpoint import Checkpoint

HELP = "describe a model"
DESCRIPTION = "Describe a model: architecture, task set, provenance, licence, size."
EPILOG = """\
examples:
  liqe info
  liqe info LIQE.pt
  liqe info my_model --json
"""


# For people; --json has everything.
_LONGEST, _MOST_NOTES = 300, 6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=EMBEDDED, help=f"{MODEL_HELP} (default: {EMBEDDED})"
    )
    add_encoder_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Prints what is known of a model."""
    from liqe_jax.weights.open import open_checkpoint

    checkpoint = open_checkpoint(arguments.model, arguments.encoder)
    description = describe(checkpoint)
    if arguments.json:
        print(json_text(description, indent=2))
    else:
        _print(description, checkpoint.encoder.describe())
    return 0


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `liqe info` says, as a JSON-ready object."""
    return {
        **checkpoint.provenance.to_dict(),
        "parameters": checkpoint.parameter_count,
        "stored_types": dict(checkpoint.source_dtypes),
        "encoder": checkpoint.encoder.name,
        "architecture": checkpoint.encoder.to_config(),
        "tasks": checkpoint.tasks.to_dict() if checkpoint.tasks else None,
        "text_features": checkpoint.text_features is not None,
        "preprocess": checkpoint.preprocess,
    }


def _print(description: dict[str, Any], sizes: dict[str, str]) -> None:
    tasks, trained_on = description["tasks"], description["trained_on"]
    rows = {
        "name": description["name"],
        "source": description["source"],
        "sha256": description["source_sha256"],  # there is none of several files
        "licence": description["licence"],
        "trained on": "unknown"
        if trained_on is None
        else ", ".join(f"{entry['dataset']} ({entry['split']})" for entry in trained_on) or "nothing",
        "parameters": f"{description['parameters']:,}",
        "stored as": ", ".join(f"{count} x {dtype}" for dtype, count in description["stored_types"].items()),
        "encoder": description["encoder"],
        **sizes,
        "tasks": "not stored; scored as 'joint' unless you say otherwise"
        if tasks is None
        else f"{tasks['name']}: " + ", ".join(f"{a['name']} ({len(a['labels'])})" for a in tasks["attributes"]),
        "text features": "stored" if description["text_features"] else "computed when loaded",
        "preprocess": description["preprocess"],
    }
    notes = description["notes"]
    for name, value in [*rows.items(), *(("note", note) for note in notes[:_MOST_NOTES])]:
        if value:
            text = printable(value, 10 * _LONGEST)  # a mean of means holds the whole history of each
            print(f"{name:<14} {text if len(text) <= _LONGEST else f'{text[:_LONGEST]} ... (--json has all)'}")
    if len(notes) > _MOST_NOTES:
        print(f"{'note':<14} ... {len(notes) - _MOST_NOTES} more with --json")
