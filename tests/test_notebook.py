"""The notebook, executed from top to bottom as a reader would, with the network blocked."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from liqe_jax.data.named import load_sets
from liqe_jax.data.prepare.run import prepare
from liqe_jax.train.settings import check_config

from .conftest import SAMPLES
from .fakes import clive
from .quick_compiling import as_for_users

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "liqe_colab.ipynb"

# Images of a step have to divide among the devices, and sixteen do not divide by three.
DEVICES = 3

# Imported by every Python process that finds it first: nothing gets beyond this machine, and what tries to is noted.
BLOCKED = """
import os, socket

def blocked(function, address_of):
    def guarded(*arguments):
        address = address_of(*arguments)
        if isinstance(address, (str, bytes)) or address[0] in ("127.0.0.1", "::1", "localhost"):
            return function(*arguments)
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(f"{address[0]}\\n")
        raise OSError("the network is blocked")
    return guarded

socket.socket.connect = blocked(socket.socket.connect, lambda self, address: address)
socket.socket.connect_ex = blocked(socket.socket.connect_ex, lambda self, address: address)
socket.getaddrinfo = blocked(socket.getaddrinfo, lambda host, *_: (host,))
"""

# A last cell: what the others found, and an attempt to reach an address that exists for documentation only (RFC 5737).
PROBE = """
import socket

