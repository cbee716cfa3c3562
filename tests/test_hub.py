"""Models by name: fetched from a hub (a small local one), cached, put there by hand, or missing with advice."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from liqe_jax.errors import ModelError
from liqe_jax.taxonomy import QUALITY_ONLY
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.hub import hub_answers, is_repository_name, models_folder
from liqe_jax.weights.open import open_checkpoint
from liqe_jax.weights.write import write_model

from .tiny_siglip import SIGLIP_TINY, save_siglip_folder, unigram_tokenizer

KNOWN = "chaofengc/IQA-PyTorch-Weights"


class Hub(http.server.ThreadingHTTPServer):
    """Answers /owner/model/resolve/main/file from a folder, as the Hugging Face hub does."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.requests = folder, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.respond(with_body=False)

    def do_GET(self) -> None:
        self.respond(with_body=True)

    def respond(self, with_body: bool) -> None:
        parts = self.path.lstrip("/").split("/")
        repository, file = "/".join(parts[:2]), "/".join(parts[4:])
        self.server.requests.append(f"{repository}/{file}")
        if parts[2:3] != ["resolve"] or not (self.server.folder / repository).is_dir():
            self.refuse("RepoNotFound")
        elif not (self.server.folder / repository / file).is_file():
            self.refuse("EntryNotFound")
        else:
            content = (self.server.folder / repository / file).read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0123456789" * 4)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", "0123456789" * 4)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def as_imported_with(environment: dict[str, str]) -> Iterator[None]:
    """huggingface_hub reads its environment when it is imported: here it is imported anew."""
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]
        yield


@dataclasses.dataclass
class Client:
    """Looks names up as a new process does whose caches lie in a folder."""

    folder: Path
    endpoint: str

    def __call__(self, name: str, **environment: str) -> dict:
        names = ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE")
        inherited = {key: value for key, value in os.environ.items() if key not in names and "proxy" not in key.lower()}
        settings = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.folder / "hub"),
            "LIQE_HOME": str(self.folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
        }
        messages, found = io.StringIO(), None
        with (
            as_imported_with(inherited | settings | environment),
            contextlib.chdir(self.folder),
            contextlib.redirect_stderr(messages),
        ):
            try:
                found = open_checkpoint(name)
            except ModelError as error:
                refusal = str(error)
        # A hub that is away is not asked again and again, which takes half a minute.
        assert "Retry" not in messages.getvalue()
        if found is None:
            return {"error": refusal}
        description = {
            "provenance": found.provenance.to_dict(),
            "config": found.encoder.to_config(),
            "tasks": found.tasks and found.tasks.name,
            "scale": float(found.flat["logit_scale"]),
        }
        if "siglip" in name:
            description["tokenizer"] = type(found.tokenizer).__name__
        return json.loads(json.dumps(description))  # lists for tuples


