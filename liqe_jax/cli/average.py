"""`liqe average`: averages the weights of several models."""

from __future__ import annotations

import argparse

from liqe_jax.cli.convert import add_writing_options, refuse, write
from liqe_jax.cli.settings import use_compilation_cache

EXAMPLES = """\
The models must have been trained from the same initial weights; otherwise their mean is meaningless. Examples are two
checkpoints of a run, runs with other seeds or data from the same start, or a model and its fine-tuned version. Compare
the result with the models on validation images.

examples:
  liqe average runs/a/best_quality runs/b/best_quality --output both
  liqe average liqe_mix runs/mine/last --shares 0.3 0.7 --output mine_robust
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "average",
        help="average the weights of several models",
        description="Average the weights of several models that were trained from the same initial weights.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model that `liqe convert` reads; two or more")
    parser.add_argument("--output", required=True, metavar="DST", help="a folder or file that does not exist yet")
    parser.add_argument("--shares", type=float, nargs="+", metavar="SHARE", help="share of each model (default: equal)")
    add_writing_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status.

    Raises:
      LiqeError: a model cannot be read, the models do not match, or the destination exists.
    """
    refuse(arguments.output, arguments)

    from liqe_jax.weights.average import averaged
    from liqe_jax.weights.open import open_checkpoint

    use_compilation_cache()
    checkpoint = averaged([open_checkpoint(name) for name in arguments.models], arguments.shares)
    form = write(checkpoint, arguments.output, arguments)
    print(f"{arguments.output}: mean of {len(arguments.models)} models, {form}, {arguments.dtype}")
    return 0
