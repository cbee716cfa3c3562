"""The page's server in a process of its own: what it takes, refuses, keeps and leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import SAMPLES

VISIT = Path(__file__).with_name("app_visit.py")


@pytest.fixture(scope="module")
def visit(model_folder, tmp_path_factory) -> dict:
    """What a visit to the page finds; see app_visit.py."""
    temporary = tmp_path_factory.mktemp("temporary")
    done = subprocess.run(
        [sys.executable, VISIT, model_folder, SAMPLES / "phone_portrait.jpg"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "XLA_FLAGS": "",
        },
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "temporary": temporary}


def test_a_visitor_is_served(visit):
    assert visit["stored"]
    assert visit["shown"]
    assert visit["compared"]


def test_nothing_of_a_visitor_is_kept(visit):
    assert visit["kept"] == []
    assert visit["files"] == []
    assert not visit["remembered"]


def test_files_of_the_server_are_neither_shown_nor_deleted(visit):
    assert not visit["secret_shown"]
    assert visit["secret_outlived"]


def test_large_files_and_requests_are_refused(visit):
    assert visit["too_large"] == 413
    assert visit["too_many"] == 413


def test_the_folder_of_uploads_is_temporary_and_goes_with_the_server(visit):
    folder = Path(visit["folder"])
    assert folder.parent == visit["temporary"].resolve()
    assert not folder.exists()
    assert not [path for path in visit["temporary"].rglob("*") if path.is_file()]
