"""Quiet libraries, and flags of train.py and eval.py, where an unknown setting is one line."""

from __future__ import annotations

import logging
import os
import re
import sys


def quiet_libraries() -> None:
    """Silences TensorFlow and XLA below errors and JAX below warnings, unless TF_CPP_MIN_LOG_LEVEL is set.

    To be called before their import.
    """
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        logging.getLogger("jax").setLevel(logging.WARNING)  # absl shows what JAX says of backends that are absent


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses flags for `absl.app.run`; an unknown `--config.KEY` ends the program with a message and status 2."""
    from absl import app

    try:
        return app.parse_flags_with_usage(arguments)
    except (AttributeError, KeyError) as error:  # what ml_collections raises while it looks for the key
        said = str(error)
        key = re.search(r"'(\w+)\\?'", said)
        wanted = [flag.partition("=")[0] for flag in arguments if key and re.match(rf"--config\..*\b{key[1]}\b", flag)]
        if not wanted:
            raise
        nearest = re.search(r'Did you mean "([\w.]+)"', said)
        hint = (
            f' Did you mean "{nearest[1]}"?' if nearest else " The file of --config and its defaults list all settings."
        )
        print(f"{os.path.basename(arguments[0])}: There is no setting {wanted[0]}.{hint}", file=sys.stderr)
        sys.exit(2)
