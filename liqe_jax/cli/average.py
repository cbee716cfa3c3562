"""`liqe average`: one model whose weights are the mean of several."""

from __future__ import annotations

import argparse

from liqe_jax.cli.convert import add_writing_options, refuse, write
from liqe_jax.cli.settings import use_compilation_cache

EXAMPLES = """\
The models must have gone on from the same weights: the mean of others is noise. Two stages of a run, runs with other
seeds or data from one start, or a model and what fine-tuning made of it, whose mean keeps some of the first's
robustness. Measure it on validation images before you prefer it.

examples:
  liqe average runs/a/best_quality runs/b/best_quality --output both
  liqe average liqe_mix runs/mine/last --shares 0.3 0.7 --output mine_robust
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "average",
        help="take the mean of several models' weights",
        description="Take the mean of the weights of several models that went on from the same ones.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", metavar="MODEL", nargs="+", help="what `liqe convert` reads, two or more")
    parser.add_argument("--output", required=True, metavar="DST", help="a folder or file that does not exist yet")
    parser.add_argument("--shares", type=float, nargs="+", metavar="SHARE", help="of each model; default: all alike")
    add_writing_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Averages; returns the exit status.

    Raises:
      LiqeError: no such model, models that do not go together, or the destination exists.
    """
    refuse(arguments.output, arguments)

    from liqe_jax.weights.average import averaged
    from liqe_jax.weights.open import open_checkpoint

    use_compilation_cache()
    checkpoint = averaged([open_checkpoint(name) for name in arguments.models], arguments.shares)
    form = write(checkpoint, arguments.output, arguments)
    print(f"{arguments.output}: mean of {len(arguments.models)} models, {form}, {arguments.dtype}")
    return 0
