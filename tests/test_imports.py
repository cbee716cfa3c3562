"""What imports what: parts form a DAG, and only the sides that may import heavy libraries do."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import liqe_jax

ROOT = Path(liqe_jax.__file__).parent

# Library -> parts that may import it, at the top of a file or within a function.
HEAVY = {
    "tensorflow": {"data"},
    "tensorflow_datasets": {"data"},
    "optax": {"train"},
    "orbax": {"train"},
    "matplotlib": {"evaluate", "compare", "train"},
    "pyarrow": {"scale"},
    "fsspec": {"scale"},
    "ray": {"scale"},
    "torch": set(),
    "transformers": set(),
}


def part_of(path: Path) -> str:
    """A folder of the package, or a file beside them."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


FILES = sorted(ROOT.rglob("*.py"))


def test_parts_form_a_dag():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        own = {name.split(".")[1] for name in imported(path) if name.startswith("liqe_jax.")}
        if path.parent != ROOT or path.name != "__init__.py":
            graph.setdefault(part_of(path), set()).update(own - {part_of(path), "__version__"})
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert order.index("images") < order.index("data") < order.index("evaluate")
    assert graph["metrics"] <= {"errors", "taxonomy"}
    assert not {"compare", "evaluate"} & (graph["train"] | graph["scoring"])
    of_scoring = [path for path in FILES if part_of(path) == "scoring"]
    users = [path.stem for path in of_scoring if any(name.startswith("liqe_jax.data.") for name in imported(path))]
    assert users == ["predict_set"]
    assert not any(needed & {"cli", "train"} for needed in graph.values())  # programs, which nothing rests on


def test_parts_of_data_form_a_dag():
    """A set does not know how it is read, and reading does not know how sets are prepared."""
    below = {
        "sets": {"labelled", "tables"},
        "reading": {"labelled"},
        "prepare": {"labelled", "named", "reading", "sets"},
    }
    for folder, allowed in below.items():
        for path in (ROOT / "data" / folder).glob("*.py"):
            needed = {name.split(".")[2] for name in imported(path) if name.startswith("liqe_jax.data.")}
            assert needed - {folder} <= allowed, path


def test_files_form_a_dag():
    """Cycles within a part too; imports within functions are left out, since they break none."""
    modules = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = set()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                found.update(target if target in modules else str(node.module) for target in whole)
        graph[name.removesuffix(".__init__")] = {target for target in found if target in modules}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_on_their_side(library):
    users = {part_of(path) for path in FILES if any(name.split(".")[0] == library for name in imported(path))}
    assert users <= HEAVY[library]
