"""What people with photographs of their own do: a folder with a CSV, prepared, trained on, evaluated."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import eval_liqe, folder_csv, smoke
from liqe_jax import UsageError, load
from liqe_jax.data.prepare.run import prepare
from liqe_jax.evaluate.run import evaluate
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import open_checkpoint, with_text_features
from liqe_jax.weights.provenance import Provenance, TrainingSet

from .conftest import photograph

PARTS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A model as small as it goes, with attributes and a vocabulary of its own, as `liqe_nano` has them."""
    config = smoke.get_config()
    config.architecture.vision.layers = config.architecture.text.layers = 1
    provenance = Provenance("small", "made by the tests", trained_on=(TrainingSet("KADID-10k", "session 1"),))
    start = dataclasses.replace(starting_checkpoint(config), provenance=provenance)
    folder = tmp_path_factory.mktemp("models") / "small"
    write_native(folder, with_text_features(start, "quality_distortion"))
    return folder


def prepared(folder: Path, parts: list[str] | None, name: str | None = None) -> Path:
    """The data directory of a small set; `parts` None leaves the column out."""
    mine = folder / "mine"
    mine.mkdir(parents=True)
    count = len(parts or PARTS)
    rows = [["image", "mos", *(["split"] if parts else [])]]
    for i in range(count):
        Image.fromarray(photograph(240, 260, seed=i)).save(mine / f"{i}.png")
        rows.append([f"{i}.png", 10 * i, *([parts[i]] if parts else [])])
    with (mine / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare("folder_csv", mine, folder / "data", own_name=name, quiet=True)
    return folder / "data"


def settings(data: Path, model: Path) -> ConfigDict:
    """The configuration that is meant for this, shortened."""
    config = folder_csv.get_config()
    config.init = str(model)
    config.data.folder = str(data)
    config.data.sets = (("folder_csv", 4),)
    config.data.crops = 1
    config.epochs, config.steps_per_epoch = 1, 2
    config.optimizer.warmup_steps = 0
    config.devices = 1
    return config


def logged(run: Path) -> dict[str, float]:
    return {k: v for line in (run / "metrics.jsonl").read_text().splitlines() for k, v in json.loads(line).items()}


def statuses(model: Path, data: Path, workdir: Path) -> list[str]:
    """Status of the session's test split and of the whole set."""
    config = eval_liqe.get_config()
    config.data.folder = str(data)
    config.sets, config.official, config.whole = (), (("folder_csv", "own"),), ("folder_csv",)
    config.bootstrap.resamples, config.pictures, config.devices = 20, False, 1
    results = evaluate(config, str(model), workdir)["results"]
    assert all(np.isfinite(row["srcc"]) for row in results)
    return [row["status"] for row in results]


def test_from_a_folder_to_a_model_that_is_tested(small, tmp_path, capsys):
    data = prepared(tmp_path, PARTS)
    run = tmp_path / "run"
    best = train_and_evaluate(settings(data, small), str(run))
    assert set(best) == {"quality", "average"}
    assert best["quality"] == logged(run)["val/folder_csv/srcc"]
    assert "test/folder_csv/srcc" in logged(run)
    assert f"Models: {run}/best_*, {run}/last" in capsys.readouterr().err
    tuned = load(run / "best_quality", devices=jax.devices()[:1])
    assert tuned.tasks == open_checkpoint(small).tasks  # distortions are still there
    trained_on = [(entry.dataset, entry.split) for entry in tuned.provenance.trained_on]
    assert trained_on == [("KADID-10k", "session 1"), ("folder_csv", "own")]
    assert statuses(run / "best_quality", data, tmp_path / "evaluation") == ["test", "seen"]


def test_without_a_split_the_last_model_is_exported(small, tmp_path, capsys):
    data = prepared(tmp_path, None)
    run = tmp_path / "run"
    assert train_and_evaluate(settings(data, small), str(run)) == {}
    told = capsys.readouterr().err
    assert "Nothing is held out for validation" in told
    assert f"Done. Model: {run}/last" in told
    assert not any(key.startswith(("val/", "test/")) for key in logged(run))  # all images are training images
    tuned = open_checkpoint(run / "last")
    assert [(e.dataset, e.split) for e in tuned.provenance.trained_on][-1] == ("folder_csv", "all")
    before = open_checkpoint(small).flat
    assert any(np.abs(tuned.flat[name] - before[name]).max() > 0 for name in before)
    assert 1 <= load(run / "last", devices=jax.devices()[:1]).score(photograph(240, 260)).quality <= 5


@pytest.mark.parametrize(
    ("parts", "split", "told"),
    [
        (PARTS, "mine", r"No data set has the split .*'mine': folder_csv has own, all\. Choose"),
        (["train"] * 6 + ["val"] * 2, "own", r"Part 'val' of split 'own' of folder_csv has 2 images; .* at least 3"),
        (["train"] * 6 + ["test"], "own", r"Part 'test' .* has 1 images; .*--config\.data\.test="),
    ],
)
def test_splits_that_would_fail_late_are_refused_before_the_first_step(parts, split, told, small, tmp_path):
    config = settings(prepared(tmp_path, parts), small)
    config.data.split = split
    with pytest.raises(UsageError, match=told):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_of_a_model_that_says_nothing_nothing_is_known_afterwards(small, tmp_path):
    """Fine-tuning must not turn "not stated" into a claim that nothing else was seen."""
    before = open_checkpoint(small)
    silent = dataclasses.replace(before, provenance=dataclasses.replace(before.provenance, trained_on=None))
    write_native(tmp_path / "silent", silent)
    train_and_evaluate(settings(prepared(tmp_path, None), tmp_path / "silent"), str(tmp_path / "run"))
    assert open_checkpoint(tmp_path / "run" / "last").provenance.trained_on is None