@pytest.fixture(scope="module")
def repositories(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub holds. The logit scale tells which file was read."""
    folder = tmp_path_factory.mktemp("repositories")

    def scaled(scale: float) -> Checkpoint:
        return dataclasses.replace(checkpoint, flat=checkpoint.flat | {"logit_scale": np.array(scale, np.float32)})

    write_model(folder / KNOWN / "liqe_mix.pt", scaled(1.0), "pyiqa-pt")
    write_model(folder / KNOWN / "liqe_koniq.pt", scaled(2.0), "pyiqa-pt")
    write_model(folder / "someone" / "clip-safetensors", scaled(3.0), "hf-safetensors")
    write_model(folder / "someone" / "clip-flax", scaled(4.0), "hf-flax")
    write_model(folder / "someone" / "clip-pytorch", scaled(5.0), "hf-pytorch")
    write_model(folder / "someone" / "liqe", scaled(6.0), "liqe")
    save_siglip_folder(folder / "someone" / "siglip", SIGLIP_TINY, unigram_tokenizer(canonical=True))
    (folder / "someone" / "empty").mkdir()
    (folder / "someone" / "no-weights").mkdir()
    (folder / "someone" / "no-weights" / "config.json").write_text(json.dumps(checkpoint.encoder.to_config()))
    return folder


@pytest.fixture(scope="module")
def hub(repositories: Path) -> Iterator[Hub]:
    """A running hub."""
    with Hub(repositories) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """A client with empty caches."""
    hub.requests.clear()
    return Client(tmp_path, hub.url)


def test_a_known_model_is_fetched_once_and_works_offline(client: Client, hub: Hub, repositories: Path) -> None:
    first = client("liqe_mix")
    assert (first["tasks"], first["scale"]) == ("joint", 1.0)
    provenance = first["provenance"]
    assert (provenance["name"], provenance["source"]) == ("liqe_mix", f"{KNOWN}/liqe_mix.pt")
    content = (repositories / KNOWN / "liqe_mix.pt").read_bytes()
    assert provenance["source_sha256"] == hashlib.sha256(content).hexdigest()
    assert "CC BY-NC-SA 4.0" in provenance["licence"]
    assert {entry["dataset"] for entry in provenance["trained_on"]} >= {"KADID-10k", "KonIQ-10k", "LIVE"}
    assert all("session 1" in entry["split"] for entry in provenance["trained_on"])
    assert any("official test images" in note for note in provenance["notes"])
    assert hub.requests

    hub.requests.clear()
    assert client("liqe_mix", HF_HUB_OFFLINE="1") == first
    assert not hub.requests
    # Nobody listens on port 9: a network that is down without anybody having said so.
    assert dataclasses.replace(client, endpoint="http://127.0.0.1:9")("liqe_mix") == first


def test_the_koniq_model_predicts_quality_only(client: Client) -> None:
    got = client("liqe_koniq")
    assert (got["tasks"], got["scale"]) == (QUALITY_ONLY.name, 2.0)
    assert got["provenance"]["trained_on"] == [{"dataset": "KonIQ-10k", "split": "unknown split"}]


@pytest.mark.parametrize(("name", "scale"), [("clip-safetensors", 3.0), ("clip-flax", 4.0), ("clip-pytorch", 5.0)])
def test_repositories_of_any_format_are_fetched(
    client: Client, hub: Hub, checkpoint: Checkpoint, name: str, scale: float
) -> None:
    got = client(f"someone/{name}")
    assert (got["tasks"], got["scale"]) == (None, scale)
    assert got["config"] == checkpoint.encoder.to_config()
    assert got["provenance"]["name"] == f"someone/{name}"
    assert got["provenance"]["source"] == f"huggingface.co/someone/{name}"
    assert got["provenance"]["licence"] == "unknown"
    hub.requests.clear()
    assert client(f"someone/{name}", HF_HUB_OFFLINE="1") == got
    assert not hub.requests


def test_repositories_in_our_own_format_are_fetched(client: Client, checkpoint: Checkpoint) -> None:
    got = client("someone/liqe")
    assert (got["tasks"], got["scale"]) == ("joint", 6.0)
    assert got["provenance"] == json.loads(json.dumps(checkpoint.provenance.to_dict()))
    assert client("someone/liqe", HF_HUB_OFFLINE="1") == got


def test_a_siglip_comes_with_its_tokenizer(client: Client) -> None:
    assert client("someone/siglip")["tokenizer"] == "SigLIPTokenizer"


def test_only_one_file_of_weights_is_fetched(client: Client, hub: Hub, repositories: Path) -> None:
    (repositories / "someone" / "clip-safetensors" / "pytorch_model.bin").write_bytes(b"never read")
    client("someone/clip-safetensors")
    assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_offline_with_an_empty_cache_says_what_to_put_where(client: Client) -> None:
    away = dataclasses.replace(client, endpoint="http://127.0.0.1:9")
    for offline in ("", "1"):  # a dead network is found out, an offline setting is believed
        error = away("liqe_mix", HF_HUB_OFFLINE=offline)["error"]
        assert f"{KNOWN}/liqe_mix.pt is not in the cache and the hub cannot be reached" in error
        assert str(client.folder / "home" / "models" / "liqe_mix.pt") in error
    error = away("someone/clip", HF_HUB_OFFLINE="1")["error"]
    assert "someone/clip/config.json is not in the cache" in error
    assert "model.safetensors" in error
    assert "give the folder as the model" in error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/absent", "Cannot fetch someone/absent/config.json"),
        ("someone/empty", "The repository someone/empty has no config.json"),
        ("someone/no-weights", "The repository someone/no-weights holds none of model.safetensors"),
        ("someone/bad..name", "Cannot fetch someone/bad..name/config.json"),
    ],
)
def test_repositories_without_a_model_are_refused(client: Client, name: str, message: str) -> None:
    error = client(name)["error"]
    assert message in error
    assert "give the folder as the model" in error


def test_a_file_that_the_repository_lost_says_what_to_put_where(client: Client, tmp_path: Path) -> None:
    (tmp_path / "other" / KNOWN).mkdir(parents=True)
    with Hub(tmp_path / "other") as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05))
        thread.start()
        error = dataclasses.replace(client, endpoint=server.url)("liqe_mix")["error"]
        server.shutdown()
        thread.join()
    assert f"The repository {KNOWN} has no liqe_mix.pt" in error
    assert str(client.folder / "home" / "models" / "liqe_mix.pt") in error


def test_a_download_that_is_no_model_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "other" / KNOWN).mkdir(parents=True)
    (tmp_path / "other" / KNOWN / "liqe_mix.pt").write_text("<html>Too many requests</html>")
    with Hub(tmp_path / "other") as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05))
        thread.start()
        error = dataclasses.replace(client, endpoint=server.url)("liqe_mix")["error"]
        server.shutdown()
        thread.join()
    assert "liqe_mix.pt is not a readable PyTorch checkpoint" in error


def test_a_file_put_there_by_hand_needs_no_network(client: Client, hub: Hub, checkpoint: Checkpoint) -> None:
    by_hand = dataclasses.replace(checkpoint, flat=checkpoint.flat | {"logit_scale": np.array(7, np.float32)})
    write_model(client.folder / "home" / "models" / "liqe_mix.pt", by_hand, "pyiqa-pt")
    got = client("liqe_mix")
    assert (got["tasks"], got["scale"]) == ("joint", 7.0)
    assert got["provenance"]["name"] == "liqe_mix"
    assert "CC BY-NC-SA 4.0" in got["provenance"]["licence"]
    assert not hub.requests


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look-up on the hub fails the test."""
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("asked the hub"))


