"""A release is refused while something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tools import set_repository
from tools.check_release import faults_of

ROOT = Path(__file__).parent.parent
FILES = ("CITATION.cff", "CHANGELOG.md", "liqe_jax/__init__.py", *set_repository.PLACES)
ADDRESS = "https://github.com/somebody/liqe_jax"


def test_faults_of_a_release_are_found(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def rewrite(name: str, old: str, new: str) -> None:
        text = (tmp_path / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(old, new), "utf-8")

    set_repository.write(tmp_path, ADDRESS)
    rewrite("CHANGELOG.md", "(unreleased)", "(2030-01-01)")
    rewrite("liqe_jax/__init__.py", '__version__ = "0.1.0"', '__version__ = "9.9.9"')
    rewrite("CITATION.cff", "version: 0.1.0", "version: 9.9.9")
    assert faults_of(tmp_path, "v9.9.9") == []
    assert "The tag is v1" in faults_of(tmp_path, "v1")[0]
    rewrite("README.md", ADDRESS, "https://github.com/other/liqe_jax")
    assert "README.md: lacks the address" in faults_of(tmp_path)[0]
    rewrite("pyproject.toml", "github.com/somebody/", "github.com/OWNER/")
    rewrite("CHANGELOG.md", "(2030-01-01)", "(unreleased)")
    rewrite("CITATION.cff", "version: 9.9.9", "version: 0.1.0")
    rewrite("CHANGELOG.md", "## 0.1.0", "## 9.9.9")
    assert [fault.partition(":")[0] for fault in faults_of(tmp_path)] == [
        "pyproject.toml",
        "CITATION.cff",
        "CHANGELOG.md",
    ]


def test_the_address_is_written_where_a_reader_needs_it_and_can_change(tmp_path):
    for name in set_repository.PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    set_repository.write(tmp_path, "https://github.com/before/liqe_jax")
    set_repository.write(tmp_path, ADDRESS)
    assert set_repository.lacking(tmp_path) == []
    texts = {name: (tmp_path / name).read_text("utf-8") for name in set_repository.PLACES}
    assert not any("before/" in text or "OWNER/" in text for text in texts.values())
    assert f'\npip install "liqe_jax @ git+{ADDRESS}"  ' in texts["README.md"]
    assert f"git clone {ADDRESS} liqe && cd" in texts["docs/tutorials/tpu-pod.md"]
    notebook = json.loads(texts[set_repository.NOTEBOOK])
    assert f'SOURCE = "{ADDRESS}"\n' in notebook["cells"][2]["source"]
    assert notebook["cells"][0]["source"][1] == set_repository.badge_of(ADDRESS) + "\n"
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    assert text == texts[set_repository.NOTEBOOK]
