"""Going on with a run: whose folder it is, what is corrupt and what is not, on several hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from liqe_jax import UsageError
from liqe_jax.train.checkpoints import Checkpoints, digest
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.losses import LOSSES
from liqe_jax.train.report import Logs
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.train.step import exported_params
from liqe_jax.train.validate import export_folder
from liqe_jax.train.workdir import FORMAT, check_workdir
from liqe_jax.weights.open import open_checkpoint

from .runs import final_state, losses_of, run_on_two, tiny_config


def resumable_config():
    config = tiny_config()
    config.epochs = 1
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    train_and_evaluate(resumable_config(), str(workdir))
    return workdir


@pytest.fixture
def workdir(finished, tmp_path) -> Path:
    """A copy whose run has two steps before it."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    return tmp_path / "run"


def steps_in(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def test_metrics_survive_a_kill_while_they_are_written(tmp_path, monkeypatch):
    logs, file = Logs(str(tmp_path), True, 0), tmp_path / "metrics.jsonl"
    logs.write(1, {"loss": 0.5})
    before = file.read_text()

    def cut_off(path, text):
        open(path, "w").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(logs._file), "write_text", cut_off)
    with pytest.raises(KeyboardInterrupt):
        logs.write(2, {"loss": 0.4})
    logs.close()
    assert json.loads(before) == {"step": 1, "loss": 0.5}
    assert file.read_text() == before


@pytest.mark.parametrize("content", ["", "[1]", '{"seed": '])
def test_settings_that_were_cut_off_are_an_error(workdir, content):
    (workdir / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json holds no settings of a run .*To go on .*, remove that file"):
        train_and_evaluate(resumable_config(), str(workdir))
    assert (workdir / "config.json").read_text() == content
    assert steps_in(workdir) == ["2", "4"]


def test_settings_are_replaced_and_never_cut(tmp_path):
    """A file that is written in place is empty for a moment, in which a kill or another process may come."""
    config = resumable_config()
    check_workdir(str(tmp_path), config, ("quality",))
    os.link(tmp_path / "config.json", tmp_path / "as_it_was")
    before = (tmp_path / "as_it_was").read_text()
    config.seed += 1
    check_workdir(str(tmp_path), config, ("quality",))
    assert (tmp_path / "as_it_was").read_text() == before
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == config.seed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["as_it_was", "config.json"]


def test_what_is_frozen_belongs_to_the_run(workdir):
    config = resumable_config()
    config.freeze = ("text_model",)
    with pytest.raises(UsageError, match=r"another run: config\.freeze was \[\] and is \['text_model'\]"):
        train_and_evaluate(config, str(workdir))
    assert steps_in(workdir) == ["2", "4"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_only", ("text_model",), r"config\.train_only was \[\] and is \['text_model'\]"),
        ("ema_decay", 0.9, r"config\.ema_decay was False and is True"),
        ("encoder", "tests.known:KnownEncoder", r"config\.encoder was 'clip' and is 'tests\.known:KnownEncoder'"),
        ("optimizer.name", "lion", r"config\.optimizer was 'reference' and is 'lion'"),
    ],
)
def test_what_a_state_consists_of_belongs_to_the_run(workdir, key, value, message):
    config, losses = resumable_config(), ("quality", "distortion")
    config.optimizer.learning_rate = 1.0  # rates and the like may change
    check_workdir(str(workdir), config, losses)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UsageError, match=f"another run: {message}"):
        check_workdir(str(workdir), config, losses)


def test_runs_of_another_version_are_named(workdir):
    """Their states have another form, so their checkpoints would seem corrupt."""
    content = json.loads((workdir / "config.json").read_text())
    del content[FORMAT]
    (workdir / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"checkpoints of another version of liqe_jax.*--config\.init set to a model"):
        train_and_evaluate(resumable_config(), str(workdir))
    assert steps_in(workdir) == ["2", "4"]
    assert FORMAT not in json.loads((workdir / "config.json").read_text())


def factored(rate):
    """An optimizer of one's own."""
    return optax.adafactor(rate, min_dim_size_to_factor=8)


def mean_quality(prediction, labels, groups):
    """A loss of one's own."""
    return -prediction.values["quality"].mean()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.name": "adamw", "ema_decay": 0.9},
        {"optimizer.name": "lion", "optimizer.clip_norm": 0.5, "train_only": ("text_projection", "text_model")},
        {"optimizer.name": "sgd", "weighting": "gradnorm"},
        {
            "optimizer.name": f"{__name__}:factored",
            "losses": ("quality", f"{__name__}:mean_quality"),
            "weighting": "dwa",
        },
    ],
    ids=["adamw", "lion", "sgd", "own"],
)
def test_every_optimizer_goes_on_bit_for_bit(tmp_path, changes):
    config = resumable_config()
    config.steps_per_epoch = 4
    config.update_from_flattened_dict(changes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_and_evaluate(config, str(whole))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "4")  # as if it had been killed after step 3
    shutil.rmtree(cut / "last")
    train_and_evaluate(config, str(cut))
    expected, got = (final_state(folder, config) for folder in (whole, cut))
    assert digest(got[0]) == digest(expected[0])
    assert got[1] == expected[1]
    exported = [open_checkpoint(folder / "last").flat for folder in (whole, cut)]
    jax.tree.map(np.testing.assert_array_equal, *exported)
    jax.tree.map(np.testing.assert_array_equal, exported[0], exported_params(got[0]))
    start = starting_checkpoint(config).flat
    moved = {name for name, leaf in exported[0].items() if not np.array_equal(leaf, start[name])}
    assert moved
    if "train_only" in changes:
        assert all(name.startswith("text_") for name in moved)
    if "ema_decay" in changes:
        assert set(got[0].ema) == set(start) - {"logit_scale"}
        assert any((got[0].params[name] != exported[0][name]).any() for name in moved)


