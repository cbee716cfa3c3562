"""Weight files whose sha256 is stated are compared with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from liqe_jax.cli.main import main
from liqe_jax.errors import ModelError
from liqe_jax.weights.read import read_model
from liqe_jax.weights.write import write_model

FORMS = {"openai-safetensors": "m.safetensors", "hf-flax": "m/flax_model.msgpack"}


def flip(path: Path) -> None:
    """One bit of the last array, which nothing but a checksum can find."""
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def state(path: Path, name: str | None = None, mark: str = " ") -> None:
    """As sha256sum does."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "SHA256SUMS").write_text(f"{'0' * 64}  other.pt\n\n# by hand\n{digest} {mark}{name or path.name}\n")


@pytest.fixture(params=["openai-safetensors", "hf-flax"])
def weights(request, checkpoint, tmp_path) -> Path:
    """A weight file in a format that has no checksum."""
    path = tmp_path / FORMS[request.param]
    write_model(path.parent if request.param == "hf-flax" else path, checkpoint, request.param)
    return path


@pytest.mark.parametrize("mark", [" ", "*"])
def test_a_stated_digest_is_compared(weights, mark, tmp_path, capsys):
    state(weights, mark=mark)
    source = weights.parent if weights.suffix == ".msgpack" else weights
    whole = read_model(source)
    assert whole.provenance.source_sha256
    flip(weights)
    with pytest.raises(ModelError, match=r"is cut or altered: expected sha256 .* \(stated in .*SHA256SUMS\), got"):
        read_model(source)
    assert main(["convert", str(source), str(tmp_path / "converted")]) == 2
    assert "is cut or altered" in capsys.readouterr().err
    assert not (tmp_path / "converted").exists()


def test_without_a_stated_digest_nothing_is_compared(weights):
    source = weights.parent if weights.suffix == ".msgpack" else weights
    state(weights, name="another.name")
    flip(weights)
    assert read_model(source).parameter_count


def test_a_corrupt_file_is_told_by_its_digest(weights):
    state(weights)
    weights.write_bytes(weights.read_bytes()[:-100_000])
    with pytest.raises(ModelError, match="is cut or altered"):
        read_model(weights.parent if weights.suffix == ".msgpack" else weights)


def test_what_the_hub_states_is_compared(checkpoint, tmp_path):
    write_model(tmp_path / "m.safetensors", checkpoint, "openai-safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    blob = blobs / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (snapshot / "m.safetensors").symlink_to(blob)
    assert read_model(snapshot / "m.safetensors").parameter_count
    flip(blob)
    with pytest.raises(ModelError, match="stated by the hub"):
        read_model(snapshot / "m.safetensors")


def test_shards_are_compared_too(checkpoint, tmp_path):
    write_model(tmp_path / "m", checkpoint, "hf-safetensors")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "part.safetensors")
    index = {"weight_map": {"everything": "part.safetensors"}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    state(tmp_path / "m" / "part.safetensors")
    assert read_model(tmp_path / "m").parameter_count
    flip(tmp_path / "m" / "part.safetensors")
    with pytest.raises(ModelError, match=r"part.safetensors is cut or altered"):
        read_model(tmp_path / "m")


def test_our_own_folder_is_compared_with_both(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "m")
    (tmp_path / "m" / "SHA256SUMS").write_text(f"{'a' * 64}  model.safetensors\n")
    with pytest.raises(ModelError, match="SHA256SUMS"):
        read_model(tmp_path / "m")


def test_sums_that_cannot_be_read_are_said(weights):
    (weights.parent / "SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"Cannot read .*SHA256SUMS"):
        read_model(weights.parent if weights.suffix == ".msgpack" else weights)
