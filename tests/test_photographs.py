"""The list of photographs that liqe_nano learnt from: tables that agree, and the page made of them."""

from __future__ import annotations

import csv
from pathlib import Path

from liqe_jax.taxonomy import SCENE
from tools.photographs import PACKAGES, TABLE, Package, to_markdown

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
