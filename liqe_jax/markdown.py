"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; the first column is left-aligned, the others right-aligned."""
    marks = ["---" if column == 0 else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in (header, marks, *rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
