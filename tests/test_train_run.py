"""Whole runs, as a user starts them: killed and resumed, on several processes, told to stop."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from liqe_jax import UsageError, load
from liqe_jax.scoring.predict_set import predict_set
from liqe_jax.train.checkpoints import Checkpoints, digest
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.report import NotFinite
from liqe_jax.train.settings import FROM_1, check_config, default_config
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.weights.write import write_model

from .runs import ROOT, command, environment, final_state, losses_of, run_on_two, tiny_config, wait_for_step


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(command(workdir), cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=300)
    return workdir


def test_a_killed_run_ends_where_an_uninterrupted_one_does(uninterrupted, tmp_path):
    workdir = tmp_path / "killed"
    step = int(np.random.default_rng().integers(3, 12))  # any step will do, so take any
    with subprocess.Popen(command(workdir), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        wait_for_step(process, step)
        process.kill()
    subprocess.run(command(workdir), cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=300)
    config = tiny_config()
    expected, got = final_state(uninterrupted, config), final_state(workdir, config)
    assert digest(got[0]) == digest(expected[0]), f"killed after step {step}"
    assert got[1] == expected[1]
    assert losses_of(workdir) == losses_of(uninterrupted)


def test_sigterm_saves_and_exits_with_0(tmp_path):
    workdir = tmp_path / "told"
    process = subprocess.Popen(
        command(workdir, "--config.epochs=2000", "--config.checkpoint.every_steps=100000"),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_step(process, 3)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 0
    stopped = int(re.search(r"saved after step (\d+)", rest).group(1))
    assert Checkpoints(str(workdir / "checkpoints"), 3).steps() == [stopped]


def test_a_corrupt_checkpoint_is_passed_over(uninterrupted, tmp_path):
    workdir = tmp_path / "corrupt"
    shutil.copytree(uninterrupted, workdir)
    newest = workdir / "checkpoints" / "12"
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    largest.write_bytes(content)
    run = subprocess.run(command(workdir), cwd=ROOT, env=environment(), check=True, capture_output=True, text=True)
    assert "of step 12 is corrupt and is set aside as corrupt-12" in run.stderr
    assert "Going on after step 10 of 12" in run.stderr
    assert not re.search("oneDNN|cudart|deprecated", run.stderr)  # what TensorFlow and Orbax log
    config = tiny_config()
    expected, got = final_state(uninterrupted, config), final_state(workdir, config)
    assert digest(got[0]) == digest(expected[0])
    assert got[1] == expected[1]


def test_checkpoints_of_another_model_are_left_alone(uninterrupted, tmp_path):
    """They cannot be restored either, but they are not corrupt."""
    workdir = tmp_path / "other"
    shutil.copytree(uninterrupted, workdir)
    config = tiny_config()
    config.architecture.vision.width = 32
    with pytest.raises(UsageError, match=r"another run: config\.architecture was \{.*Choose another --workdir"):
        train_and_evaluate(config, str(workdir))
    assert Checkpoints(str(workdir / "checkpoints"), 3).steps() == [8, 10, 12]
    assert json.loads((workdir / "config.json").read_text())["architecture"]["vision"]["width"] == 64


@pytest.fixture(scope="module")
def on_two(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "two"
    results = run_on_two(workdir)
    assert [status for status, _ in results] == [0, 0], results
    return workdir


def test_two_processes_train_as_one(uninterrupted, on_two):
    workdir = on_two
    expected, got = losses_of(uninterrupted), losses_of(workdir)
    assert expected.keys() == got.keys()
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-5)
    config = tiny_config()
    one, two = final_state(uninterrupted, config)[0], final_state(workdir, config)[0]
    start = starting_checkpoint(config).flat
    for path, leaf in one.params.items():
        if not path.endswith("k_proj/bias") and path != "logit_scale":
            assert np.linalg.norm(two.params[path] - leaf) <= 5e-3 * np.linalg.norm(leaf - start[path]) + 1e-9, path


def test_both_mappings_are_equal_bit_for_bit_on_two_processes(on_two, tmp_path):
    results = run_on_two(tmp_path / "two", options=["--config.mapping=shard_map"])
    assert [status for status, _ in results] == [0, 0], results
    assert losses_of(tmp_path / "two") == losses_of(on_two)
    (expected, counters), (got, same) = (final_state(path, tiny_config()) for path in (on_two, tmp_path / "two"))
    assert digest(got) == digest(expected)
    assert same == counters


def test_a_run_exports_models_that_score(tmp_path, photo, monkeypatch):
    config = tiny_config()
    config.data.validate = ()
    config.epochs, config.steps_per_epoch = 1, 2
    config.preprocess = "even"
    validated_with = []

    def recorded(*arguments, preset, **options):
        validated_with.append((preset.name, preset.count))
        return predict_set(*arguments, preset=preset, **options)

    monkeypatch.setattr("liqe_jax.train.validate.predict_set", recorded)
    monkeypatch.chdir(tmp_path)
    best = train_and_evaluate(config, "run")  # as people give it: relative
    assert Checkpoints("run/checkpoints", 3).steps() == [2]
    assert set(best) == {"quality", "distortion", "average"}
    model = load(tmp_path / "run" / "best_average", devices=jax.devices()[:1])
    assert [entry.dataset for entry in model.provenance.trained_on] == ["generated", "generated-2"]
    assert 1 <= model.score(photo).quality <= 5
    last = load(tmp_path / "run" / "last", devices=jax.devices()[:1])
    assert (last.preprocess, model.preprocess) == ("even", "even")
    assert set(validated_with) == {("even", config.validation_crops)}
    jax.tree.map(np.testing.assert_array_equal, last.params, model.params)  # the only epoch's is the best and the last
    assert last.provenance.notes[0].startswith("step 2 of 2, ")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("val/generated/srcc" in line for line in lines)
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == config.seed


def test_what_a_bare_file_was_trained_on_is_not_known(tmp_path, checkpoint):
    write_model(tmp_path / "LIQE.pt", checkpoint, "openai-pt")
    config = tiny_config()
    config.init = str(tmp_path / "LIQE.pt")
    config.epochs, config.steps_per_epoch = 1, 1
    train_and_evaluate(config, str(tmp_path / "run"))
    assert load(tmp_path / "run" / "last", devices=jax.devices()[:1]).provenance.trained_on is None


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_a_loss_that_is_not_finite(tmp_path, on_nan):
    config = tiny_config()
    config.on_nan = on_nan
    config.epochs, config.steps_per_epoch = 1, 3
    losses = {"broken": lambda p, y, g: p.values["quality"].sum() / 0.0}
    config.weighting = "equal"
    if on_nan == "stop":
        with pytest.raises(NotFinite, match=r"step 1 is not finite.*\.png.*last good checkpoint"):
            train_and_evaluate(config, str(tmp_path / "run"), losses)
        return
    train_and_evaluate(config, str(tmp_path / "run"), losses)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [1, 2, 3]


def test_settings_are_checked():
    config = default_config()
    with pytest.raises(AttributeError):
        config.lerning_rate = 1.0  # locked
    with config.unlocked():
        config.lerning_rate = 1.0
    with pytest.raises(UsageError, match=r"unknown keys \['lerning_rate'\]"):
        check_config(config)
    for key, value in (
        ("on_nan", "ignore"),
        ("dtype", "float16"),
        ("preprocess", "odd"),
        ("temperature", 0.0),
    ):
        config = default_config()
        config[key] = value
        with pytest.raises(UsageError, match=f"config.{key}"):
            check_config(config)


@pytest.mark.parametrize("pairs", [("set",), ("set", "reference")])
def test_pairs_are_within_a_set_or_a_photograph(pairs):
    config = default_config()
    config.data.sets, config.data.pairs = (("CLIVE", 4), ("synthetic", 4)), ("set", "photograph")
    check_config(config)
    config.data.pairs = pairs
    with pytest.raises(UsageError, match=r"config\.data\.pairs must have one of set, photograph for each"):
        check_config(config)


def test_mixup_is_of_frozen_features():
    config = default_config()
    config.data.sets, config.data.mixup = (("CLIVE", 4), ("synthetic", 4)), (0.4, 0.0)
    with pytest.raises(UsageError, match=r"mixes features, not crops: it needs config\.data\.frozen_features=True"):
        check_config(config)
    config.data.frozen_features = True
    check_config(config)
    for wrong in ((0.4,), (0.4, -1.0), (0.4, float("nan")), (0.4, float("inf")), (0.4, "a")):
        config.data.mixup = wrong
        with pytest.raises(
            UsageError, match=r"config\.data\.mixup must have one number for each of config\.data\.sets"
        ):
            check_config(config)


NUMBERS = {
    key: int(key in FROM_1)
    for key, value in flatten_dict(default_config().to_dict(), sep=".").items()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not key.startswith("architecture.")
}


@pytest.mark.parametrize(("key", "lowest"), NUMBERS.items())
def test_settings_have_lower_bounds(key, lowest):
    config = default_config()
    config.update_from_flattened_dict({key: lowest - 1})
    with pytest.raises(UsageError, match=rf"config\.{key} must be at least {lowest}; got -?\d"):
        check_config(config)


def test_every_setting_from_1_exists():
    assert set(NUMBERS) >= FROM_1


def test_a_wrong_flag_is_an_error():
    options = [sys.executable, "train.py", "--config=configs/smoke.py", "--workdir=x", "--config.lr=1"]
    result = subprocess.run(options, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "lr" in result.stderr


@pytest.mark.parametrize("name", ["liqe_mix", "liqe_clive", "liqe_koniq", "liqe_ablation", "folder_csv", "smoke"])
def test_every_configuration_is_valid(name):
    module = __import__(f"configs.{name}", fromlist=["get_config"])
    check_config(module.get_config())
    assert "python train.py --config=configs/" in module.__doc__
    assert "Verified here" in module.__doc__
