"""Text from files and the network, made safe to print: escaped and of bounded length."""

from __future__ import annotations

import json
from collections.abc import Sequence

# Characters of one value in a message, of a whole message, and of a table or report that a command prints.
LONGEST_VALUE, LONGEST_MESSAGE, LONGEST_TABLE = 200, 4000, 1_000_000


def printable(text: object, longest: int = LONGEST_VALUE, keep: str = "") -> str:
    """Text of at most `longest` (at least 40) characters, without its middle if it has more.

    A terminal obeys escape sequences, so every character that does not print is shown as its Python escape, except
    those in `keep`. Objects are shown by their `str`, which has to be short.
    """
    try:
        whole = text if isinstance(text, str) else str(text)
    except ValueError:  # Python prints no integers of more than 4300 digits
        whole = f"<{type(text).__name__}>"
    # Cut before escaping as well: escaping 100 MB of text would take seconds.
    escaped = "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in _cut(whole, longest)
    )
    return _cut(escaped, longest)


def quoted(value: object, longest: int = LONGEST_VALUE) -> str:
    """A value as `repr` gives it, but of bounded length and in bounded time.

    Containers and unknown objects are described by their type: the `repr` of nested tuples takes time that is
    exponential in their depth.
    """
    if isinstance(value, (str, bytes)):
        return printable(repr(value[: longest + 1]), longest)
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        bits = value.bit_length()
        return repr(value) if bits <= 128 else f"an integer of {bits} bits"
    count = f" of {len(value)}" if isinstance(value, (tuple, list, dict, set, frozenset)) else ""
    return f"<{type(value).__name__}{count}>"


def json_text(value: object, indent: int | None = None) -> str:
    """JSON that keeps letters of all scripts and escapes what a terminal would obey, or what UTF-8 cannot hold."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.replace("\n", "").isprintable() else json.dumps(value, indent=indent)


def storable(text: str) -> str:
    """Text as UTF-8 can hold it; what of a file's name is not UTF-8 becomes escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def reason_of(error: Exception) -> str:
    """What an exception says, or its type where it says nothing."""
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__, 400)


def other_separator(header: Sequence[str]) -> str | None:
    """The semicolon or tab that seems to separate the columns of a table that was read with commas, or None."""
    return next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)


def _cut(text: str, longest: int) -> str:
    """The beginning and the end, since a message ends with the remedy."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 5]} ... {text[-end:]}"
