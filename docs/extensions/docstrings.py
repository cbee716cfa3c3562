"""Lets Sphinx show signatures and docstrings as they are written.

Its own way is to evaluate annotations, which turns `Float[AnyArray, "B L W"]` into a union of classes, and to read
docstrings as reStructuredText, in which the `*` of a shape begins emphasis.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any, ForwardRef

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

CODE = re.compile(r"(``.*?``|:\w+:`.*?`|`.*?`)")


class Named:
    """A default value that shows as a name: a class, or one that is made for every instance."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


def readable(default: Any) -> Any:
    """A default value as one would write it."""
    if repr(default).startswith("<") and default is not inspect.Parameter.empty:
        return Named(getattr(default, "__name__", "..."))
    return default


def qualified(annotation: Any, module: str) -> Any:
    """An annotation whose names of our classes are full ones, so that a link has one target."""
    if isinstance(annotation, ForwardRef):  # a field of a named tuple
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    known = vars(sys.modules[module])

    def full(match: re.Match) -> str:
        found = known.get(match[0])
        ours = inspect.isclass(found) and found.__module__.startswith("liqe_jax.")
        return f"{found.__module__}.{found.__qualname__}" if ours else match[0]

    # Every second part is a quoted shape.
    parts = re.split(r"(\"[^\"]*\"|'[^']*')", annotation)
    parts[::2] = [re.sub(r"(?<![\w.])[A-Za-z_]\w*", full, part) for part in parts[::2]]
    return "".join(parts)


def signature_as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Annotations are strings (`from __future__ import annotations`), and stay what they are."""
    if signature is None or what not in ("function", "method", "class"):
        return None
    try:
        written = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = [
        p.replace(annotation=qualified(p.annotation, obj.__module__), default=readable(p.default))
        for p in written.parameters.values()
    ]
    if what == "method" and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    result = qualified(written.return_annotation, obj.__module__)
    shown = stringify_signature(written.replace(parameters=parameters, return_annotation=result))
    arguments, arrow, result = shown.rpartition(" -> ")
    if what == "class" or not arrow:
        return (arguments or shown), None
    return arguments, result


def linked(code: str, module: str | None) -> str:
    """Code between backticks: a link if it names something of ours, or may; else it stands for itself."""
    if not re.fullmatch(r"`[A-Za-z_][\w.]*`", code):
        return code if code.startswith((":", "``")) else f"`{code}`"
    found = vars(sys.modules[module]).get(code[1:-1]) if module in sys.modules else None
    ours = (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__.startswith("liqe_jax.")
    return f":py:obj:`~{found.__module__}.{found.__qualname__}`" if found is not None and ours else code


def as_restructured_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Outside of code, characters that mean something to reStructuredText alone stand for themselves.

    In a module's docstring, four spaces after an empty line begin code, as they do in Markdown.
    """
    module = obj.__name__ if what == "module" else getattr(obj, "__module__", None)
    result: list[str] = []
    literal = False
    for line in lines:
        indented = line.startswith("    ") and (not result or not result[-1])
        if line.strip() and not line.startswith(" "):
            literal = False
        elif what == "module" and indented and not literal:
            result += ["::", ""]
            literal = True
        if not literal:
            parts = CODE.split(line)
            parts[::2] = [re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [linked(part, module) for part in parts[1::2]]
            line = "".join(parts)  # noqa: PLW2901
        result.append(line)
        literal = literal or line.rstrip().endswith("::")
    lines[:] = result


def is_described_elsewhere(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples, and those whose default is a class of others, are described in their class."""
    is_field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    is_default = what == "class" and inspect.isclass(obj) and not obj.__module__.startswith("liqe_jax")
    return True if is_field or is_default else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", signature_as_written)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon reads the sections
    app.connect("autodoc-skip-member", is_described_elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
