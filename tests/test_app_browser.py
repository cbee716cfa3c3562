"""The page in a real browser, as somebody uses it on a desk and on a phone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from liqe_jax.errors import ImageError
from liqe_jax.images.decode import CUT_ADVICE, decode
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
    """Takes a picture; it is kept where LIQE_SCREENSHOTS says."""
    folder = os.environ.get("LIQE_SCREENSHOTS")
    picture = page.screenshot(full_page=True, path=Path(folder, f"{name}.png") if folder else None)
    assert len(picture) > 10_000


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_photographs_are_judged(browser, server, model, size):
    names = ["phone_portrait.jpg", "coffee.jpg"]
    with visiting(browser, server.url, *size) as page:
        troubles, elsewhere = [], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url))
        assert page.title() == "LIQE"
        assert page.get_by_text("tiny").first.is_visible()
        drop(page, "drop", *(SAMPLES / name for name in names))
        settled(page, "2 scored, 0 failed")

        rows = page.locator(".photo")
        assert rows.count() == 2
        for row, name in zip(rows.all(), names, strict=True):
            score = model.score(SAMPLES / name, preprocess="even")
            row.locator("label").click()
            assert row.locator(".name").inner_text() == name
            assert row.locator("label .number").inner_text() == f"{score.quality:.2f}"
            found = row.locator("label .found").inner_text()
            assert score.scene.replace("_", " ") in found
            assert score.distortion in found
            assert row.locator(".body").is_visible()
            shown = row.locator(".chart dd:not(.bars)").all_inner_texts()
            expected = [p for attribute in score.probabilities.values() for p in attribute.values()]
            assert shown == [f"{p:.1%}" for p in expected]
            quality = model.quality_map(SAMPLES / name, preprocess="even").quality
            assert f"mean {quality.mean():.2f}" in row.locator("figcaption").last.inner_text()
            photo, drawn = (row.locator(f"img.{kind}").bounding_box() for kind in ("picture", "map"))
            assert drawn["width"] == pytest.approx(photo["width"], abs=2)
            assert drawn["height"] == pytest.approx(photo["height"], abs=2)
            look(page, f"photographs-{size[0]}-{name}")
            assert sticking_out(page) == []
        # Only the row that was picked last shows its body, and the keyboard picks too.
        assert [row.locator(".body").is_visible() for row in rows.all()] == [False, True]
        page.keyboard.press("ArrowUp")
        assert [row.locator(".body").is_visible() for row in rows.all()] == [True, False]

        assert troubles == []
        assert [url for url in elsewhere if not url.startswith((server.url, "data:", "blob:"))] == []
    assert server.files() == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_two_photographs_are_compared(browser, server, model, size):
    with visiting(browser, server.url, *size) as page:
        page.get_by_role("tab", name="Compare").click()
        scores = {}
        for side, name in (("A", "phone_portrait.jpg"), ("B", "coffee.jpg"), ("A", "cat.jpg")):
            scores[side] = model.score(SAMPLES / name, preprocess="even")
            drop(page, f"drop-{side}", SAMPLES / name)
            card = page.locator(f"#card-{side}")
            card.locator(f"img.map[alt$='{name}']").wait_for()
            assert card.locator(".number").inner_text() == f"{scores[side].quality:.2f}"
            if len(scores) == 2:
                page.locator("#difference .keys", has_text=name).wait_for()
                a, b = (round(scores[key].quality, 2) for key in "AB")
                assert a != b
                said = page.locator("#difference p").first.inner_text()
                assert said == f"Quality: {'AB'[b > a]} is higher by {abs(a - b):.2f}."
            else:
                assert page.locator("#difference .keys").count() == 0
        left, right = (page.locator(f"#card-{side} img.picture").bounding_box() for side in "AB")
        assert left["x"] + left["width"] < right["x"]  # side by side, on a phone too
        look(page, f"compare-{size[0]}")
        assert sticking_out(page) == []
    assert server.files() == []


def test_bad_files_are_answered_in_words(browser, server, tmp_path):
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    bad = {
        "notes.txt": b"this is no image",
        "cut.jpg": (SAMPLES / "coffee.jpg").read_bytes()[:30_000],
        "<img src=x onerror=alert(1)>.png": b"\x89PNG\r\n\x1a\nnonsense",
    }
    with visiting(browser, server.url, *PHONE) as page:
        drop(page, "drop", *(file(name, content) for name, content in bad.items()), SAMPLES / "dandelions_small.jpg")
        settled(page, "1 scored, 3 failed")
        for (name, content), shown in zip(bad.items(), page.locator(".failed").all(), strict=True):
            with pytest.raises(ImageError) as refused:
                decode(content)
            assert shown.locator("strong").inner_text() == name
            words = str(refused.value).replace(CUT_ADVICE, "Drop the whole file.")
            assert shown.locator("p").inner_text() == words
        assert "enlarged" in page.locator(".photo .notes").inner_text()
        assert "Traceback" not in page.content()
        look(page, "bad-files")
        assert sticking_out(page) == []

        drop(page, "drop", file("large.jpg", b"0" * 1_200_000))
        page.get_by_text("maximum allowed size").first.wait_for()
        look(page, "too-large")
        # The page goes on.
        drop(page, "drop", SAMPLES / "cat.jpg")
        settled(page, "1 scored, 0 failed")
    assert server.files() == []


def test_the_server_ends_cleanly_while_somebody_looks(browser, model_folder):
    with served("--model", model_folder) as server, visiting(browser, server.url, *DESK) as page:
        drop(page, "drop", SAMPLES / "cat.jpg")
        settled(page, "1 scored, 0 failed")
        assert [path.name[:9] for path in server.temporary.iterdir() if path.name.startswith("liqe")] == ["liqe-app-"]
        assert server.end() == 0
        assert not [path for path in server.temporary.iterdir() if path.name.startswith("liqe")]
        assert "Traceback" not in "".join(server.said)
