"""Writes the address of the repository, once it is known, wherever a reader needs it.

    python tools/set_repository.py https://github.com/NAME/liqe_jax

pyproject.toml is the place that states it; README, notebook and the page on TPU pods follow. Run it again when the
repository moves. `tools/check_release.py` refuses a release in which one of them lacks the address.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Where the address stands in the text of each file: before and after it, and what stands there while it is not known.
PLACES = {
    "pyproject.toml": (r'^Repository = "', r'"$'),
    "README.md": (r"^pip install ", r"  +# "),
    "docs/tutorials/tpu-pod.md": (r"^    git clone ", r" liqe && cd"),
    "notebooks/liqe_colab.ipynb": (r'^    "SOURCE = \\"', r'\\"\\n",$'),
}
NOTEBOOK = "notebooks/liqe_colab.ipynb"


def address_of(root: Path) -> str:
    """The address that pyproject.toml states, with OWNER in it while it is not known."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]


def lacking(root: Path) -> list[str]:
    """The files that do not have the address that pyproject.toml states."""
    return [name for name in PLACES if address_of(root) not in (root / name).read_text("utf-8")]


def badge_of(address: str) -> str:
    """The line with the badge that opens the notebook in Colab."""
    path = address.removeprefix("https://github.com/")
    target = f"https://colab.research.google.com/github/{path}/blob/main/{NOTEBOOK}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"


def write(root: Path, address: str) -> None:
    """Writes the address.

    Args:
      root: the checkout.
      address: such as https://github.com/NAME/liqe_jax.
    """
    for name, (before, after) in PLACES.items():
        path = root / name
        shown = f'"liqe_jax @ git+{address}"' if name == "README.md" else address
        pattern = rf"(?P<before>{before}).*?(?P<after>{after})"
        text, count = re.subn(
            pattern, lambda found, shown=shown: found["before"] + shown + found["after"], path.read_text("utf-8"),
            count=1, flags=re.MULTILINE,
        )  # fmt: skip
        if not count:
            raise SystemExit(f"{path} has no place for the address; expected text that matches {pattern}")
        path.write_text(text, "utf-8")
    notebook = json.loads((root / NOTEBOOK).read_text("utf-8"))
    heading, *rest = [line for line in notebook["cells"][0]["source"] if "colab-badge" not in line]
    notebook["cells"][0]["source"] = [heading, badge_of(address) + "\n", *rest]
    (root / NOTEBOOK).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/?", sys.argv[1]):
        raise SystemExit(__doc__)
    write(ROOT, sys.argv[1].removesuffix("/").removesuffix(".git"))
