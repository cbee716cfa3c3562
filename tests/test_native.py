"""Our own model folder: it comes back whole, and any damage to it is noticed and named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.scoring.load import load
from liqe_jax.tasks import Attribute, TaskSet
from liqe_jax.taxonomy import QUALITY_ONLY
from liqe_jax.weights import native
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.files import sha256_of_file
from liqe_jax.weights.native import MANIFEST, TEXT_FEATURES, WEIGHTS, read_native, write_native
from liqe_jax.weights.open import with_text_features
from liqe_jax.weights.provenance import Provenance, TrainingSet
from liqe_jax.weights.read import read_model

FILES = ("config.json", "liqe.json", "merges.txt", "model.safetensors", "text_features.safetensors", "vocab.json")

WEAR = TaskSet(
    "wear",
    (Attribute("state", ("worn", "used", "new"), values=(1, 2, 3.5)), Attribute("material", ("wood", "métal"))),
    "a photo of a {state} surface of {material}",
)


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path) -> Path:
    """A copy of the tiny model to damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def change_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def accept(folder: Path, name: str) -> None:
    """Makes the manifest agree with a file that was changed."""
    change_manifest(folder, lambda manifest: manifest["sha256"].update({name: sha256_of_file(folder / name)}))


# What comes back


def test_others_may_read_what_the_user_lets_them_read(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    mode = (tmp_path / "new").stat().st_mode
    assert {entry.name: entry.stat().st_mode for entry in model_folder.iterdir()} == dict.fromkeys(FILES, mode)


def test_a_model_comes_back_whole(model_folder: Path, checkpoint: Checkpoint) -> None:
    assert sorted(entry.name for entry in model_folder.iterdir()) == sorted(FILES)
    got = read_native(model_folder)
    assert got.flat.keys() == checkpoint.flat.keys()
    for name, array in checkpoint.flat.items():
        np.testing.assert_array_equal(got.flat[name], array, err_msg=name)
    assert (got.encoder, got.tasks, got.provenance) == (checkpoint.encoder, checkpoint.tasks, checkpoint.provenance)
    np.testing.assert_array_equal(got.text_features, checkpoint.text_features)


def test_a_model_says_how_it_is_judged(folder: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert load(folder).preprocess == "paper"
    write_native(tmp_path / "even", dataclasses.replace(checkpoint, preprocess="even"))
    assert load(tmp_path / "even").preprocess == "even"
    change_manifest(folder, lambda manifest: manifest.pop("preprocess"))  # as older versions wrote it
    assert load(folder).preprocess == "paper"
    change_manifest(folder, lambda manifest: manifest.update(preprocess="pyramid"))
    with pytest.raises(ModelError, match="asks for the preset 'pyramid'; this version has paper, pyiqa, even"):
        load(folder)


def test_text_features_are_used_and_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liqe_jax.weights.open.text_features", lambda *_: pytest.fail("computed again"))
    assert load(folder, devices=jax.devices()[:1]).tasks == read_native(folder).tasks


def test_other_tasks_get_features_of_their_own(folder: Path, checkpoint: Checkpoint) -> None:
    model = load(folder, tasks="quality", devices=jax.devices()[:1])
    want = with_text_features(checkpoint, QUALITY_ONLY).text_features
    np.testing.assert_allclose(np.asarray(model.text_features), want, atol=1e-6)


def test_provenance_and_tasks_of_any_kind_come_back(tmp_path: Path, checkpoint: Checkpoint) -> None:
    provenance = Provenance(
        "größe",
        "somewhere",
        "ab" * 32,
        "CC BY 4.0",
        (TrainingSet("KonIQ-10k", "official"), TrainingSet("mine")),
        ("One note.", "Another “note”."),
    )
    written = with_text_features(dataclasses.replace(checkpoint, provenance=provenance), WEAR)
    write_native(tmp_path / "wear", written)
    got = read_model(tmp_path / "wear")
    assert (got.provenance, got.tasks) == (provenance, WEAR)
    assert got.tasks.attributes[0].values == (1.0, 2.0, 3.5)
    assert got.tasks.attributes[1].values is None
    np.testing.assert_array_equal(got.text_features, written.text_features)


@pytest.mark.parametrize("trained_on", [None, ()])
def test_nothing_known_and_nothing_used_stay_different(
    tmp_path: Path, checkpoint: Checkpoint, trained_on: tuple | None
) -> None:
    write_native(tmp_path / "a", dataclasses.replace(checkpoint, provenance=Provenance("a", trained_on=trained_on)))
    assert read_native(tmp_path / "a").provenance.trained_on == trained_on


def test_a_folder_may_move(folder: Path, checkpoint: Checkpoint) -> None:
    moved = folder.parent / "elsewhere" / "model"
    moved.parent.mkdir()
    folder.rename(moved)
    assert read_model(moved).provenance == checkpoint.provenance


def test_files_that_do_not_belong_are_ignored(folder: Path) -> None:
    (folder / "README.md").write_text("# mine")
    read_native(folder)


# What is corrupt


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
def test_a_deleted_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"lacks {name}\. Copy the whole folder again"):
        read_model(folder)


def test_without_manifest_it_is_an_ordinary_clip(folder: Path, checkpoint: Checkpoint) -> None:
    (folder / MANIFEST).unlink()
    got = read_model(folder)
    assert (got.encoder, got.tasks, got.text_features) == (checkpoint.encoder, None, None)
    with pytest.raises(ModelError, match=MANIFEST):
        read_native(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=name):
        read_model(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_altered_byte_is_noticed(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int((len(content) - 1) * place)] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} is cut or altered: expected sha256 \w{{64}}, got \w{{64}}"):
        read_model(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
def test_a_cut_file_that_the_manifest_accepts_is_still_an_error(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    accept(folder, name)
    with pytest.raises(ModelError):
        read_model(folder)


def test_text_features_of_another_model_are_refused(tmp_path: Path, folder: Path, checkpoint: Checkpoint) -> None:
    flat = checkpoint.flat | {"text_projection/kernel": checkpoint.flat["text_projection/kernel"] * 1.01}
    write_native(tmp_path / "other", with_text_features(dataclasses.replace(checkpoint, flat=flat)))
    shutil.copy(tmp_path / "other" / TEXT_FEATURES, folder / TEXT_FEATURES)
    accept(folder, TEXT_FEATURES)
    with pytest.raises(ModelError, match="made from other weights or other prompts"):
        read_model(folder)


def test_weights_of_another_model_are_refused(tmp_path: Path, folder: Path, checkpoint: Checkpoint) -> None:
    flat = checkpoint.flat | {"logit_scale": checkpoint.flat["logit_scale"] + 1}
    write_native(tmp_path / "other", dataclasses.replace(checkpoint, flat=flat))
    shutil.copy(tmp_path / "other" / WEIGHTS, folder / WEIGHTS)
    accept(folder, WEIGHTS)
    with pytest.raises(ModelError, match="made from other weights or other prompts"):
        read_model(folder)


def test_features_of_other_prompts_are_refused(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["tasks"].update(template=manifest["tasks"]["template"] + "!"))
    with pytest.raises(ModelError, match="made from other weights or other prompts"):
        read_model(folder)


def test_features_of_a_wrong_shape_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    features = checkpoint.text_features
    assert features is not None
    with pytest.raises(ModelError, match="text features"):
        write_native(tmp_path / "a", dataclasses.replace(checkpoint, text_features=features[:-1]))
    assert not list(tmp_path.iterdir())


def test_a_newer_format_is_refused(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["format"].update(version=2))
    with pytest.raises(ModelError, match=r"'version': 2.*Update liqe_jax"):
        read_model(folder)


@pytest.mark.parametrize("name", ["../config.json", "/etc/hostname", "sub/config.json", "..", "", "."])
def test_a_manifest_that_names_other_folders_is_refused(folder: Path, name: str) -> None:
    change_manifest(folder, lambda manifest: manifest["sha256"].update({name: "0" * 64}))
    with pytest.raises(ModelError, match=r"liqe\.json lists .* not a plain file name"):
        read_model(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
def test_a_manifest_must_list_every_file(folder: Path, name: str) -> None:
    # Otherwise a changed file would go unnoticed.
    change_manifest(folder, lambda manifest: manifest["sha256"].pop(name))
    with pytest.raises(ModelError, match=r"liqe\.json"):
        read_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"format": None},
        {"format": {"name": "other", "version": 1}},
        {"format": {"name": "liqe_jax"}},
        {"format": {"name": "liqe_jax", "version": "1"}},
        {"format": {"name": "liqe_jax", "version": None}},
        {"sha256": None},
        {"sha256": []},
        {"sha256": {}},
        {"sha256": [WEIGHTS]},
        {"sha256": WEIGHTS},
        {"tasks": None},
        {"tasks": {}},
        {"tasks": {"name": "a", "attributes": [], "template": ""}},
        {"tasks": {"name": "a", "attributes": [{"name": "q", "labels": 3}], "template": "{q}"}},
        {"tasks": {"name": "a", "attributes": [{"name": "q", "labels": ["b"], "values": ["x"]}], "template": "{q}"}},
        {"tasks": {"name": "a", "attributes": [{"name": "q", "labels": ["b"]}], "template": "{q"}},
        {"tasks": {"name": "a", "attributes": [{"name": "q", "labels": ["b"]}], "template": 3}},
        {"provenance": None},
        {"provenance": []},
        {"provenance": {}},
        {"provenance": {"name": "a", "colour": "red"}},
        {"provenance": {"name": "a", "trained_on": ["KonIQ-10k"]}},
        {"provenance": {"name": "a", "trained_on": 3}},
        {"provenance": {"name": "a", "notes": 3}},
        {"preprocess": None},
        {"preprocess": ["even"]},
    ],
    ids=str,
)
def test_a_corrupt_manifest_is_refused(folder: Path, change: dict) -> None:
    change_manifest(folder, lambda manifest: manifest.update(change))
    with pytest.raises((ModelError, UsageError), match=r"liqe\.json"):
        read_model(folder)


@pytest.mark.parametrize("key", ["format", "tasks", "provenance", "sha256"])
def test_an_incomplete_manifest_is_refused(folder: Path, key: str) -> None:
    change_manifest(folder, lambda manifest: manifest.pop(key))
    with pytest.raises(ModelError, match=r"liqe\.json"):
        read_model(folder)


# Writing


def test_an_existing_folder_is_left_alone(folder: Path, checkpoint: Checkpoint) -> None:
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    with pytest.raises(ModelError, match="exists already"):
        write_native(folder, checkpoint)
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before


@pytest.mark.parametrize("missing", ["tasks", "text_features"])
def test_a_task_set_and_its_features_are_needed(tmp_path: Path, checkpoint: Checkpoint, missing: str) -> None:
    with pytest.raises(ModelError, match="needs a task set and its text features"):
        write_native(tmp_path / "a", dataclasses.replace(checkpoint, **{missing: None}))
    assert not list(tmp_path.iterdir())


def test_overflow_leaves_nothing_behind(tmp_path: Path, checkpoint: Checkpoint) -> None:
    flat = checkpoint.flat | {"logit_scale": np.array(1e6, np.float32)}
    with pytest.raises(ModelError, match="float16 cannot hold the values of logit_scale"):
        write_native(tmp_path / "a", dataclasses.replace(checkpoint, flat=flat), "float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["write_safetensors", "write_json", "sha256_of_file"])
def test_a_write_that_fails_midway_leaves_nothing_behind(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original, calls = getattr(native, step), []

    def fail_second_time(*arguments: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(*arguments, **options)

    monkeypatch.setattr(native, step, fail_second_time)
    with pytest.raises(ModelError, match="No space left on device") as caught:
        write_native(tmp_path / "a", checkpoint)
    assert str(tmp_path / "a") in str(caught.value)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    write_native(tmp_path / "a", checkpoint)
    read_native(tmp_path / "a")


def test_the_folder_is_readable_for_others(tmp_path: Path, model_folder: Path) -> None:
    # A temporary folder is private; the model that was made in it should not be.
    (tmp_path / "plain").mkdir()
    assert model_folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_parents_are_made(tmp_path: Path, checkpoint: Checkpoint) -> None:
    write_native(tmp_path / "a" / "b" / "c", checkpoint)
    assert read_model(tmp_path / "a" / "b" / "c").provenance == checkpoint.provenance
    assert [entry.name for entry in (tmp_path / "a" / "b").iterdir()] == ["c"]


def test_of_two_that_write_at_once_one_is_told(tmp_path: Path, checkpoint: Checkpoint, monkeypatch) -> None:
    original = native.sha256_of_file

    def slow(path):  # the other one finishes after this one has looked, and before it is done
        if not (tmp_path / "a").exists():
            monkeypatch.setattr(native, "sha256_of_file", original)
            write_native(tmp_path / "a", checkpoint)
        return original(path)

    monkeypatch.setattr(native, "sha256_of_file", slow)
    with pytest.raises(ModelError, match="Cannot write"):
        write_native(tmp_path / "a", checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert not any(path.is_dir() for path in (tmp_path / "a").iterdir())
    read_native(tmp_path / "a")


def test_weights_that_cannot_be_read_are_named(tmp_path: Path, checkpoint: Checkpoint, monkeypatch) -> None:
    write_native(tmp_path / "a", checkpoint)
    (tmp_path / "a" / WEIGHTS).unlink()
    (tmp_path / "a" / WEIGHTS).mkdir()
    with pytest.raises(ModelError, match=WEIGHTS):
        read_native(tmp_path / "a")
    with pytest.raises(ModelError, match="cannot be read"):
        native.sha256_of_file(tmp_path / "a" / WEIGHTS)
