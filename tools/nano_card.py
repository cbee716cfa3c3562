"""Puts the figures that `benchmarks/nano.py` printed into the tables of docs/liqe_nano.md and README.md.

python benchmarks/nano.py photos --sections own other stored pristine edits > all.txt
python benchmarks/nano.py photos --limit 8 --sections sizes resized > sizes.txt
python tools/nano_card.py all.txt sizes.txt
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
CARD, README = ROOT / "docs" / "liqe_nano.md", ROOT / "README.md"
FIGURES = ("SRCC", "PLCC", "category", "D", "L", "L by opinion", "P")

_SUMMARY = re.compile(
    r"^(own|others'), (\d+)(?: resized to (\d+)| stored as (.+?))?(?:, (\d+) photographs)?: (SRCC .*)$"
)
_KIND = re.compile(
    r"^ +(\d+) (.+?) +D (\S+)  L (\S+)  category (\S+)  scores (.+?)  opinions (.+?)(?:  measured (\d+%))?$"
)
_PRISTINE = re.compile(r"^pristine at (\d+): mean (\S+)  lowest (\S+) .*above 4: (\d+ of \d+)$")
_PRISTINE_STORED = re.compile(
    r"^pristine stored as (.+?): mean (\S+), before \S+  most lost (\S+)  "
    r"more than 0.3 lost: (\d+)  above 4: (\d+ of \d+)$"
)


def read(lines: Iterable[str]) -> dict[str, list[str]]:
    """Name of a table's row or rows -> those rows, as Markdown cells."""
    rows: dict[str, list[str]] = {}
    kinds: list[str] = []
    for line in lines:
        if found := _KIND.match(line):
            kind, name, *figures, scores, opinions, measured = found.groups()
            said = [", ".join(values.split()) for values in (scores, opinions)]
            kinds.append(" | ".join([f"{kind} {name}", *figures, *said, *([measured] if measured else [])]))
        elif found := _SUMMARY.match(line):
            make, side, resized, stored, photographs, rest = found.groups()
            values = {name: float(value) for name, value in (pair.rsplit(" ", 1) for pair in rest.split("  "))}
            cells = " | ".join(f"{values[name]:.3f}" for name in FIGURES)
            if resized:
                rows.setdefault("resized", []).append(f"{resized} | {cells}")
            elif stored:
                rows.setdefault("stored", []).append(f"{stored} | {cells}")
            elif side == "512":
                rows[make], rows[f"{make} by type"] = [cells], kinds
            else:
                rows.setdefault("sizes", []).append(f"{side} | {photographs} | {cells}")
            kinds = []
        elif found := _PRISTINE.match(line):
            rows.setdefault("pristine", []).append(" | ".join(found.groups()))
        elif found := _PRISTINE_STORED.match(line):
            rows.setdefault("pristine stored", []).append(" | ".join(found.groups()))
    return rows


def replaced_row(text: str, first_cell: str, cells: str) -> str:
    """The text with other cells after the first of one row.

    Raises:
      SystemExit: there is no such row, or more than one.
    """
    pattern = re.compile(rf"^\| {re.escape(first_cell)} \|.*$", re.MULTILINE)
    changed, count = pattern.subn(f"| {first_cell} | {cells} |", text)
    if count != 1:
        raise SystemExit(f"Expected one row that starts with {first_cell!r}; found {count}. Look at the table.")
    return changed


def replaced_table(text: str, after: str, header: str, rows: list[str]) -> str:
    """The text with other rows in the first table with this header after some words."""
    start = text.index(header, text.index(after))
    body = text.index("\n", text.index("\n", start) + 1) + 1
    end = text.index("\n\n", body) + 1
    return text[:body] + "".join(f"| {row} |\n" for row in rows) + text[end:]


def rewritten(card: str, readme: str, rows: dict[str, list[str]]) -> tuple[str, str]:
    """Both pages with the rows that `read` found."""
    whole = {
        "own": ("ours, all 25 types, longest side 512; all 33 photographs; `--sections own`", "ours, 33 photographs"),
        "others'": (
            "other libraries', 16 types, longest side 512; all 33 photographs; `--sections other`",
            "other libraries', 16 types, 33 photographs",
        ),
    }
    tables = {
        "own by type": ("Of our own damage, type by type", "| type | D | L by opinion"),
        "others' by type": ("Of other libraries' damage", "| type | D | L by opinion"),
        "sizes": ("Our own damage at other sizes", "| longest side | photographs"),
        "resized": ("Pictures damaged at 512 pixels", "| longest side | SRCC"),
        "stored": ("Our own damage, stored", "| stored as | SRCC"),
        "pristine stored": ("Undamaged photographs, stored", "| stored as | mean score"),
        "pristine": ("Undamaged photographs", "| longest side | mean score"),
    }
    for name, cells in rows.items():
        if name in whole:
            card = replaced_row(card, whole[name][0], cells[0])
            readme = replaced_row(readme, whole[name][1], cells[0])
        else:
            card = replaced_table(card, *tables[name], cells)
    return card, readme


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, nargs="+", help="what the benchmark printed")
    rows = read(line for path in parser.parse_args().outputs for line in path.read_text().splitlines())
    card, readme = rewritten(CARD.read_text(), README.read_text(), rows)
    CARD.write_text(card)
    README.write_text(readme)


if __name__ == "__main__":
    main()
