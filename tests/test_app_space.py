"""The files in spaces/: they agree with the package, and start as a Hugging Face Space starts them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
SPACE = ROOT / "spaces"


def test_requirements_are_those_of_scoring():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (SPACE / "requirements.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == project["dependencies"]


def test_the_front_matter_names_a_gradio_that_the_package_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    _, front, _ = (SPACE / "README.md").read_text("utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["sdk"] == "gradio"
    assert (SPACE / facts["app_file"]).is_file()
    (gradio,) = project["optional-dependencies"]["app"]
    assert gradio == f"gradio>={facts['sdk_version'].rpartition('.')[0]},<7"
    assert len(facts["short_description"]) <= 60  # the hub's limit


def test_the_space_starts(model_folder, tmp_path):
    space = tmp_path / "space"
    shutil.copytree(SPACE, space)
    shutil.copytree(ROOT / "liqe_jax", space / "liqe_jax", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **os.environ,
        "SYSTEM": "spaces",
        "LIQE_MODEL": str(model_folder),
        "GRADIO_SERVER_PORT": "0",
        "XLA_FLAGS": "",
        "TMPDIR": str(tmp_path),
    }
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=space,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # A server that hangs must not hang the tests.
    guard = threading.Timer(600, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"http://\S+", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        with urllib.request.urlopen(found[0] + "config") as answer:
            assert json.load(answer)["title"] == "LIQE"
        process.terminate()
        rest = process.stdout.read()
        assert process.wait() == 0, said + rest
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
