"""Tables in Markdown and HTML, and HTML pages."""

from __future__ import annotations

import base64
import html
import importlib.resources
import string
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; the first column is left-aligned, the others right-aligned."""
    marks = ["---" if column == 0 else "---:" for column in range(len(header))]
    cells = ([text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (header, marks, *rows))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def escaped(text: str) -> str:
    """Text as HTML; surrogates (in file names that are not UTF-8) become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode())


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """A table in HTML; `classes` are the columns' CSS classes, "" for none."""
    marks = [f' class="{name}"' if name else "" for name in classes or [""] * len(header)]

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(cells, marks, strict=True)
        return "<tr>" + "".join(f"<{tag}{mark}>{escaped(cell)}</{tag}>" for cell, mark in pairs) + "</tr>"

    head, body = line("th", header), "".join(line("td", row) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def data_url(kind: str, content: bytes) -> str:
    """A file in a page itself; `kind` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def fill_page(template: str, **parts: str) -> str:
    """A page of `assets`; its $names are replaced by the HTML in `parts`."""
    return string.Template(read_asset(template)).substitute(parts)


def read_asset(name: str) -> str:
    """The text of a file of `assets`."""
    return importlib.resources.files("liqe_jax.assets").joinpath(name).read_text("utf-8")
