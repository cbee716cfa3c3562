"""Draws the import graph of the package: a box for each part, in layers, with arrows to what it imports.

    python tools/architecture_figure.py docs/figures/architecture.svg

A part is a folder of `liqe_jax` or a file beside the folders. An arrow that a chain of other arrows implies is left
out. The figure in docs/architecture.md is what this writes (tests/test_docs.py compares).
"""

from __future__ import annotations

import ast
import graphlib
import sys
from html import escape
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "liqe_jax"

# Libraries that a box names, by the name that is imported.
LIBRARIES = {
    "jax": "JAX",
    "tokenizers": "tokenizers",
    "PIL": "Pillow",
    "safetensors": "safetensors",
    "cv2": "OpenCV",
    "scipy": "SciPy",
    "tensorflow": "TensorFlow",
    "matplotlib": "matplotlib",
    "optax": "optax",
    "orbax": "Orbax",
}

BOX_WIDTH, BOX_HEIGHT, GAP, BEND_WIDTH, LAYER_HEIGHT, MARGIN = 124, 50, 16, 18, 96, 20
LINE_LENGTH = 20  # letters of the smaller lines in a box
SWEEPS = 24  # over all layers, to shorten arrows; the order no longer changes after a few

Node = tuple[str, ...]  # (part,), or (from, to, layer) where an arrow passes a layer


