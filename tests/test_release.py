"""A release is refused while something is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.check_release import faults_of

ROOT = Path(__file__).parent.parent
FILES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "liqe_jax/__init__.py")


def test_faults_of_a_release_are_found(tmp_path):
    (tmp_path / "liqe_jax").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)

    def rewrite(name: str, old: str, new: str) -> None:
        text = (tmp_path / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(old, new), "utf-8")

    rewrite("pyproject.toml", "github.com/OWNER/", "github.com/somebody/")
    rewrite("CHANGELOG.md", "(unreleased)", "(2030-01-01)")
    rewrite("liqe_jax/__init__.py", '__version__ = "0.1.0"', '__version__ = "9.9.9"')
    rewrite("CITATION.cff", "version: 0.1.0", "version: 9.9.9")
    assert faults_of(tmp_path, "v9.9.9") == []
    assert "The tag is v1" in faults_of(tmp_path, "v1")[0]
    rewrite("pyproject.toml", "github.com/somebody/", "github.com/OWNER/")
    rewrite("CHANGELOG.md", "(2030-01-01)", "(unreleased)")
    rewrite("CITATION.cff", "version: 9.9.9", "version: 0.1.0")
    rewrite("CHANGELOG.md", "## 0.1.0", "## 9.9.9")
    assert [fault.partition(":")[0] for fault in faults_of(tmp_path)] == [
        "pyproject.toml",
        "CITATION.cff",
        "CHANGELOG.md",
    ]
