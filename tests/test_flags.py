"""The flags of train.py and eval.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_an_unknown_setting_is_one_line(script, tmp_path):
    config = {"train.py": "smoke", "eval.py": "eval_liqe"}[script]
    options = [f"--config=configs/{config}.py", f"--workdir={tmp_path}", "--config.tsks=quality"]
    command = [sys.executable, script, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert done.stderr == f'{script}: There is no setting --config.tsks. Did you mean "tasks"?\n'


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_a_package_that_is_not_installed_is_one_line(script):
    absent = (
        f"import runpy, sys; sys.modules['ml_collections'] = None; sys.argv = [{script!r}]; runpy.run_path({script!r})"
    )
    done = subprocess.run([sys.executable, "-c", absent], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{script}: This needs ml_collections, which cannot be imported")
    assert done.stderr.endswith("Install it with: pip install 'liqe_jax[train]'\n")
    assert done.stderr.count("\n") == 1