def imports(package: Path = PACKAGE) -> tuple[dict[str, set[str]], dict[str, list[str]]]:
    """What every part imports, within functions and by `require` too: other parts, and libraries of `LIBRARIES`."""
    parts: dict[str, set[str]] = {}
    libraries: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path == package / "__init__.py":
            continue  # it names everything and imports it when first used
        part = path.relative_to(package).parts[0].removesuffix(".py")
        names = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":  # liqe_jax/imports.py
                names.update(str(word.value) for word in node.args if isinstance(word, ast.Constant))
        own = {name.split(".")[1] for name in names if name.startswith(f"{package.name}.")}
        parts.setdefault(part, set()).update(own - {part, "__version__"})
        libraries.setdefault(part, set()).update(name.split(".")[0] for name in names)
    named = {part: [shown for name, shown in LIBRARIES.items() if name in used] for part, used in libraries.items()}
    return parts, named


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without arrows that a chain of other arrows implies."""
    below: dict[str, set[str]] = {}
    for part in graphlib.TopologicalSorter(graph).static_order():
        below[part] = graph[part].union(*(below[other] for other in graph[part]))
    return {
        part: {other for other in needed if not any(other in below[between] for between in needed)}
        for part, needed in graph.items()
    }


def layers_of(graph: dict[str, set[str]]) -> dict[str, int]:
    """The layer of each part, from 0 at the bottom: one below the lowest part that imports it."""
    depths: dict[str, int] = {}
    for part in reversed(list(graphlib.TopologicalSorter(graph).static_order())):
        depths[part] = 1 + max((depths[user] for user, needed in graph.items() if part in needed), default=-1)
    return {part: max(depths.values()) - depth for part, depth in depths.items()}


def chains(graph: dict[str, set[str]], layers: dict[str, int]) -> list[list[Node]]:
    """Every arrow as the nodes that it passes, from the top down."""
    return [
        [(part,), *((part, other, str(layer)) for layer in range(layers[part] - 1, layers[other], -1)), (other,)]
        for part in sorted(graph)
        for other in sorted(graph[part])
    ]


def placed(layers: dict[str, int], arrows: list[list[Node]]) -> tuple[dict[Node, float], float]:
    """Horizontal centres of all nodes, and the width of the widest layer."""
    rows: list[list[Node]] = [[] for _ in range(max(layers.values()) + 1)]
    for part in sorted(layers):
        rows[layers[part]].append((part,))
    neighbours: dict[Node, list[Node]] = {(part,): [] for part in layers}
    for arrow in arrows:
        for node in arrow[1:-1]:
            rows[int(node[2])].append(node)
            neighbours[node] = []
        for one, other in pairwise(arrow):
            neighbours[one].append(other)
            neighbours[other].append(one)
    width = max(sum(map(_width, row)) for row in rows)
    centres: dict[Node, float] = {}
    for row in rows:
        centres.update(_spread(row, width))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wished = {node: sum(centres[n] for n in neighbours[node]) / max(1, len(neighbours[node])) for node in row}
            row.sort(key=lambda node, wished=wished: (wished[node], node))
            centres.update(_spread(row, width, wished))
    return centres, width


def _width(node: Node) -> int:
    return (BOX_WIDTH if len(node) == 1 else BEND_WIDTH) + GAP


def _spread(row: list[Node], width: float, wished: dict[Node, float] | None = None) -> dict[Node, float]:
    """A row from left to right: where each node is wished, or evenly, but never closer than their widths allow."""
    free = (width - sum(map(_width, row))) / (len(row) + 1)
    starts, x = [], 0.0
    for node in row:
        x += free
        starts.append(x if wished is None else wished[node] - _width(node) / 2)
        x += _width(node)
    edge = width
    for number in reversed(range(len(row))):  # nothing beyond the right edge
        starts[number] = min(starts[number], edge - _width(row[number]))
        edge = starts[number]
    edge = 0.0
    for number, node in enumerate(row):  # nor beyond the left one
        starts[number] = max(starts[number], edge)
        edge = starts[number] + _width(node)
    return {node: start + _width(node) / 2 for node, start in zip(row, starts, strict=True)}


def figure(package: Path = PACKAGE) -> str:
    """The whole figure."""
    graph, libraries = imports(package)
    layers = layers_of(graph)
    arrows = chains(reduced(graph), layers)
    centres, width = placed(layers, arrows)
    top = max(layers.values())

    def y_of(node: Node) -> float:
        layer = layers[node[0]] if len(node) == 1 else int(node[2])
        return MARGIN + (top - layer) * LAYER_HEIGHT + BOX_HEIGHT / 2

    body = [_curve([(centres[node] + MARGIN, y_of(node)) for node in arrow]) for arrow in arrows]
    for part in sorted(layers):
        body += _box(part, libraries[part], centres[(part,)] + MARGIN, y_of((part,)), (package / part).is_dir())
    height = 2 * MARGIN + top * LAYER_HEIGHT + BOX_HEIGHT
    size = f'viewBox="0 0 {width + 2 * MARGIN:.0f} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif">',
            "<title>The parts of liqe_jax and what they import</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto">',
            '<path d="M0,0 L8,4 L0,8 z" fill="#7b8794"/></marker></defs>',
            f'<rect width="{width + 2 * MARGIN:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _curve(points: list[tuple[float, float]]) -> str:
    """An arrow through points, vertical at each."""
    (left, top), *bends, (right, bottom) = points
    top, bottom = top + BOX_HEIGHT / 2, bottom - BOX_HEIGHT / 2 - 1
    path = f"M{left:.0f},{top:.0f}"
    for (x0, y0), (x1, y1) in pairwise([(left, top), *bends, (right, bottom)]):
        middle = (y0 + y1) / 2
        path += f" C{x0:.0f},{middle:.0f} {x1:.0f},{middle:.0f} {x1:.0f},{y1:.0f}"
    return f'<path d="{path}" fill="none" stroke="#7b8794" stroke-width="1.2" marker-end="url(#tip)"/>'


def _box(part: str, libraries: list[str], x: float, y: float, is_folder: bool) -> list[str]:
    fill = "#cfe3f7" if is_folder else "#fbe0c3"
    corner = f'x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}"'
    lines = [f'<rect {corner} width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{fill}" stroke="#52606d"/>']
    small = _wrapped(libraries)
    first = y + 5 - 7 * len(small)
    lines.append(
        f'<text x="{x:.0f}" y="{first:.0f}" font-size="15" text-anchor="middle" fill="#1f2933">{escape(part)}</text>'
    )
    for number, words in enumerate(small):
        lines.append(
            f'<text x="{x:.0f}" y="{first + 14 + 12 * number:.0f}" font-size="11" text-anchor="middle" '
            f'fill="#52606d">{escape(words)}</text>'
        )
    return lines


def _wrapped(names: list[str]) -> list[str]:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + 2 + len(name) <= LINE_LENGTH:
            lines[-1] += f", {name}"
        else:
            lines.append(name)
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Expected the file to write: python tools/architecture_figure.py docs/figures/architecture.svg")
    Path(sys.argv[1]).write_text(figure(), "utf-8")
