"""Text features of bare weight files are kept between starts, and never those of other weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from liqe_jax.scoring.load import load
from liqe_jax.weights import open as opening
from liqe_jax.weights.write import write_model


@pytest.fixture
def file(tmp_path, checkpoint):
    write_model(tmp_path / "LIQE.pt", checkpoint, "openai-pt")
    return tmp_path / "LIQE.pt"


@pytest.fixture
def computed(monkeypatch):
    """The names of the task sets whose features were computed."""
    names, compute = [], opening.text_features

    def counted(params, encoder, tasks, tokenizer=None):
        names.append(tasks.name)
        return compute(params, encoder, tasks, tokenizer)

    monkeypatch.setattr(opening, "text_features", counted)
    return names


def features(path, folder, tasks="quality"):
    return np.asarray(load(path, tasks=tasks, devices=jax.devices()[:1], text_cache_folder=folder).text_features)


def test_features_are_computed_once_for_each_file_and_task_set(file, tmp_path, computed, checkpoint):
    first = features(file, tmp_path / "cache")
    np.testing.assert_array_equal(features(file, tmp_path / "cache"), first)
    assert computed == ["quality"]
    assert features(file, tmp_path / "cache", "quality_scene").shape != first.shape
    assert computed == ["quality", "quality_scene"]
    other = {**checkpoint.flat, "text_projection/kernel": checkpoint.flat["text_projection/kernel"] + 0.1}
    file.unlink()
    write_model(file, type(checkpoint)(other, checkpoint.encoder, checkpoint.provenance), "openai-pt")
    assert np.abs(features(file, tmp_path / "cache") - first).max() > 1e-3
    assert computed == ["quality", "quality_scene", "quality"]


def test_a_corrupt_entry_is_made_again(file, tmp_path, computed):
    first = features(file, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    good = kept.read_bytes()
    for corrupt in (b"", good[: len(good) // 2], b"nonsense" * 99):
        kept.write_bytes(corrupt)
        np.testing.assert_array_equal(features(file, tmp_path / "cache"), first)
        assert kept.read_bytes() == good
    assert computed == ["quality"] * 4


def test_where_nothing_can_be_kept(file, tmp_path, computed, model_folder):
    (tmp_path / "no folder").touch()
    first = features(file, tmp_path / "no folder")
    np.testing.assert_array_equal(features(file, tmp_path / "no folder"), first)
    np.testing.assert_array_equal(features(file, None), first)
    assert computed == ["quality"] * 3
    features(model_folder, tmp_path / "cache", "joint")  # has its own
    assert not (tmp_path / "cache").exists()
    assert computed == ["quality"] * 3
