"""Imports of optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from liqe_jax.errors import UsageError


def require(module: str, extra: str = "evaluate") -> ModuleType:
    """Imports a module that the base installation does not include.

    Raises UsageError if it is not installed; the message names the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"This needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it with: pip install 'liqe_jax[{extra}]'"
        ) from error
