"""How the tests' programs are compiled: most of them run for milliseconds, and compiling them takes most of the time.

Without optimisations XLA compiles a training step in a fifth of the time. Most tests are not about the compiler's
optimisations. Two kinds are optimised: comparisons with the reference (marker `goldens`), and models that compute for
seconds or tests with tight tolerances (marker `optimised`). Documentation and notebook run as users run them.

`JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` compiles every program exactly as users do. `make test` does that for the
comparisons with the reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version

import pytest

OPTION = "JAX_DISABLE_MOST_OPTIMIZATIONS"
CHOSEN_BY_USER = OPTION in os.environ

# XLA's newer code generator for fusions takes three times as long to compile as the older one, if neither is optimised.
# Later releases do not know the flag (0.12 was tried), and an unknown flag ends the process.
_OLDER_FUSIONS = "--xla_cpu_use_fusion_emitters=false"


def flags() -> str:
    """A part of XLA_FLAGS."""
    return _OLDER_FUSIONS if version("jaxlib").startswith("0.10.") and not CHOSEN_BY_USER else ""


def choose(item: pytest.Item) -> None:
    """Before a test and its fixtures: how this process, and those that it starts, compile from now on."""
    if CHOSEN_BY_USER:
        return
    import jax

    optimised = any(item.get_closest_marker(name) for name in ("goldens", "optimised"))
    jax.config.update(OPTION.lower(), not optimised)
    os.environ[OPTION] = str(int(not optimised))


def as_for_users(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment whose programs are compiled with the compiler's defaults."""
    others = {name: value for name, value in environment.items() if CHOSEN_BY_USER or name != OPTION}
    return {**others, "XLA_FLAGS": ""}
