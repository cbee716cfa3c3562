"""The page and the gallery in a real browser, on a desk and on a phone."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from liqe_jax.cli.main import main
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import Model
from liqe_jax.weights.native import write_native

from .browser import Server, drop, headless, installed, served, settled, sticking_out, visiting
from .conftest import SAMPLES

DESK, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = installed()
    if path is None:
        hint = "no Chromium is installed; tools/browser.sh installs one"
        pytest.fail(hint) if os.environ.get("CI") == "true" else pytest.skip(hint)
    with headless(path) as started:
        yield started


@pytest.fixture(scope="module")
def sharp_folder(checkpoint, tmp_path_factory) -> Path:
    """The tiny model, with logits that tell photographs apart in the digits that are shown."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    scale = np.asarray(np.log(1000), np.float32)
    write_native(folder, dataclasses.replace(checkpoint, flat={**checkpoint.flat, "logit_scale": scale}))
    return folder


@pytest.fixture(scope="module")
def model(sharp_folder) -> Model:
    return load(sharp_folder, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def server(sharp_folder) -> Iterator[Server]:
    with served("--model", sharp_folder, "--max-megabytes", "1") as started:
        yield started


def look(page, name: str) -> None:
    """Takes a screenshot, which LIQE_SCREENSHOTS keeps."""
    folder = os.environ.get("LIQE_SCREENSHOTS")
    picture = page.screenshot(full_page=True, path=Path(folder, f"{name}.png") if folder else None)
    assert len(picture) > 10_000


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_photographs_are_scored_sorted_and_downloaded(browser, server, model, size, tmp_path):
    (tmp_path / "<img src=x onerror=alert(1)>.png").write_bytes(b"nonsense")
    (tmp_path / "large.jpg").write_bytes(b"0" * 1_200_000)
    names = ["phone_portrait.jpg", "coffee.jpg", "cat.jpg"]
    scores = {name: model.score(SAMPLES / name, preprocess="even") for name in names}
    with visiting(browser, server.url, *size) as page:
        troubles, elsewhere = [], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url))
        drop(page, "drop", *(SAMPLES / name for name in names), *tmp_path.iterdir())
        settled(page, "3 scored, 2 failed")
        rows = page.locator("details.photo")
        assert rows.locator(".name").all_inner_texts() == names
        assert page.locator(".failed strong").all_inner_texts() == [path.name for path in tmp_path.iterdir()]

        row = rows.first
        row.locator("summary").click()
        row.locator("img.map").wait_for()
        assert row.locator("summary .number").inner_text() == f"{scores[names[0]].quality:.2f}"
        shown = row.locator(".shares").all_inner_texts()
        expected = [p for attribute in scores[names[0]].probabilities.values() for p in attribute.values()]
        assert shown == [f"{100 * p:.1f}%" for p in expected]
        quality = model.quality_map(SAMPLES / names[0], preprocess="even").quality
        assert f"mean {quality.mean():.2f}" in row.locator("figcaption").last.inner_text()
        look(page, f"page-{size[0]}")
        assert sticking_out(page) == []

        page.locator("select[name=sort]").select_option("quality up")
        by_quality = sorted(names, key=lambda name: scores[name].quality)
        assert rows.locator(".name").all_inner_texts() == by_quality
        page.locator("input[name=find]").fill("coffee")
        assert rows.count() == 1
        assert page.get_by_text("1 of 5 shown").is_visible()
        page.locator("input[name=find]").fill("")
        with page.expect_download() as download:
            page.get_by_text("Download CSV").click()
        table = [*csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8")))]
        assert [entry["image"] for entry in table[:3]] == by_quality
        assert float(table[0]["quality"]) == pytest.approx(scores[by_quality[0]].quality, abs=1e-4)
        assert troubles == []
        assert [url for url in elsewhere if not url.startswith((server.url, "data:", "blob:"))] == []
    assert server.files() == []


def test_many_photographs_are_scored_in_turns_and_can_be_cancelled(browser, server, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.jpg").write_bytes((SAMPLES / "dandelions_small.jpg").read_bytes())
    files = sorted(tmp_path.iterdir())
    with visiting(browser, server.url, *DESK) as page:
        drop(page, "drop", *files[:22])
        drop(page, "drop", *files[22:25])  # waits for the first
        settled(page, "25 scored, 0 failed")
        assert page.locator("details.photo").count() == 25
        drop(page, "drop", *files)
        page.locator("details.photo").nth(25).wait_for()
        page.get_by_text("Cancel").click()
        settled(page, "cancelled")
        assert 25 < page.locator("details.photo").count() < 55


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_two_photographs_are_compared(browser, server, model, size):
    with visiting(browser, server.url, *size) as page:
        page.get_by_role("tab", name="Compare").click()
        scores = {}
        for side, name in (("A", "phone_portrait.jpg"), ("B", "coffee.jpg"), ("A", "cat.jpg")):
            scores[side] = model.score(SAMPLES / name, preprocess="even")
            drop(page, f"drop-{side}", SAMPLES / name)
            page.locator(f"#card-{side} img.picture[alt='{name}']").wait_for()
            assert page.locator(f"#card-{side} .number").inner_text() == f"{scores[side].quality:.2f}"
            if len(scores) == 1:  # a map would delay the other photograph's score
                assert page.locator(f"#card-{side} .map").count() == 0
            if len(scores) == 2:
                a, b = (round(scores[key].quality, 2) for key in "AB")
                assert a != b
                said = page.locator("#difference p").first.inner_text()
                assert said == f"Quality: {'AB'[b > a]} is higher by {abs(a - b):.2f}."
        for side, name in (("A", "cat.jpg"), ("B", "coffee.jpg")):
            page.locator(f"#card-{side} img.map[alt$='{name}']").wait_for()
        left, right = (page.locator(f"#card-{side} img.picture").bounding_box() for side in "AB")
        assert left["x"] + left["width"] < right["x"]  # side by side, on a phone too
        look(page, f"compare-{size[0]}")
        assert sticking_out(page) == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_gallery_works_from_the_disk(browser, sharp_folder, model, size, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "gallery"
    arguments = ["score", str(SAMPLES), "--model", str(sharp_folder), "--worst", "4", "--percentile"]
    assert main([*arguments, "--gallery", str(folder), "--quiet"]) == 0
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True)
    try:
        page = context.new_page()
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto((folder / "index.html").as_uri())
        rows = page.locator("details.photo")
        assert rows.count() == 4
        scores = sorted(model.score(path).quality for path in SAMPLES.glob("*.jpg"))
        assert rows.locator("summary .number").all_inner_texts() == [f"{score:.2f}" for score in scores[:4]]
        rows.first.locator("summary").click()
        rows.first.locator("img.map").wait_for()
        assert page.evaluate("[...document.querySelectorAll('.body img')].every(image => image.complete)")
        page.locator("select[name=sort]").select_option("quality down")
        assert rows.locator("summary .number").all_inner_texts() == [f"{score:.2f}" for score in scores[3::-1]]
        page.locator("input[name='most quality']").fill(f"{scores[1] + 1e-6}")
        assert page.get_by_text(" of 4 shown").inner_text() == "2 of 4 shown"
        page.locator("input[name='most quality']").fill("5")
        look(page, f"gallery-{size[0]}")
        assert sticking_out(page) == []
        page.emulate_media(media="print")
        assert not page.locator(".tools").is_visible()
        assert troubles == []
    finally:
        context.close()


def test_the_server_ends_cleanly_while_somebody_looks(browser, model_folder):
    with served("--model", model_folder) as server, visiting(browser, server.url, *DESK) as page:
        drop(page, "drop", SAMPLES / "cat.jpg")
        settled(page, "1 scored, 0 failed")
        assert server.end() == 0
        assert "Traceback" not in "".join(server.said)
