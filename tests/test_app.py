"""What the page says and keeps, without Gradio and without a browser."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import re
import socket
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from liqe_jax.app import markup
from liqe_jax.app.about import heading
from liqe_jax.app.compare import compare, numbers
from liqe_jax.app.limits import Limits
from liqe_jax.app.photograph import MAX_MAP_CROPS, PICTURE_SIDE, Map, ScoredPhotograph, draw_map, score_photograph
from liqe_jax.app.ports import free_port
from liqe_jax.app.uploads import stored_bytes, sweep, take, upload_folder
from liqe_jax.cli.main import main
from liqe_jax.errors import ImageError, UsageError
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.scoring.load import load
from liqe_jax.scoring.result import Failure
from liqe_jax.tasks import Attribute, TaskSet

from .conftest import SAMPLES, photograph

EVEN = PRESETS["even"]


def png(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scored(model) -> ScoredPhotograph:
    result = score_photograph("a.png", png(photograph(300, 400)), model, EVEN)
    assert isinstance(result, ScoredPhotograph)
    return result


@pytest.fixture(scope="module")
def other(model) -> ScoredPhotograph:
    result = score_photograph("b.png", png(photograph(400, 300, 1)), model, EVEN)
    assert isinstance(result, ScoredPhotograph)
    return result


@pytest.mark.parametrize("preset", ["paper", "pyiqa", "even"])
@pytest.mark.parametrize("name", ["phone_portrait.jpg", "dandelions_small.jpg"])
def test_the_numbers_are_those_of_score(model, preset, name):
    path = SAMPLES / name
    expected = model.score(path, preprocess=preset)
    result = score_photograph(name, path.read_bytes(), model, PRESETS[preset])
    assert result.values == {"quality": expected.quality, "scene": expected.scene, "distortion": expected.distortion}
    assert result.probabilities == expected.probabilities
    assert result.size == (expected.width, expected.height)
    assert result.warnings == expected.warnings
    assert result.ranges == {"quality": (1.0, 5.0)}


def test_the_map_is_the_models(model, scored):
    drawn = draw_map(scored, model, EVEN)
    quality = model.quality_map(photograph(300, 400), preprocess="even").quality
    assert (drawn.lowest, drawn.mean, drawn.highest) == (quality.min(), quality.mean(), quality.max())
    with Image.open(io.BytesIO(drawn.picture)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (400, 300))


def test_pictures_are_small_and_upright(model):
    exif = Image.Exif()
    exif[0x0112] = 6
    result = score_photograph("phone.png", png(photograph(1000, 1600), exif=exif), model, EVEN)
    with Image.open(io.BytesIO(result.picture)) as picture:
        assert picture.size == (PICTURE_SIDE * 1000 // 1600, PICTURE_SIDE)
    assert result.size == (1000, 1600)


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"hello, this is text", "Not an image that can be read"),
        ((SAMPLES / "coffee.jpg").read_bytes()[:30_000], "bytes not processed). Drop the whole file."),
        (claiming(20_000, 20_000), "400 megapixels; the limit is 100"),
    ],
    ids=["empty", "text", "cut", "huge"],
)
def test_what_cannot_be_judged_is_said_in_words(model, content, words):
    result = score_photograph("x.jpg", content, model, EVEN)
    assert isinstance(result, Failure)
    assert words in result.error
    assert words.split(";")[0] in markup.failed(result)


def test_tiny_and_grey_photographs_are_judged_with_warnings_once(model):
    result = score_photograph("tiny.png", png(photograph(3, 5)[..., 0]), model, EVEN)
    assert ["grey" in note for note in result.warnings].count(True) == 1
    assert any("enlarged" in note for note in result.warnings)
    assert isinstance(draw_map(result, model, EVEN), Map)


def test_a_name_of_the_training_data_warns(model):
    result = score_photograph("I04_12_03.png", png(photograph(300, 400)), model, EVEN)
    assert any("looks like KADID-10k" in note for note in result.warnings)


def test_a_map_of_too_many_crops_is_refused(model):
    strip = png(np.broadcast_to(photograph(224, 1)[:, :1], (224, 224 + 48 * MAX_MAP_CROPS, 3)))
    result = score_photograph("strip.png", strip, model, EVEN)
    assert isinstance(result, ScoredPhotograph)
    drawn = draw_map(result, model, EVEN)
    assert f"{MAX_MAP_CROPS + 1} crops" in drawn.error
    assert drawn.error in markup.row(result, 0, drawn)


def test_other_attributes_are_shown_without_a_map(model_folder):
    wear = TaskSet(
        "wear",
        (Attribute("wear", ("new", "used"), values=(0, 10)), Attribute("thing", ("cup", "<b>"))),
        "a photo of a {wear} {thing}",
    )
    model = load(model_folder, tasks=wear)
    result = score_photograph("a.png", png(photograph(300, 400)), model, EVEN)
    assert set(result.values) == {"wear", "thing"}
    html = markup.row(result, 0, draw_map(result, model, EVEN))
    assert f">{result.values['wear']:.2f}<" in html
    assert "does not predict quality" in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_a_row_shows_score_labels_distributions_and_map(model, scored):
    drawn = draw_map(scored, model, EVEN)
    html = markup.row(scored, 0, drawn)
    assert f'<span class="number">{scored.values["quality"]:.2f}</span>' in html
    assert html.count("<dt") == 5 + 9 + 11
    for label, probability in scored.probabilities["scene"].items():
        assert re.search(rf">{label.replace('_', ' ')}</dt>.*?>{probability:.1%}<", html, re.DOTALL)
    assert f"lowest {drawn.lowest:.2f}, mean {drawn.mean:.2f}, highest {drawn.highest:.2f}" in html
    assert 'class="map"' not in markup.row(scored, 0, None)
    assert " checked>" in html
    assert " checked>" not in markup.row(scored, 1, drawn)


def test_nothing_of_a_file_becomes_markup(model, scored):
    evil = '"><img src=x onerror=alert(1)>{{x}}${x}\udc80.jpg'
    named = dataclasses.replace(scored, name=evil, warnings=("<script>",))
    pages = (
        markup.row(named, 0, Failure(evil, evil)),
        markup.card(named, 1, draw_map(named, model, EVEN)),
        markup.failed(Failure(evil, evil)),
        markup.status(evil),
        compare([numbers(named), numbers(named)], model.tasks),
    )
    for html in pages:
        assert "<img src=x" not in html
        assert "<script>" not in html
        html.encode()  # goes over the network


def test_a_comparison_shows_the_difference_of_the_shown_numbers(model, scored, other):
    html = compare([numbers(scored), numbers(other)], model.tasks)
    a, b = (round(side.values["quality"], 2) for side in (scored, other))
    expected = f"{'AB'[b > a]} is higher by <b>{abs(a - b):.2f}</b>" if a != b else f"The same quality, {a:.2f}"
    assert expected in html
    assert html.count('class="bar"') == html.count('class="bar b"') == 25
    assert "The same quality" in compare([numbers(scored), numbers(scored)], model.tasks)


@pytest.mark.parametrize(
    "answer", [None, 7, "x", {}, {"name": "a"}, {"name": "a", "probabilities": {"quality": {"bad": "much"}}}]
)
def test_a_comparison_needs_two_sound_photographs(model, scored, answer):
    assert compare([numbers(scored), answer], model.tasks) == ""
    assert compare([answer, numbers(scored)], model.tasks) == ""


def test_the_heading_says_which_model_it_is(model):
    assert "<b>tiny</b>" in heading(model, "even", 20)
    assert "liqe_mix" not in heading(model, "even", 20)
    model = load_renamed(model, "liqe_nano")
    html = heading(model, "even", 2.5)
    assert "a small model, " in html
    assert "liqe app --model liqe_mix" in html
    assert "Up to 2.5 MB" in html


def load_renamed(model, name):
    import copy

    renamed = copy.copy(model)
    renamed.provenance = dataclasses.replace(model.provenance, name=name)
    return renamed


@pytest.fixture
def uploads(monkeypatch):
    """The folder, and a function that puts a file there as Gradio does."""
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with upload_folder() as folder:

        def put(name: str, content: bytes) -> dict:
            path = folder / f"{zlib.crc32(content):08x}" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            return {"path": str(path), "orig_name": name, "size": len(content)}

        yield folder, put


def test_the_folder_is_gradios_as_long_as_it_is_open(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with upload_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        (folder / "x").mkdir()
        (folder / "x" / "y.jpg").write_bytes(b"left over")
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


def test_uploads_are_deleted_as_they_are_read(uploads):
    folder, put = uploads
    stream = take([put("a.jpg", b"first"), put("b.jpg", b"second")], folder, 20)
    assert next(stream) == ("a.jpg", b"first")
    assert [path.name for path in folder.rglob("*.jpg")] == ["b.jpg"]
    assert next(stream) == ("b.jpg", b"second")
    assert not list(folder.iterdir())


def test_the_same_photograph_twice_is_read_twice(uploads):
    folder, put = uploads
    twice = [put("a.jpg", b"first"), put("a.jpg", b"first")]
    assert list(take(twice, folder, 20)) == [("a.jpg", b"first")] * 2
    assert not list(folder.iterdir())


@pytest.mark.parametrize("read", [0, 1])
def test_nothing_is_left_when_reading_is_given_up(uploads, read):
    folder, put = uploads
    stream = take([put(f"{i}.jpg", b"%d" % i) for i in range(4)], folder, 2)
    for _ in range(read + 1):
        next(stream)
    stream.close()
    assert not list(folder.iterdir())


def test_uploads_over_the_number_are_deleted_unread(uploads):
    folder, put = uploads
    names = [name for name, _ in take([put(f"{i}.jpg", b"%d" % i) for i in range(4)], folder, 2)]
    assert names == ["0.jpg", "1.jpg"]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("path", ["{outside}", "{folder}/../{name}", "{folder}", "{folder}/x", None, "\0", "a/b"])
def test_nothing_else_is_read_or_deleted(uploads, tmp_path, path):
    folder, _ = uploads
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    named = path and path.format(outside=outside, folder=folder, name=os.path.relpath(outside, folder.parent))
    ((_, content),) = take([{"path": named, "orig_name": "a.jpg"}], folder, 20)
    assert isinstance(content, ImageError)
    assert outside.exists()
    assert folder.exists()


def test_links_out_of_the_folder_lead_nowhere(uploads, tmp_path):
    folder, _ = uploads
    outside = tmp_path / "deep" / "secret.txt"
    outside.parent.mkdir()
    outside.write_text("secret")
    (folder / "x").symlink_to(outside.parent)
    ((_, content),) = take([{"path": str(folder / "x" / "secret.txt")}], folder, 20)
    assert isinstance(content, ImageError)
    assert outside.exists()


def test_an_upload_that_is_gone_says_so(uploads):
    folder, put = uploads
    upload = put("a.jpg", b"first")
    os.unlink(upload["path"])
    ((_, content),) = take([upload], folder, 20)
    assert "no longer there" in str(content)


def test_old_uploads_are_swept(uploads):
    folder, put = uploads
    old, new = put("old.jpg", b"old"), put("new.jpg", b"new")
    for path in (old["path"], os.path.dirname(old["path"])):
        os.utime(path, (1, 1))
    sweep(folder)
    assert not os.path.exists(old["path"])
    assert os.path.exists(new["path"])
    sweep(folder, older_than=-1)
    assert not list(folder.iterdir())


def request_of(
    chunks: list[bytes], most: int, *headers: tuple[bytes, bytes], path: str = "/upload", stored: int = 0
) -> tuple[int, bytes]:
    """What `Limits` answers to a POST whose body comes in these pieces; the page reads all and says how much."""
    sent, pending = [], list(chunks)

    async def receive():
        return {"type": "http.request", "body": pending.pop(0), "more_body": bool(pending)}

    async def send(message):
        sent.append(message)

    async def page(scope, receive, send):
        total, more = 0, True
        while more:
            message = await receive()
            total, more = total + len(message["body"]), message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % total})

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    asyncio.run(Limits(page, most, lambda: stored, most_stored=100)(scope, receive, send))
    assert not pending, "the answer comes before the body is taken"
    return sent[0]["status"], sent[1]["body"]


def test_a_request_is_bounded():
    assert request_of([b"12345", b"678"], 8) == (200, b"8")
    assert request_of([b"12345", b"6789"], 8)[0] == 413
    assert request_of([b"12345", b"6789", b"0"], 8)[0] == 413
    status, body = request_of([b"12345", b"6789"], 8, (b"content-length", b"9"))
    assert status == 413
    assert b"8 bytes" in body


def test_uploads_that_nobody_asks_for_are_bounded():
    assert request_of([b"12"], 8, path="/gradio_api/upload", stored=92) == (200, b"2")
    length = (b"content-length", b"2")
    assert request_of([b"12"], 8, length, path="/gradio_api/upload", stored=98) == (200, b"2")
    assert request_of([b"12"], 8, length, path="/gradio_api/upload", stored=99)[0] == 503
    status, body = request_of([b"12"], 8, path="/gradio_api/upload", stored=93)
    assert status == 503
    assert b"Try again in a few minutes" in body
    assert request_of([b"12"], 8, path="/gradio_api/queue/join", stored=101) == (200, b"2")


def many_at_once(count: int, size: int, patience: float = 60, pieces: int = 4, **limits: int) -> tuple[list[int], int]:
    """Answers to uploads at the same time, piece by piece in turn, and the most bytes that lay on the disk."""
    stored, most_stored, answers = 0, 0, []

    async def page(scope, receive, send):
        nonlocal stored, most_stored
        more = True
        while more:
            message = await receive()
            stored, more = stored + len(message["body"]), message["more_body"]
            most_stored = max(most_stored, stored)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    bounded = Limits(page, 1000, lambda: stored, patience=patience, **limits)

    async def upload():
        left = pieces

        async def receive():
            nonlocal left
            await asyncio.sleep(0.01)
            left -= 1
            if left < 0:
                await asyncio.sleep(3600)  # the visitor's line is dead
            return {"type": "http.request", "body": bytes(size // pieces), "more_body": left > 0 or patience < 1}

        async def send(message):
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        length = (b"content-length", str(size).encode())
        await bounded({"type": "http", "path": "/gradio_api/upload", "headers": [length]}, receive, send)

    async def everybody():
        await asyncio.gather(*(upload() for _ in range(count)))

    asyncio.run(everybody())
    return sorted(answers), most_stored


def test_uploads_at_the_same_time_fit_together():
    answers, most_stored = many_at_once(20, 800, most_stored=4000)
    assert answers == [200] * 5 + [503] * 15
    assert most_stored == 4000


def test_requests_at_the_same_time_are_bounded():
    answers, _ = many_at_once(10, 8, most_stored=10_000, most_requests=3)
    assert answers == [200] * 3 + [503] * 7


def test_an_upload_that_stops_coming_gives_its_room_back():
    answers, _ = many_at_once(3, 800, patience=0.2, most_stored=10_000)
    assert answers == [408] * 3


def test_a_content_length_is_a_number_of_bytes():
    for length in (b"1" * 5000, b"-1", b"1.5"):
        assert request_of([], 8, (b"content-length", length))[0] == 400


def test_what_lies_in_a_folder_is_counted(tmp_path):
    (tmp_path / "a").mkdir()
    assert stored_bytes(tmp_path) < 10_000  # a folder's own
    before = stored_bytes(tmp_path)
    (tmp_path / "a" / "x").write_bytes(b"1" * 50_000)
    assert stored_bytes(tmp_path) - before == 50_000
    assert stored_bytes(tmp_path / "absent") == 0


def test_ports():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {number}: .*--port"):
            free_port("127.0.0.1", number)
        assert free_port("127.0.0.1", 0) not in (0, number)
    with pytest.raises(UsageError, match="any port from 7860"):
        free_port("192.0.2.1")  # reserved for examples, nobody's address


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "--port must lie between 0 and 65535; got 70000"),
        (["--port", "-1"], "--port must lie between"),
        (["--max-megabytes", "0"], "--max-megabytes must be a positive number; got 0"),
        (["--max-megabytes", "nan"], "--max-megabytes must be a positive number"),
        (["--tasks", "no.json"], "Cannot read the task set"),
    ],
)
def test_wrong_use_is_said_at_once(arguments, words, capsys):
    assert main(["app", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_gradio_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert "pip install 'liqe_jax[app]'" in capsys.readouterr().err


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["app", "--help"])
    assert stop.value.code == 0
    assert "liqe app --model liqe_mix" in capsys.readouterr().out