def test_losses_of_ones_own_belong_to_the_run(workdir):
    with pytest.raises(UsageError, match=r"the list of losses was \['quality', 'distortion'\] and is \['quality'\]"):
        train_and_evaluate(resumable_config(), str(workdir), {"quality": LOSSES["quality"]})
    assert steps_in(workdir) == ["2", "4"]


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), MemoryError("no room")])
def test_a_failing_machine_costs_no_checkpoint(workdir, failure, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr(Checkpoints, "_read", fail)
    with pytest.raises(type(failure), match=str(failure.args[-1])):
        train_and_evaluate(resumable_config(), str(workdir))
    assert steps_in(workdir) == ["2", "4"]


def test_a_run_whose_checkpoints_are_all_corrupt_does_not_begin_anew(workdir):
    for path in (workdir / "checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size > 10_000:
            path.write_bytes(bytes(path.stat().st_size))
    for _ in range(2):  # nor the second time
        with pytest.raises(UsageError, match=r"None of the checkpoints \[2, 4\] .*to begin anew, remove that folder"):
            train_and_evaluate(resumable_config(), str(workdir))
        assert steps_in(workdir) == ["2", "4"]


def test_a_best_model_that_is_gone_is_no_longer_claimed(tmp_path, capsys):
    config = resumable_config()
    config.data.validate = ("generated",)
    config.epochs, config.steps_per_epoch = 2, 1
    workdir = tmp_path / "run"
    train_and_evaluate(config, str(workdir))
    checkpoints = Checkpoints(str(workdir / "checkpoints"), 3)
    assert checkpoints.steps() == [2]
    checkpoints.close()
    shutil.rmtree(workdir / "best_quality")
    capsys.readouterr()
    best = train_and_evaluate(config, str(workdir))
    assert "quality" not in best
    assert "distortion" in best
    said = capsys.readouterr().err
    assert re.search(r"The best model by quality so far \(-?\d\.\d+\), \S+/best_quality, is gone", said)


def test_models_of_runs_in_buckets_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = (export_folder(f"gs://bucket/{run}", "liqe") for run in ("mix_1", "deep/mix_2/"))
    assert (one, two) == (tmp_path / "liqe" / "mix_1", tmp_path / "liqe" / "mix_2")
    assert export_folder("runs/mix", "liqe") == Path("runs/mix")


def test_two_processes_go_on_where_one_stopped_with_a_sharded_optimizer(finished, workdir):
    results = run_on_two(workdir, options=["--config.epochs=1", "--config.shard_optimizer=True"])
    assert [status for status, _ in results] == [0, 0], results
    assert "Going on after step 4 of 6." in results[0][1]
    expected, got = losses_of(finished), losses_of(workdir)
    assert expected.keys() == got.keys()
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-5)
    # The checkpoint has whole moments, as of a run that is not sharded.
    (got, _), (expected, _) = (final_state(folder, resumable_config()) for folder in (workdir, finished))
    for name, moment in expected.opt_state.mu.items():
        if not name.endswith("k_proj/bias"):  # its gradient is zero but for rounding
            apart = np.linalg.norm(np.asarray(got.opt_state.mu[name]) - np.asarray(moment))
            assert apart <= 1e-3 * np.linalg.norm(moment), name


def test_both_processes_refuse_another_run(workdir):
    results = run_on_two(workdir, options=["--config.epochs=1", "--config.freeze=('text_model',)"])
    for status, told in results:
        assert status == 2, told
        assert "another run: config.freeze was [] and is ['text_model']" in told


# train.py that does not wait for NFS to show what another host wrote.
IMPATIENT = """
import runpy, sys
from liqe_jax.train import workdir
workdir.WAITS = (0.1,)
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("copied", "message"),
    [
        (False, r"other/config\.json, which the first process wrote, is not there for processes 1\. "),
        (True, r"The first process finds the checkpoints \[2, 4\] in \S+; processes 1 find others\. "),
    ],
    ids=["empty", "copied"],
)
def test_hosts_that_do_not_share_the_folder_are_told(workdir, tmp_path, copied, message):
    other = tmp_path / "other"
    if copied:  # and the run went on without it
        settings = workdir / "config.json"  # those of these processes
        settings.write_text(settings.read_text().replace('"devices": 1,', '"devices": 0,'))
        shutil.copytree(workdir, other)
        shutil.rmtree(other / "checkpoints" / "4")
    results = run_on_two(workdir, other, options=["--config.epochs=1"], start=["-c", IMPATIENT])
    assert [status for status, _ in results] == [2, 2], results
    for _, told in results:
        assert "All hosts need the same --workdir" in told
    assert re.search(message, results[1][1]), results