try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    refusal = str(error)
found = {
    "scores": {Path(score.image).name: score.quality for score in results},
    "climb": [quality for _, quality in path],
    "images_per_step": images_per_step,
    "losses": [[line[f"loss/{name}"] for name in config.losses] for line in log if "loss/quality" in line],
    "evaluation": evaluation,
    "parts": sorted({row["split"] for row in table}),
    "refusal": refusal,
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> nbformat.NotebookNode:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "sitecustomize.py").write_text(BLOCKED)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    nbformat.write(notebook, folder / "probed.ipynb")
    environment = {
        **as_for_users(os.environ),
        "PYTHONPATH": str(folder),
        "CONNECTIONS": str(folder / "connections.txt"),
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        "MPLBACKEND": "",  # the kernel's own
        **{
            name: str(folder / name)
            for name in ("LIQE_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
        },
    }
    command = [
        sys.executable,
        "tools/notebook.py",
        folder / "probed.ipynb",
        "--output",
        folder / "out.ipynb",
        "--times",
    ]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    notebook.metadata.times = run.stdout
    notebook.metadata.connections = (folder / "connections.txt").read_text().split()
    return notebook


@pytest.fixture(scope="module")
def found(executed) -> dict:
    (output,) = cell(executed, "probe").outputs
    return json.loads(output.text)


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


def shown(notebook: nbformat.NotebookNode, name: str, kind: str) -> list[str]:
    """What a cell shows, of one MIME type."""
    return [output.data[kind] for output in cell(notebook, name).outputs if kind in output.get("data", {})]


def test_the_table_has_a_row_for_every_sample(executed, found):
    names = {path.name for path in SAMPLES.glob("*.jpg")}
    assert found["scores"].keys() == names
    assert all(1 <= quality <= 5 for quality in found["scores"].values())
    (table,) = shown(executed, "photos", "text/markdown")
    rows = dict(re.findall(r"^\| (\S+\.jpg) \| (\d\.\d\d) \|", table, re.MULTILINE))
    assert rows == {name: f"{quality:.2f}" for name, quality in found["scores"].items()}


def test_every_section_has_its_seconds(executed):
    numbers = re.findall(r"^ *\d+\.\d s  (\d)\. ", executed.metadata.times, re.MULTILINE)
    assert numbers == list("12345678")
    assert all("execution" not in cell.metadata for cell in executed.cells)


def test_pictures_are_shown(executed):
    for name in ("sheet", "bars", "map", "gradient", "losses", "evaluate"):
        (encoded,) = shown(executed, name, "image/png")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
        assert min(pixels.shape[:2]) > 200, name
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, f"{name} is blank"


def test_the_gradient_leads_upwards(found):
    assert max(found["climb"]) > found["climb"][0] + 1e-3


def test_fine_tuning_lowers_the_loss_on_any_number_of_devices(found):
    assert found["images_per_step"] == 18
    losses = np.sum(found["losses"], axis=1)
    assert np.isfinite(losses).all()
    third = len(losses) // 3
    assert losses[-third:].mean() < losses[:third].mean()


def test_the_evaluation_is_on_a_held_out_part(executed, found):
    assert found["parts"] == ["test", "train", "val"]
    assert found["evaluation"].keys() == {"before", "after"}
    figures = [value for row in found["evaluation"].values() for value in row.values()]
    assert len(figures) == 4
    assert all(np.isfinite(value) and -1 <= value <= 1 for value in figures)
    before, after = (found["evaluation"][name]["SRCC"] for name in ("before", "after"))
    assert before < 0.6
    assert after > 0.9
    (table,) = shown(executed, "evaluate", "text/markdown")
    for row in found["evaluation"].values():
        assert f"{row['SRCC']:.3f} | {row['PLCC']:.3f} |" in table


def test_nothing_was_fetched(executed, found):
    assert found["refusal"] == "the network is blocked"
    # The probe's own attempt, and no other.
    assert executed.metadata.connections == ["192.0.2.1"]


def test_training_on_clive_has_settings_that_are_accepted(tmp_path):
    code = cell(nbformat.read(NOTEBOOK, as_version=4), "clive").source
    code, count = re.subn('^CLIVE, LABELS = "", ""$', 'CLIVE, LABELS = "clive", "labels"', code, flags=re.MULTILINE)
    assert count == 1
    clive(tmp_path / "clive", tmp_path / "labels")
    found = []

    class EndError(Exception):
        pass

    def train_and_evaluate(config, workdir):
        found.append(config)
        raise EndError

    def prepare_here(name, folder, *arguments, **options):
        options_of_set = {"labels": tmp_path / arguments[1]["labels"]}
        return prepare(name, tmp_path / folder, arguments[0], options_of_set, **options)

    names = {"DATA": tmp_path / "data", "WORK": tmp_path, "contextlib": contextlib, "sys": sys}
    with pytest.raises(EndError):
        exec(code, {**names, "prepare": prepare_here, "train_and_evaluate": train_and_evaluate})
    check_config(found[0])
    assert found[0].data.sets == (("CLIVE", 64),)
    (dataset,) = load_sets([name for name, _ in found[0].data.sets], Path(found[0].data.folder))
    assert found[0].data.split in dataset.splits


# Colab before anything is installed: no liqe_jax, and a dialogue that gives the file the reader chose. What would be
# run is printed instead.
COLAB = """
import importlib.util, subprocess, sys, types

sys.modules["google"], sys.modules["google.colab"] = types.ModuleType("google"), types.ModuleType("google.colab")
sys.modules["google.colab"].files = types.SimpleNamespace(upload=lambda: {"project.zip": b""})
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "liqe_jax" else find_spec(name)
subprocess.run = lambda command, check: print(*command[1:])
"""


def install(folder: Path, before: str = COLAB, source: str = "") -> subprocess.CompletedProcess:
    """Runs the first cell in an empty process, far from any checkout."""
    code = cell(nbformat.read(NOTEBOOK, as_version=4), "install").source
    code, count = re.subn('^SOURCE = ".*"$', f"SOURCE = {source!r}", code, count=1, flags=re.MULTILINE)
    assert count == 1
    script = before + code + "\nprint(checkout)"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_first_cell_installs_from_an_uploaded_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:  # as a download from a hosting site is packed
        archive.writestr("liqe_jax-main/configs/folder_csv.py", "")
    run = install(tmp_path)
    project = tmp_path / "liqe_jax_source" / "liqe_jax-main"
    installed, checkout = run.stdout.splitlines()
    assert re.fullmatch(rf"-m pip install --quiet {project}\[train,nano\] jax(\[tpu\]|\[cuda12\])?", installed)
    assert checkout == str(project)
    again = install(tmp_path)  # what is there is not asked for again
    assert again.stdout == run.stdout


def test_the_first_cell_clones_an_address_and_refuses_another_project(tmp_path):
    run = install(tmp_path, source="https://example.org/liqe_jax.git")
    assert run.stdout == "clone --depth=1 https://example.org/liqe_jax.git liqe_jax_source/checkout\n"
    assert "is not the repository of liqe_jax" in run.stderr  # the clone was only printed


def test_the_first_cell_says_what_to_do_where_there_is_nothing(tmp_path):
    elsewhere = COLAB + 'del sys.modules["google.colab"]\n'
    assert "set SOURCE to the address, the folder or a zip file" in install(tmp_path, elsewhere).stderr


def test_the_first_cell_does_nothing_where_the_package_is_there(tmp_path):
    run = install(tmp_path, f"import subprocess, sys; sys.path.insert(0, {str(ROOT)!r}); subprocess.run = None\n")
    assert run.stdout.splitlines() == [str(ROOT)], run.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_committed_shows_no_errors_and_no_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for one in notebook.cells:
        for output in one.get("outputs", []):
            assert output.output_type != "error", one.id
            text = json.dumps({k: v for k, v in output.get("data", {}).items() if k != "image/png"})
            assert not re.search(r"/(tmp|home|root|work|Users)/", output.get("text", "") + text), one.id
