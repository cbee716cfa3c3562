"""The `liqe` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import liqe_jax
from liqe_jax.cli import (
    app,
    convert,
    data,
    export,
    gmad,
    info,
    merge_shards,
    ranktest,
    realign,
    score,
    score_shards,
    synthetic,
)
from liqe_jax.errors import LiqeError
from liqe_jax.memory import collect_garbage_rarely
from liqe_jax.messages import printable

DESCRIPTION = "Blind image quality assessment with LIQE in JAX."

EPILOG = """\
examples:
  liqe score photo.jpg --model liqe_mix
  liqe app --model liqe_mix
  liqe convert LIQE.pt my_liqe
  liqe export liqe_nano liqe_nano.onnx
  liqe info my_liqe
  liqe gmad photos/ --first liqe_mix --second my_liqe --output gmad/
  liqe ranktest pristine/ --model my_liqe --output ranktest/
  liqe realign --labels a.csv b.csv --scores a.jsonl b.jsonl --output common/

`liqe COMMAND --help` shows more.
"""

COMMANDS = (score, score_shards, merge_shards, app, convert, export, info, gmad, ranktest, realign, synthetic, data)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar.

    Each module of a command has HELP, DESCRIPTION, EPILOG, `add_options` and `run`, which takes the parsed arguments,
    returns the exit status and raises errors that `main` prints. Where a command has actions, each sets its own `run`.
    """
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("liqe", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    top.add_argument("--version", action="version", version=f"liqe_jax {liqe_jax.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        texts = {"help": command.HELP, "description": command.DESCRIPTION, "epilog": command.EPILOG}
        options = commands.add_parser(name, **texts, formatter_class=raw)
        options.set_defaults(run=getattr(command, "run", None))
        command.add_options(options)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors of use print one message, no traceback."""
    collect_garbage_rarely()
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except LiqeError as error:
        print(f"liqe: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nliqe: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`liqe ... | head`); Python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder without permission: nothing that a traceback would explain
        where = f"{printable(error.filename)}: " if error.filename else ""
        print(
            f"liqe: {where}{printable(error.strerror or error)}. Check the path, its permissions and the disk.",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
