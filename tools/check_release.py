"""Checks what a release needs: an address, one version everywhere, and a tag of that version.

python tools/check_release.py [TAG]
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def faults_of(root: Path, tag: str | None = None) -> list[str]:
    """What keeps a checkout from being released.

    Args:
      root: the checkout.
      tag: the tag of the release, such as v0.1.0; None leaves it unchecked.
    """
    faults = []
    urls = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    if "OWNER" in urls["Repository"]:
        faults.append("pyproject.toml: project.urls.Repository still has the placeholder OWNER; write the address.")
    (version,) = re.findall(r'^__version__ = "(.+)"$', (root / "liqe_jax" / "__init__.py").read_text("utf-8"), re.M)
    (cited,) = re.findall(r"^version: (.+)$", (root / "CITATION.cff").read_text("utf-8"), re.M)
    if cited != version:
        faults.append(f"CITATION.cff: version {cited}, and liqe_jax has {version}.")
    if f"## {version} (unreleased)" in (root / "CHANGELOG.md").read_text("utf-8"):
        faults.append(f"CHANGELOG.md: {version} is marked as unreleased; write the date.")
    if tag is not None and tag != f"v{version}":
        faults.append(f"The tag is {tag}; expected v{version}.")
    return faults


if __name__ == "__main__":
    found = faults_of(ROOT, *sys.argv[1:2])
    print("\n".join(found), file=sys.stderr)
    sys.exit(bool(found))
