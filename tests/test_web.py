"""The page that scores in the browser, in a real one: its scores are those of `liqe score`."""

from __future__ import annotations

import functools
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import liqe_jax
from liqe_jax.scoring.shown import shown_label

from .browser import headless, installed, sticking_out
from .conftest import SAMPLES, photograph

DIST = Path(__file__).parent.parent / "web" / "dist"
TOLERANCE = 0.02  # of a score: decoders differ
PATIENCE = 300_000  # milliseconds, on a very busy machine

pytestmark = pytest.mark.optimised


def missing(hint: str) -> None:
    # CI may have no way to npm's registry; the public workflow has one, and sets this.
    pytest.fail(hint) if os.environ.get("LIQE_REQUIRE_WEB") == "1" else pytest.skip(hint)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of the built page, served as any static host would."""
    if not (DIST / "build.js").exists():
        missing("the page is not built; make web builds it, with npm")
    handler = functools.partial(Quiet, directory=str(DIST))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(url) -> Iterator:
    path = installed()
    if path is None:
        missing("no Chromium is installed; tools/browser.sh installs one")
    with headless(path) as started:
        yield started


@pytest.fixture(scope="module")
def nano():
    return liqe_jax.load(devices=jax.devices()[:1])


def visit(browser, url, width, height):
    """A page with a list of its troubles and of what it asked for."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(PATIENCE)
    page.troubles, page.asked = [], []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(url)
    return page


@pytest.fixture(scope="module")
def desk(browser, url) -> Iterator:
    page = visit(browser, url, 1100, 900)
    yield page
    page.context.close()


def choose(page, *files: Path) -> None:
    page.get_by_label("Choose photographs").set_input_files([str(file) for file in files])


def scores(page, count: int) -> dict[str, float]:
    """Name -> quality, once `count` photographs have one."""
    page.locator(".quality").nth(count - 1).wait_for()
    rows = page.locator(".photo:has(.quality)").all()
    names = [row.locator(".name").inner_text() for row in rows]
    return {n: float(r.locator(".quality").get_attribute("data-quality")) for n, r in zip(names, rows, strict=True)}


def look(page, name: str) -> None:
    """Takes a picture; it is kept where LIQE_SCREENSHOTS says."""
    folder = os.environ.get("LIQE_SCREENSHOTS")
    assert len(page.screenshot(full_page=True, path=Path(folder, f"{name}.png") if folder else None)) > 10_000


def test_scores_and_maps_are_those_of_python(desk, url, nano, tmp_path):
    pixels = photograph(500, 700)
    turned, clear = tmp_path / "turned.jpg", tmp_path / "clear.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(turned, quality=95, exif=exif)
    alpha = np.repeat(np.linspace(0, 255, 700).astype(np.uint8)[None], 500, 0)
    Image.fromarray(np.dstack([pixels, alpha])).save(clear)
    broken = tmp_path / "broken.jpg"
    broken.write_text("not an image")

    files = [SAMPLES / "coffee.jpg", *sorted(SAMPLES.glob("*.jpg")), turned, clear]
    choose(desk, *files, broken)
    found = scores(desk, len(files))
    for path in files:
        assert found[path.name] == pytest.approx(nano.score(path).quality, abs=TOLERANCE), path.name
    desk.get_by_text(f"{len(files)} scored, 1 failed.").wait_for()
    assert "cannot read the file as an image" in desk.locator(".photo", has_text="broken.jpg").inner_text()

    first = desk.locator(".photo").first
    score = nano.score(files[0])
    assert score.scene.replace("_", " ") in first.locator(".scene").inner_text()
    shown = shown_label(score.to_dict(), "distortion", nano.tasks.attributes)
    assert shown in first.locator(".distortion").inner_text()
    blurred = desk.locator(".photo", has_text="cat_blur.jpg")
    assert "blur" in blurred.locator(".distortion").inner_text()
    caption = first.locator("figure.map figcaption", has_text="lowest")
    caption.wait_for()
    quality = nano.quality_map(files[0]).quality
    expected = f"Quality of {quality.size} crops: lowest {quality.min():.2f}, mean {quality.mean():.2f}"
    assert caption.inner_text().startswith(expected)
    look(desk, "web-desk")
    assert desk.troubles == []
    assert [address for address in desk.asked if not address.startswith((url, "blob:", "data:"))] == []


def test_it_can_be_used_by_keyboard_and_screen_reader(desk):
    assert desk.get_by_role("status").inner_text().endswith("failed.")
    assert desk.get_by_role("img", name="Quality map of coffee.jpg").count() == 1
    assert desk.get_by_role("img", name="The photograph coffee.jpg").first.is_visible()
    assert desk.locator("html").get_attribute("lang") == "en"
    desk.locator("body").click(position={"x": 1, "y": 1})
    desk.keyboard.press("Tab")
    assert desk.evaluate("document.activeElement.id") == "files"
    desk.keyboard.press("Tab")
    first = desk.locator(".photo").first
    assert first.get_attribute("open") is not None
    desk.keyboard.press("Enter")
    assert first.get_attribute("open") is None
    desk.keyboard.press("Enter")
    assert first.get_attribute("open") is not None


# (height, width) before and after: smaller, larger, one side only.
RESIZED = [((61, 90), (32, 32)), ((20, 33), (50, 40)), ((40, 64), (40, 17)), ((300, 7), (100, 7))]


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_pictures_are_resized_as_by_pillow(desk, kind):
    for number, ((height, width), (new_height, new_width)) in enumerate(RESIZED):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        script = """async ([data, width, height, newWidth, newHeight, kind]) => {
          const { resized } = await import("./pixels.js");
          return Array.from(resized({ data: Uint8Array.from(data), width, height }, newWidth, newHeight, kind).data);
        }"""
        found = desk.evaluate(script, [pixels.ravel().tolist(), width, height, new_width, new_height, kind])
        resample = Image.Resampling[kind.upper()]
        expected = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), resample))
        np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)


def test_a_phone_s_screen_suffices_and_the_second_visit_needs_no_network(browser, url, nano):
    page = visit(browser, url, 390, 844)
    try:
        choose(page, SAMPLES / "cat.jpg")
        scores(page, 1)
        page.get_by_text("lowest").wait_for()
        assert sticking_out(page) == []
        look(page, "web-phone")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.context.set_offline(True)
        page.reload()
        page.locator("#status", has_text="Ready.").wait_for()
        assert page.evaluate("self.crossOriginIsolated")  # which threads need
        picture = io.BytesIO()
        Image.fromarray(photograph(300, 400)).save(picture, "PNG")
        page.get_by_label("Choose photographs").set_input_files(
            {"name": "new.png", "mimeType": "image/png", "buffer": picture.getvalue()}
        )
        expected = nano.score(photograph(300, 400)).quality
        assert scores(page, 1)["new.png"] == pytest.approx(expected, abs=TOLERANCE)
        assert page.troubles == []
    finally:
        page.context.close()
