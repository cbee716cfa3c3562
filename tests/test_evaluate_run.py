"""eval.py as a user starts it, on generated pictures with a tiny model; devices and hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import eval_liqe
from liqe_jax import load
from liqe_jax.data.generated import generated_set
from liqe_jax.evaluate.settings import check_eval_config
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.metrics.correlation import srcc
from liqe_jax.scoring.predict_set import predict_set

ROOT = Path(__file__).parent.parent

SMALL = (
    "--config.sets=('generated',)",
    "--config.sessions=('1',)",
    "--config.official=()",
    "--config.whole=('generated-2',)",
    "--config.bootstrap.resamples=20",
)


def command(workdir: Path, *options: str) -> list[str]:
    return [sys.executable, "eval.py", "--config=configs/eval_liqe.py", f"--workdir={workdir}", *SMALL, *options]


def environment(devices: int = 1) -> dict[str, str]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last one counts
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


def start(options: list[str], devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
        options, cwd=ROOT, env=environment(devices), capture_output=True, text=True, timeout=300, check=False
    )


def kept(workdir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workdir.rglob("*.jsonl*")}


@pytest.fixture(scope="module")
def finished(model_folder, tmp_path_factory) -> Path:
    """A run on three devices that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("eval") / "whole"
    result = start(command(workdir, f"--weights={model_folder}"), devices=3)
    assert result.returncode == 0, result.stderr
    return workdir


def test_a_run_writes_everything(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*")}
    assert {"evaluation.json", "results.json", "report.html", "predictions/model/generated.jsonl"} <= names
    assert {f"tables/sessions_srcc.{suffix}" for suffix in ("md", "tex", "csv")} <= names
    content = json.loads((finished / "results.json").read_text())
    assert [(row["dataset"], row["images"]) for row in content["results"]] == [("generated", 10), ("generated-2", 60)]
    assert content["models"]["model"]["provenance"]["name"] == "tiny"


def test_predictions_are_the_scorers(finished, model):
    """The same numbers as `liqe score` gives, up to the rounding of another batch."""
    dataset = generated_set("generated-2")
    lines = (finished / "predictions" / "model" / "generated2.jsonl").read_text().splitlines()[1:]
    for index in (0, 17, 59):
        (encoded,) = dataset.read([index])
        score, row = model.score(encoded), json.loads(lines[index])
        assert row["image"] == dataset.names[index]
        assert row["quality"] == pytest.approx(score.quality, abs=1e-5)
        for name, probabilities in score.probabilities.items():
            np.testing.assert_allclose(row["probabilities"][name], list(probabilities.values()), atol=1e-6)


def test_a_killed_run_goes_on_with_other_devices(finished, model_folder, tmp_path):
    workdir = tmp_path / "killed"
    options = command(workdir, f"--weights={model_folder}", "--config.workers=1")
    process = subprocess.Popen(
        options, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    partial = workdir / "predictions" / "model" / "generated2.jsonl.partial"
    until = time.monotonic() + 200
    while not (partial.exists() and partial.read_text().count("\n") > 3) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (workdir / "results.json").exists()
    result = start(command(workdir, f"--weights={model_folder}"), devices=2)
    assert result.returncode == 0, result.stderr
    assert "generated: all 10 predictions exist already" in result.stderr
    predicted = int(re.search(r"generated-2: (\d+) images predicted", result.stderr)[1])
    assert 0 <= predicted < 60
    assert kept(workdir) == kept(finished)


def test_tables_need_neither_model_nor_data(finished, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "tables")
    result = start(command(workdir, "--config.from_predictions"))
    assert result.returncode == 0, result.stderr
    for path in finished.rglob("tables/*"):
        assert (workdir / "tables" / path.name).read_bytes() == path.read_bytes()


def test_two_hosts_predict_as_one(finished, model_folder, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    workdirs = [tmp_path / "first", tmp_path / "second"]
    processes = [
        subprocess.Popen(
            command(
                workdirs[number],
                f"--weights={model_folder}",
                f"--coordinator=localhost:{port}",
                "--processes=2",
                f"--process_id={number}",
            ),
            cwd=ROOT,
            env=environment(2),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert kept(workdirs[0]) == kept(finished)
    assert not workdirs[1].exists()  # only the first writes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights=nowhere"], "No model"),
        ([], "No model is named"),
        (["--weights=m", "--config.whole=('TID2013',)", "--config.data.folder=nowhere"], "TID2013: No prepared data"),
        (["--weights=m", "--config.on_seen=hide"], "config.on_seen must be one of"),
    ],
)
def test_errors_are_one_line_and_status_2(tmp_path, options, message):
    result = start(command(tmp_path / "w", *options))
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_flag_is_an_error(tmp_path):
    result = start(command(tmp_path, "--config.prest=even"))
    assert result.returncode != 0
    assert "prest" in result.stderr


def test_batches_and_devices_change_no_rank(model_folder):
    dataset = generated_set(count=23)
    exact, ranked = set(), set()
    for count, per_device in ((1, 1), (8, 1), (3, 1), (2, 5)):
        scorer = load(model_folder, devices=jax.devices()[:count])
        options = {"preset": PRESETS["paper"], "images_per_device": per_device}
        batches = list(predict_set(scorer.forward, scorer.weights, dataset, np.arange(23), **options))
        indices = np.concatenate([batch.indices for batch in batches])
        assert sorted(indices.tolist()) == list(range(23))
        quality = np.empty(23, np.float32)
        quality[indices] = np.concatenate([batch.quality for batch in batches])
        ranked.add(srcc(dataset.mos, quality))
        if per_device == 1:
            exact.add(quality.tobytes())
    assert len(exact) == 1  # the same work per device: the same bits
    assert len(ranked) == 1


def test_the_configuration_is_valid():
    check_eval_config(eval_liqe.get_config())
    assert "python eval.py --config=configs/eval_liqe.py" in eval_liqe.__doc__
    assert "Verified here" in eval_liqe.__doc__
