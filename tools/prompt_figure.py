"""Draws how prompts are shared, with the packing that the model uses.

    python tools/prompt_figure.py docs/figures/prompt-sharing.svg

The prompts are eight of LIQE's sentences, so that there is room for every token; the figure in
docs/prompt-sharing.md is what this writes (tests/test_docs.py compares).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from liqe_jax.encoders.clip_prompts import PackedRows, pack_prompts
from liqe_jax.tasks import Attribute, TaskSet
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.tokenizer import Tokenizer

TASKS = TaskSet(
    "figure",
    (
        Attribute("quality", ("bad", "good")),
        Attribute("scene", ("animal", "night")),
        Attribute("distortion", ("blur", "noise")),
    ),
    JOINT.template,
)
ROW_LENGTH = 32  # two rows, so that one sees what is repeated

WIDTH = 1120
INK, FAINT, PAPER = "#1f2933", "#9aa5b1", "#ffffff"
FIRST, SECOND, BOTH = "#cfe3f7", "#fbe0c3", "#dfdcf0"  # tokens of the first row, of the second, of both
SEEN, LOOKING = "#3f6fa8", "#c2410c"

Prefix = tuple[int, ...]


def text(
    x: float, y: float, words: str, size: int = 14, anchor: str = "start", colour: str = INK, extra: str = ""
) -> str:
    """One line of text; y is its base line."""
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"{extra}'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, extra: str = "") -> str:
    """A filled rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{extra}/>'


def prefixes(packed: PackedRows, row: int) -> list[Prefix]:
    """The sentence up to each token of a row, read off the mask."""
    result = []
    for column in range(packed.mask.shape[1]):
        ancestors = np.flatnonzero(packed.mask[row, column])
        ancestors = ancestors[np.argsort(packed.positions[row, ancestors])]
        result.append(tuple(packed.token_ids[row, ancestors].tolist()))
    return result


def trie(rows: list[list[Prefix]], words: dict[int, str], top: float) -> Iterator[str]:
    """All distinct beginnings: depth from left to right, a line for each sentence."""
    colours = {prefix: (FIRST, SECOND)[row] for row in (0, 1) for prefix in rows[row]}
    colours |= dict.fromkeys(set(rows[0]) & set(rows[1]), BOTH)
    leaves = sorted(prefix for prefix in colours if not any(o[:-1] == prefix for o in colours))
    step, height, left = 68, 26, 16
    line = {leaf: number for number, leaf in enumerate(leaves)}
    for prefix in sorted(colours, key=len, reverse=True):
        children = [line[other] for other in colours if other[:-1] == prefix]
        if children:
            line[prefix] = min(children)
    for prefix, colour in sorted(colours.items()):
        x, y = left + (len(prefix) - 1) * step, top + line[prefix] * height
        if len(prefix) > 1:
            parent = top + line[prefix[:-1]] * height + 10
            yield f'<path d="M{x - 8:g} {parent:g}V{y + 10:g}H{x:g}" fill="none" stroke="{FAINT}"/>'
        yield box(x, y, step - 8, 20, colour, ' rx="4"')
        yield text(x + (step - 8) / 2, y + 14, words[prefix[-1]], 13, "middle")


def mask(packed: PackedRows, row: int, words: dict[int, str], looking: int, left: float, top: float) -> Iterator[str]:
    """Which token (line) attends to which (column) in one row; one line is marked."""
    cell = 12.5
    count = packed.token_ids.shape[1]
    colour = (FIRST, SECOND)[row]
    yield text(
        left, top - 74, f"row {row + 1}: each token attends to its ancestors and itself", 15, extra=' font-weight="600"'
    )
    for i, token in enumerate(packed.token_ids[row].tolist()):
        shade = LOOKING if i == looking else INK
        middle = (i + 0.5) * cell
        yield text(left - 6, top + middle + 3.5, words[token], 11, "end", shade)
        turned = f' transform="rotate(-90 {left + middle + 3.5:g} {top - 6:g})"'
        yield text(left + middle + 3.5, top - 6, words[token], 11, colour=shade, extra=turned)
        for j in np.flatnonzero(packed.mask[row, i]).tolist():
            yield box(
                left + j * cell + 0.5, top + i * cell + 0.5, cell - 1, cell - 1, LOOKING if i == looking else SEEN
            )
    yield box(left, top, count * cell, count * cell, "none", f' stroke="{FAINT}"')
    for i in packed.ends[row].tolist():  # the ends, whose outputs are read
        yield box(left + count * cell + 4, top + i * cell + 2, 8, cell - 4, colour, f' stroke="{FAINT}"')


def figure() -> str:
    """The SVG."""
    tokenizer = Tokenizer.default()
    token_ids = tokenizer(TASKS.prompts)
    end = int(token_ids.max())
    words = {number: token.removesuffix("</w>") for token, number in tokenizer.vocab.items()}
    words |= {end: "end", end - 1: "start"}
    packed = pack_prompts(token_ids, end, ROW_LENGTH).rows
    rows = [prefixes(packed, row) for row in range(len(packed.token_ids))]
    distinct = len(set(rows[0]) | set(rows[1]))
    real = int(sum(row.index(end) + 1 for row in token_ids.tolist()))
    prompts, context = token_ids.shape

    parts = [
        text(
            16,
            28,
            f"{prompts} sentences of {context} positions are {prompts * context} tokens, of which {real} are real. "
            f"They have {distinct} distinct beginnings:",
            15,
        ),
        *trie(rows, words, 46),
    ]
    legend = 46 + prompts * 26 + 18
    for x, colour, words_of_it in (
        (16, FIRST, "in row 1"),
        (116, SECOND, "in row 2"),
        (216, BOTH, "in both: repeated"),
    ):
        parts += [box(x, legend - 11, 14, 14, colour, ' rx="3"'), text(x + 20, legend, words_of_it)]
    length = packed.token_ids.shape[1]
    parts.append(
        text(
            400,
            legend,
            f"Packed into {len(rows)} rows of {length} tokens: {len(rows) * length} instead of {prompts * context}.",
        )
    )
    top = legend + 140
    # In the first row the last "good", in the second the last "bad": far from their ancestors.
    for row, label in ((0, "good"), (1, "bad")):
        looking = max(i for i, token in enumerate(packed.token_ids[row].tolist()) if words[token] == label)
        parts += mask(packed, row, words, looking, 80 + row * 550, top)
    bottom = top + 12.5 * length + 26
    parts.append(
        text(
            16,
            bottom,
            "Orange: one token and what it sees, which is its own sentence so far. Small squares on the right: "
            "the ends of sentences, whose outputs are the text features.",
        )
    )
    height = bottom + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'font-family="system-ui, sans-serif">',
            "<title>How prompts share their beginnings</title>",
            box(0, 0, WIDTH, height, PAPER),
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Expected the file to write: python tools/prompt_figure.py docs/figures/prompt-sharing.svg")
    Path(sys.argv[1]).write_text(figure(), "utf-8")
