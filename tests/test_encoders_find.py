"""Encoders and other objects by name: which are found, and what is said of those that are not."""

from __future__ import annotations

import json
import sys

import pytest

from liqe_jax import ModelError, UsageError
from liqe_jax.encoders.base import Encoder
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.find import ENCODERS, encoder_class, encoder_of, recognise, signatures
from liqe_jax.imports import is_import_path, load_object
from liqe_jax.scoring.load import load

from .known import KnownEncoder

OWN = "tests.known:KnownEncoder"


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_of_this_package_are_found_by_the_name_in_config_json(name):
    found = encoder_class(name)
    assert issubclass(found, Encoder)
    assert found.name == name
    assert encoder_of(name) is found


def test_signatures_tell_layouts_apart():
    """Encoders can share a layout; then config.json tells them apart."""
    assert len(signatures()) == sum(len(encoder_class(name).layouts) for name in ENCODERS)
    for name in ENCODERS:
        encoder = encoder_class(name)
        for layout, table in encoder.layouts.items():
            assert recognise([table.signature, "another"], name) == (encoder, layout)
    assert recognise(["visual.conv1.weight", "another"]) == (CLIP, "openai")
    assert recognise(["another"]) is None


def test_encoders_of_ones_own_are_named_by_their_user():
    for named in (KnownEncoder, OWN):
        assert encoder_class(named) is KnownEncoder
        assert encoder_of("known", named) is KnownEncoder
    with pytest.raises(ModelError, match=r"encoder is 'known', and liqe_jax has clip.*encoder=\.\.\. in Python"):
        encoder_of("known")
    with pytest.raises(ModelError, match="model_type 'clip'; expected 'known'"):
        encoder_of("clip", OWN)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("resnet", "No encoder 'resnet'. Known are clip.*module:Class or file.py:Class"),
        (
            "tests.known:known_set",
            "An encoder is a subclass of liqe_jax.encoders.base.Encoder; got <function known_set",
        ),
        ("tests.known:Unknown", "The encoder names 'tests.known:Unknown', and tests.known has no 'Unknown'"),
    ],
)
def test_what_is_no_encoder_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        encoder_class(wrong)


def test_a_file_never_makes_us_import_anything(tmp_path):
    """A downloaded config.json cannot name code."""
    (tmp_path / "model.py").write_text("raise SystemExit('imported')")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": f"{tmp_path}/model.py:Own"}))
    (tmp_path / "flax_model.msgpack").write_bytes(b"\x80")
    with pytest.raises(ModelError):
        load(tmp_path)
    with pytest.raises(ModelError, match="If it is your own, name its class"):
        encoder_of(f"{tmp_path}/model.py:Own")


def test_a_model_of_another_encoder_is_not_read_as_a_clip(model_folder):
    with pytest.raises(ModelError, match="model_type 'clip'; expected 'known'"):
        load(model_folder, encoder=OWN)
    assert isinstance(load(model_folder, encoder="clip").encoder, CLIP)


# Objects by import path


def test_objects_are_loaded_from_modules_and_files(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import dataclasses\n\n@dataclasses.dataclass\nclass Own:\n    x: int = 1\n")
    by_file = load_object(f"{tmp_path}/mine.py:Own", "It")
    assert by_file().x == 1
    assert load_object(f"{tmp_path}/mine.py:Own", "It") is by_file  # one class, or isinstance would fail
    monkeypatch.chdir(tmp_path)
    assert load_object("mine.py:Own", "It") is by_file
    before = list(sys.path)
    try:
        assert load_object("mine:Own", "It")().x == 1  # a module in the working directory
    finally:
        sys.modules.pop("mine", None)
    assert sys.path == before
    assert load_object("json:dumps", "It") is json.dumps


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("dumps", "It must have the form module:name or file.py:name; got 'dumps'"),
        (":dumps", "must have the form"),
        ("json:", "must have the form"),
        ("json:a b", "must have the form"),
        ("json:dumped", "It names 'json:dumped', and json has no 'dumped'"),
        ("jsoon:dumps", r"and jsoon cannot be imported \(ModuleNotFoundError: No module named 'jsoon'\)"),
        ("absent.py:name", r"and absent.py cannot be imported \(FileNotFoundError: no file absent.py\)"),
        ("broken.py:name", r"broken.py cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("cut.py:name", r"cut.py cannot be imported \(SyntaxError"),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "cut.py").write_text("def name(:\n")
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(UsageError, match=message):
            load_object(path, "It")


@pytest.mark.parametrize(("name", "expected"), [("a:b", True), ("a.py:b", True), ("C:/a.py:b", True), ("a", False)])
def test_import_paths_are_told_from_names(name, expected):
    assert is_import_path(name) == expected
    assert not is_import_path(3)
