"""Checks what a release needs: an address, one version everywhere, and a tag of that version.

python tools/check_release.py [TAG]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for tools/

from tools.set_repository import address_of, lacking

ROOT = Path(__file__).parent.parent


def faults_of(root: Path, tag: str | None = None) -> list[str]:
    """What keeps a checkout from being released.

    Args:
      root: the checkout.
      tag: the tag of the release, such as v0.1.0; None leaves it unchecked.
    """
    faults = []
    if "OWNER" in address_of(root):
        faults.append("pyproject.toml: the address has the placeholder OWNER; run tools/set_repository.py ADDRESS.")
    else:
        faults += [f"{name}: lacks the address; run tools/set_repository.py ADDRESS." for name in lacking(root)]
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