@pytest.mark.usefixtures("no_hub")
def test_an_existing_path_is_never_looked_up(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("someone").mkdir()
    Path("someone/clip").symlink_to(model_folder)
    Path("liqe_mix").symlink_to(model_folder)
    for name in ("someone/clip", "liqe_mix", str(model_folder), model_folder):
        assert open_checkpoint(name).provenance.name == "tiny"


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "name",
    [
        "absent",
        "absent.pt",
        "here/absent",
        "here/absent.pt",
        "./a/b",
        "../a/b",
        "/a/b",
        "a/b/c",
        "",
        "a/",
        "a b/c",
        "~/a",
    ],
)
def test_what_is_neither_path_nor_name_is_refused_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ModelError, match=r"No model|holds no weights"):
        open_checkpoint(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai/clip-vit-base-patch32", True),
        ("a/b.c_d-e", True),
        ("a", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("./b", False),
        ("a/b\n", False),
        ("a/..", False),
        ("é/b", False),
    ],
)
def test_repository_names_are_told_from_paths(name: str, expected: bool) -> None:
    assert is_repository_name(name) == expected


def test_the_folder_for_files_put_there_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIQE_HOME", str(tmp_path / "home"))
    assert models_folder() == tmp_path / "home" / "models"
    monkeypatch.delenv("LIQE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models_folder() == tmp_path / "cache" / "liqe_jax" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert models_folder() == tmp_path / ".cache" / "liqe_jax" / "models"


def test_a_network_that_is_gone_is_found_out_before_asking(
    client: Client, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for endpoint, answers in ((hub.url, True), ("http://127.0.0.1:9", False), ("https://no.such.host.invalid", False)):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert hub_answers() is answers, endpoint
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # a proxy looks names up itself
    assert hub_answers()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_answers()


def test_a_repository_in_the_cache_needs_no_network(client: Client) -> None:
    here = client("someone/clip-safetensors")
    away = dataclasses.replace(client, endpoint="http://127.0.0.1:9")
    assert away("someone/clip-safetensors") == here


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("LIQE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "models"
    monkeypatch.delenv("LIQE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "liqe_jax" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(ModelError, match="Set LIQE_HOME"):
        models_folder()


def test_a_line_that_is_cut_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What carries the bytes raises errors of its own, once huggingface_hub has tried five times."""

    class CutError(Exception):
        pass

    def cut(*_: object, **__: object) -> str:
        raise CutError("peer closed connection without sending complete message body")

    monkeypatch.setenv("LIQE_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", cut)
    monkeypatch.setattr("liqe_jax.weights.hub.hub_answers", lambda: True)
    with pytest.raises(ModelError, match=r"peer closed .*Try again, or: Download liqe_mix\.pt"):
        open_checkpoint("liqe_mix")


class Faulty(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does, but the content stops in the middle, comes slowly, or is another."""

    server: FaultyHub

    def do_HEAD(self) -> None:
        self.begin()

    def do_GET(self) -> None:
        self.begin()
        content, fault = self.server.content, self.server.fault
        self.server.downloads += 1
        if fault == "another":
            self.wfile.write(bytes(len(content)))
        else:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
        if fault == "slow":
            time.sleep(0.3)
            self.wfile.write(content[len(content) // 2 :])
        elif fault == "silent":
            self.server.over.wait(60)
        self.close_connection = True

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(self.server.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0123456789" * 4)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class FaultyHub(http.server.ThreadingHTTPServer):
    """A hub with one file, whatever it is asked for."""

    daemon_threads = True

    def __init__(self, content: bytes, fault: str):
        super().__init__(("127.0.0.1", 0), Faulty)
        self.content, self.fault, self.downloads, self.over = content, fault, 0, threading.Event()


@pytest.mark.parametrize("fault", ["half", "another", "silent", "slow"])
def test_a_hub_that_is_slow_or_answers_with_half_a_file(fault: str, repositories: Path, tmp_path: Path) -> None:
    with FaultyHub((repositories / KNOWN / "liqe_mix.pt").read_bytes(), fault) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        # Of a connection that is silent huggingface_hub itself says after how many seconds it gives up.
        got = Client(tmp_path, f"http://127.0.0.1:{server.server_port}")("liqe_mix", HF_HUB_DOWNLOAD_TIMEOUT="1")
        server.over.set()
        server.shutdown()
        thread.join()
    assert server.downloads
    if fault == "slow":
        assert got["scale"] == 1.0
        return
    assert "scale" not in got
    assert "liqe_mix.pt" in got["error"]
    assert len(got["error"]) < 2000
    # Nothing of it is taken for the file by the next start.
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    offline = Client(tmp_path, "http://127.0.0.1:9")("liqe_mix", HF_HUB_OFFLINE="1")
    assert "error" in offline
