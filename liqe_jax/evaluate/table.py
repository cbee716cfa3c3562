"""Tables as Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from liqe_jax.markup import html_table, markdown_table

ABSENT = "\N{EN DASH}"


class Number(NamedTuple):
    """A number in a table with its decimals; NaN is an empty cell. A mark after the number refers to a note."""

    value: float
    digits: int = 3
    mark: str = ""

    def __str__(self) -> str:
        return ABSENT if math.isnan(self.value) else f"{self.value:.{self.digits}f}{self.mark}"


class Table(NamedTuple):
    """Rows of text and numbers; the first column names the row, notes are below, and `name` is that of its files."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Number]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Markdown with title and notes."""
        body = markdown_table(self.header, [[str(cell) for cell in row] for row in self.rows])
        return "\n\n".join([f"## {self.title}", body, *self.notes]) + "\n"

    def latex(self) -> str:
        """LaTeX: a `table` with a `tabular` that uses the booktabs package."""
        columns = "l" + "".join("r" if self._numeric(i) else "l" for i in range(1, len(self.header)))
        lines = [" & ".join(_latex(str(cell)) for cell in row) + r" \\" for row in (self.header, *self.rows)]
        caption = " ".join([f"{self.title.rstrip('.')}.", *self.notes])
        head = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}", rf"\label{{tab:{self.name}}}"]
        body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        return "\n".join([*head, *body, r"\end{tabular}", r"\end{table}", ""])

    def csv(self) -> str:
        """CSV: numbers with ten digits and without marks; empty cells for NaN.

        Further digits of a fitted curve can differ between processes, since sums depend on memory alignment.
        """
        file = io.StringIO()
        rows = [[_plain(cell) for cell in row] for row in self.rows]
        csv.writer(file, lineterminator="\n").writerows([self.header, *rows])
        return file.getvalue()

    def html(self) -> str:
        """HTML: a section with the title as its heading."""
        classes = ["" if self._numeric(i) else "text" for i in range(len(self.header))]
        table = html_table(self.header, [[str(cell) for cell in row] for row in self.rows], classes)
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self.notes)
        return (
            f'<section id="{self.name}"><h2>{html.escape(self.title)}</h2><div class="wide">{table}</div>{notes}'
            "</section>"
        )

    def _numeric(self, column: int) -> bool:
        return column > 0 and any(isinstance(row[column], Number) for row in self.rows)


def _plain(cell: str | Number) -> str:
    if isinstance(cell, Number):
        return "" if math.isnan(cell.value) else f"{cell.value:.10g}"
    return "" if cell == ABSENT else cell


_LATEX = {
    "\\": r"\textbackslash{}",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    ABSENT: "--",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
