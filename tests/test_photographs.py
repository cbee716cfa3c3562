"""The list of photographs that liqe_nano learnt from: tables that agree, and the page made of them."""

from __future__ import annotations

import csv
import hashlib
import subprocess
from pathlib import Path

from PIL import Image

from liqe_jax.taxonomy import SCENE
from tools.photographs import PACKAGES, TABLE, Package, collect, to_markdown

from .conftest import photograph

PAGE = Path(__file__).parent.parent / "docs" / "photographs.md"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_photograph_is_of_a_listed_package_and_is_there_once():
    rows, packages = rows_of(TABLE), rows_of(PACKAGES)
    assert {row["package"] for row in rows} == {package["name"] for package in packages}
    assert len({package["name"] for package in packages}) == len(packages)
    for column in ("name", "sha256"):
        assert len({row[column] for row in rows}) == len(rows), column
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert {scene for row in rows for scene in row["scenes"].split()} <= set(SCENE.labels)


def test_every_package_has_a_client_a_licence_and_an_author():
    for package in rows_of(PACKAGES):
        assert package["kind"] in ("apt", "git", "npm", "pip")
        assert bool(package["version"]) == (package["kind"] != "apt"), package["name"]
        assert package["licence"]
        assert package["author"]


def test_the_page_is_made_of_the_tables():
    packages = [Package(**row) for row in rows_of(PACKAGES)]
    assert PAGE.read_text("utf-8") == to_markdown(packages, rows_of(TABLE))


def test_photographs_of_a_repository_are_those_of_the_commit(tmp_path, monkeypatch):
    """A repository on this disk stands for one on GitHub."""
    repository, settings = tmp_path / "repository", tmp_path / "gitconfig"
    settings.write_text(
        f'[url "file://{repository}"]\n\tinsteadOf = https://github.com/someone/photos\n'
        "[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n"
        "[user]\n\tname = someone\n\temail = someone@example.org\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    repository.mkdir()
    git("init", "--quiet")
    for name, seed in (("wanted", 1), ("other", 2)):
        Image.fromarray(photograph(60, 80, seed)).save(repository / f"{name}.png")
    git("add", ".")
    git("commit", "--quiet", "--message", "both")
    commit = git("rev-parse", "HEAD")
    original = (repository / "wanted.png").read_bytes()
    git("rm", "--quiet", "wanted.png")
    git("commit", "--quiet", "--message", "one")
    package = Package("git", "someone/photos", commit, "CC0-1.0", "someone")
    row = {"package": package.name, "split": "train", "scenes": "", "sha256": hashlib.sha256(original).hexdigest()}
    rows = [{**row, "name": "wanted", "path": "wanted.png"}, {**row, "name": "changed", "path": "other.png"}]
    records, left_out = collect([package], rows, tmp_path)
    assert [(record["file"], record["scenes"]) for record in records] == [("train/wanted.png", [])]
    assert (tmp_path / "train" / "wanted.png").read_bytes() == original
    assert left_out == ["changed: someone/photos has another or no file at other.png"]
