"""Imports at run time: optional packages, and objects by name (`module:name`, or `path/to/file.py:name`)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from liqe_jax.errors import UsageError

T = TypeVar("T")


def require(module: str, extra: str = "evaluate") -> ModuleType:
    """Imports an optional module; raises UsageError, which names the extra that installs it, if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"This needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it with: pip install 'liqe_jax[{extra}]'"
        ) from error


def is_import_path(name: object) -> bool:
    """Whether `name` has the form `module:name` or `file.py:name`."""
    return isinstance(name, str) and bool(name.rpartition(":")[0]) and name.rpartition(":")[2].isidentifier()


def load_object(path: str, what: str) -> Any:
    """Imports an object by its path. This runs the code of its module, so only users name such paths, never files.

    `what` names the setting in messages. Raises UsageError if the path is malformed, the module fails, or it lacks the
    name.
    """
    module_name, _, name = path.rpartition(":")
    if not is_import_path(path):
        raise UsageError(f"{what} must have the form module:name or file.py:name; got {path!r}.")
    try:
        module = _module_of_file(Path(module_name)) if module_name.endswith(".py") else _module(module_name)
    except Exception as error:  # the module's own code may raise anything
        raise UsageError(
            f"{what} names {path!r}, and {module_name} cannot be imported ({type(error).__name__}: {error}). Check the "
            "path, and that the module imports by itself."
        ) from error
    if not hasattr(module, name):
        raise UsageError(f"{what} names {path!r}, and {module_name} has no {name!r}.")
    return getattr(module, name)


def find_object(name: object, what: str, known: Mapping[str, Any], own: str, kind: type = object) -> Any:
    """The object that a setting names: a value of `known`, or one of the user's own, by its import path.

    Raises UsageError if the name is neither, the path leads to nothing, or the object is no `kind`; the message names
    the setting `what`, and what the user's object has to be (`own`).
    """
    if isinstance(name, str) and name in known:
        return known[name]
    if not is_import_path(name):
        raise UsageError(
            f"{what} must be one of {', '.join(known)}, or the import path of {own} (module:name or file.py:name); got "
            f"{name!r}."
        )
    found = load_object(str(name), what)
    if not isinstance(found, kind):
        raise UsageError(f"{what}: {name} must be {own}; got {found!r:.200}.")
    return found


def try_object(trial: Callable[[], T], what: str, case: str, own: str) -> T:
    """The result of a first call of the user's own code; raises UsageError if that fails.

    The message is made of `what` it is, the `case` that it failed for, and what it has to be (`own`).
    """
    try:
        return trial()
    except Exception as error:  # whatever that code raises
        raise UsageError(f"{what} failed for {case} ({type(error).__name__}: {error}). It must be {own}.") from error


def _module(name: str) -> Any:
    # A script's own folder is on Python's path; the folder that a command is started in may not be.
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    finally:
        if added:
            sys.path.remove(folder)


def _module_of_file(path: Path) -> Any:
    name = f"liqe_jax_user_{path.resolve().stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path.resolve()):
        return loaded  # one class, however often it is named
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
