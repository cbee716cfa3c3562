"""The page's server: what it answers, what it refuses, and that it stores nothing."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from liqe_jax.app.document import document
from liqe_jax.app.photograph import MAX_MAP_CROPS, map_upload, score_upload
from liqe_jax.app.serve import MOST_CONNECTIONS, MOST_REQUESTS, _Handler, _listen
from liqe_jax.cli.main import main
from liqe_jax.errors import ImageError, UsageError
from liqe_jax.images.preprocess import PRESETS

from .conftest import SAMPLES

EVEN = PRESETS["even"]
CAT = (SAMPLES / "cat.jpg").read_bytes()
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server(model) -> Iterator:
    with _listen("127.0.0.1", 0) as started:
        started.prepare(model, EVEN, max_megabytes=1)
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def ask(server, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_address[1]}{path}", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def test_the_page_holds_everything_and_asks_nobody_else(server):
    status, page, headers = ask(server, "/")
    assert status == 200
    assert b"tiny" in page
    assert not re.search(rb'(src|href)="?https?:', page)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert ask(server, "/favicon.ico")[0] == 404
    assert ask(server, "/other", b"x")[0] == 404


@pytest.mark.parametrize("name", ["phone_portrait.jpg", "dandelions_small.jpg"])
def test_the_numbers_are_those_of_score(server, model, name):
    expected = model.score(SAMPLES / name, preprocess="even")
    status, answer, _ = ask(server, f"/score?name={name}", (SAMPLES / name).read_bytes())
    card = json.loads(answer)
    assert status == 200
    assert card["name"] == name
    assert card["values"] == {"quality": expected.quality, "scene": expected.scene, "distortion": expected.distortion}
    assert card["probabilities"] == expected.probabilities
    assert card["warnings"] == list(expected.warnings)
    assert card["thumb"].startswith("data:image/webp;base64,")
    quality = model.quality_map(SAMPLES / name, preprocess="even").quality
    drawn = json.loads(ask(server, "/map", (SAMPLES / name).read_bytes())[1])
    assert drawn["levels"] == [quality.min(), quality.mean(), quality.max()]


def test_bad_files_and_requests_are_answered_in_words(server):
    assert "Not an image" in json.loads(ask(server, "/score", b"this is not an image")[1])["error"]
    assert "Drop the whole file." in json.loads(ask(server, "/score", CAT[: len(CAT) // 2])[1])["error"]
    status, answer, _ = ask(server, "/score", bytes(1_200_000))
    assert status == 413
    assert "at most 1 MB" in json.loads(answer)["error"]
    assert ask(server, "/score", CAT, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    connection.putrequest("POST", "/score")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()  # no body: the server may have closed the connection before it is sent
    answer = connection.getresponse()
    assert answer.status == 411
    answer.read()
    answer.close()
    connection.close()


def test_a_visitor_waits_while_another_photograph_is_in_work(server):
    server.scoring.acquire()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(ask(server, "/score", CAT)[1]))
    with socket.create_connection(server.server_address) as visitor:
        visitor.sendall(b"POST /score HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(CAT) + CAT)
        received = b""
        while b"waiting" not in received:
            received += visitor.recv(4096)
        thread.start()
    server.scoring.release()
    thread.join()
    assert json.loads(answers[0].splitlines()[-1])["values"]


def test_too_many_requests_are_refused(server):
    for _ in range(MOST_REQUESTS):
        assert server.slots.acquire(timeout=30)
    try:
        assert ask(server, "/score", CAT)[0] == 503
    finally:
        server.slots.release(MOST_REQUESTS)
    assert ask(server, "/score", CAT)[0] == 200


def test_too_many_connections_are_closed(server):
    """Silent ones too, before each of them has a thread."""
    for _ in range(MOST_CONNECTIONS):
        assert server.connections.acquire(timeout=30)
    before = threading.active_count()
    try:
        for _ in range(20):
            with socket.create_connection(server.server_address, timeout=30) as visitor:
                assert visitor.recv(1) == b""
        assert threading.active_count() == before
    finally:
        server.connections.release(MOST_CONNECTIONS)
    assert ask(server, "/")[0] == 200


def test_uploads_are_never_written(model, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"opened {arguments}")

    expected = score_upload("cat.jpg", CAT, model, EVEN)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    assert score_upload("cat.jpg", CAT, model, EVEN) == expected


def test_a_map_of_too_many_crops_is_refused(model, monkeypatch):
    monkeypatch.setattr("liqe_jax.app.photograph.MAX_MAP_CROPS", 3)
    assert MAX_MAP_CROPS > 1000
    with pytest.raises(ImageError, match="more than 3"):
        map_upload(CAT, model, EVEN)


def test_data_cannot_leave_its_element():
    text, _ = document("<t>", "", (), {"name": "</script><script>alert(1)</script><!--"})
    assert "<title>&lt;t&gt;</title>" in text
    assert text.count("</script>") == 2
    assert "<!--" not in text


def test_addresses_that_cannot_be_used(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Cannot listen on 127.0.0.1, port {port}"):
            _listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="Cannot listen"):
        _listen("no such host", 0)
    assert main(["app", "--port", "70000"]) == 2
    assert main(["app", "--max-megabytes", "-1"]) == 2
    assert "--max-megabytes must be a positive number" in capsys.readouterr().err
    assert _Handler.timeout > 0


def test_a_space_starts_the_command(model, monkeypatch):
    docker = (ROOT / "spaces" / "Dockerfile").read_text("utf-8")
    command = json.loads(re.search(r"^CMD (.*)$", docker, re.MULTILINE)[1])[-1]
    arguments = command.partition("liqe_jax.cli.main ")[2].replace("${LIQE_MODEL:-liqe_nano}", "liqe_nano").split()
    served = {}
    monkeypatch.setattr("liqe_jax.scoring.load.load", lambda *_, **__: model)
    monkeypatch.setattr("liqe_jax.app.serve.serve", lambda model, **options: served.update(options))
    assert main(arguments) == 0
    facts = (ROOT / "spaces" / "README.md").read_text("utf-8")
    assert f"app_port: {served['port']}" in facts
    assert served["host"] == "0.0.0.0"
