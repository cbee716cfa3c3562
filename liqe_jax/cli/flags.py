"""What train.py and eval.py do first: missing packages and unknown settings are one line, and libraries are quiet."""

from __future__ import annotations

import logging
import os
import re
import sys

from liqe_jax.errors import UsageError
from liqe_jax.imports import require


def require_packages() -> None:
    """Ends the program with a message and status 2 if the packages of the extra `train` are not installed."""
    try:
        for module in ("absl", "ml_collections"):
            require(module, "train")
    except UsageError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(2)


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
