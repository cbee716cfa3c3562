"""Two processes never write the same results; who holds them is said, and a killed process holds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from configs import smoke
from liqe_jax.cli.main import main
from liqe_jax.data.prepare.run import prepare
from liqe_jax.errors import UsageError
from liqe_jax.evaluate.run import evaluate
from liqe_jax.evaluate.settings import default_eval_config
from liqe_jax.locks import in_use
from liqe_jax.train.loop import train_and_evaluate

from .conftest import photograph

HOLD = """
import sys, time
from liqe_jax.locks import in_use
with in_use(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold():
    """Starts processes that hold a path until they are killed."""
    started = []

    def start(path: Path) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_who_holds_it_is_said_and_a_killed_process_holds_nothing(hold, tmp_path):
    path = tmp_path / "scores.jsonl"
    holder = hold(path)
    with (
        pytest.raises(UsageError, match=f"in use by process {holder.pid} on .* since 20"),
        in_use(path),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "scores.jsonl.lock").exists()
    with in_use(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_threads_one_at_a_time_holds_it(tmp_path):
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(200):
            try:
                with in_use(tmp_path / "x"):
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
                    done += 1
            except UsageError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_locked_is_not(tmp_path):
    with in_use("/dev/null"), in_use("/proc/nothing/here"):
        pass


def test_scoring_into_a_file_in_use_is_refused(hold, model_folder, tmp_path, capsys):
    Image.fromarray(photograph(300, 320)).save(tmp_path / "a.png")
    output = tmp_path / "scores.jsonl"
    holder = hold(output)
    arguments = ["score", str(tmp_path / "a.png"), "--model", str(model_folder), "--output", str(output)]
    for options in ([], ["--resume"], ["--overwrite"]):
        assert main([*arguments, *options]) == 2
        assert f"in use by process {holder.pid}" in capsys.readouterr().err
    assert not output.exists()
    holder.kill()
    holder.wait()
    assert main(arguments) == 0
    assert json.loads(output.read_text())["image"].endswith("a.png")
    assert not list(tmp_path.glob("*.lock"))


def test_comparing_into_a_folder_in_use_is_refused(hold, model_folder, tmp_path, capsys):
    photos, output = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    output.mkdir()
    for number in range(3):
        Image.fromarray(photograph(300, 320, number)).save(photos / f"{number}.png")
    model, to = str(model_folder), ["--output", str(output)]
    commands = {
        "scores.jsonl": ["ranktest", str(photos), "--model", model, "--kinds", "10", "--size", "0", *to],
        "first.jsonl": [
            "gmad",
            str(photos),
            "--first",
            str(model_folder),
            "--second",
            "x.csv",
            "--output",
            str(output),
        ],
    }
    for file, command in commands.items():
        holder = hold(output / file)
        assert main(command) == 2
        assert f"{file} is in use by process {holder.pid}" in capsys.readouterr().err


def test_training_in_a_workdir_in_use_is_refused(hold, tmp_path):
    hold(tmp_path / "run")
    with pytest.raises(UsageError, match="run is in use by process"):
        train_and_evaluate(smoke.get_config(), str(tmp_path))


def test_evaluating_into_a_workdir_in_use_is_refused(hold, tmp_path):
    hold(tmp_path / "evaluation")
    with pytest.raises(UsageError, match="evaluation is in use by process"):
        evaluate(default_eval_config(), "liqe_nano", tmp_path)


def test_preparing_a_set_in_preparation_is_refused(hold, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph(64, 64)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "labels.csv").write_text("image,mos\na.png,3\n")
    hold(tmp_path / "data" / "folder_csv" / "mine" / "1.0.0")
    with pytest.raises(UsageError, match="in use by process"):
        prepare("folder_csv", tmp_path / "photos", tmp_path / "data", own_name="mine", quiet=True)


def test_two_runs_of_the_command_at_once_write_each_row_once(model_folder, tmp_path):
    for number in range(6):
        Image.fromarray(photograph(300, 320, number)).save(tmp_path / f"{number}.png")
    output = tmp_path / "scores.jsonl"
    command = [sys.executable, "-m", "liqe_jax.cli.main", "score", str(tmp_path), "--model", str(model_folder)]
    command += ["--output", str(output), "--resume"]
    environment = {**os.environ, "LIQE_HOME": str(tmp_path / "home")}
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    errors = [run.communicate(timeout=300)[1] for run in runs]
    images = [json.loads(line)["image"] for line in output.read_text().splitlines()]
    assert len(images) == len(set(images)) == 6
    assert sorted(run.returncode for run in runs) in ([0, 2], [0, 0])
    assert all(run.returncode == 0 or "in use by process" in error for run, error in zip(runs, errors, strict=True))
