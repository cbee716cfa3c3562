"""The examples that join scores of shards to the data."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liqe_jax.cli.main import main

from .shards import encoded, tar_bytes

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def score_shards(model_folder, tmp_path, monkeypatch):
    """Runs the command in this process."""
    monkeypatch.setenv("LIQE_HOME", str(tmp_path / "liqe_home"))

    def run(*arguments: object) -> None:
        options = ["--model", model_folder, "--output", tmp_path / "out", "--workers", 2, "--quiet"]
        assert main([str(argument) for argument in ("score-shards", *arguments, *options)]) == 0

    return run


def test_scores_are_added_to_the_json_of_each_sample(score_shards, tmp_path):
    join = runpy.run_path(str(EXAMPLES / "scores_into_webdataset.py"))["join"]
    members = [
        *[("a.jpg", encoded(0)), ("a.json", b'{"caption": "x", "quality": 0}'), ("a.txt", b"t")],
        *[("b/b.json", b"{}"), ("b/b.jpg", encoded(1))],
        *[("c.jpg", encoded(2)), ("broken.jpg", b"text"), ("d.webp", encoded(3, "WEBP"))],
    ]
    (tmp_path / "x.tar").write_bytes(tar_bytes(members))
    score_shards(tmp_path / "x.tar")
    rows = pq.read_table(tmp_path / "out" / "x.parquet").to_pylist()
    join(tmp_path / "x.tar", tmp_path / "out" / "x.parquet", tmp_path / "y.tar")
    wanted = {row["key"]: {name: row[name] for name in ("quality", "scene", "distortion")} for row in rows}
    with tarfile.open(tmp_path / "y.tar") as joined:
        content = {member.name: joined.extractfile(member).read() for member in joined}
    assert list(content) == [
        *("a.jpg", "a.json", "a.txt", "b/b.json", "b/b.jpg", "c.jpg", "c.json"),
        *("broken.jpg", "d.webp", "d.json"),
    ]
    assert json.loads(content["a.json"]) == {"caption": "x", **wanted["a"]}
    for key in ("b/b", "c", "d"):
        assert json.loads(content[f"{key}.json"]) == wanted[key]
    for name, before in members:
        assert name.endswith(".json") or content[name] == before


# In a process of its own, as of a user, since the package warns.
SHOW = """
import datasets, json, sys
print(json.dumps(datasets.load_from_disk(sys.argv[1]).remove_columns("image")[:]))
"""


def test_a_hugging_face_data_set_is_filtered(score_shards, tmp_path):
    images = pa.array([{"bytes": encoded(number), "path": None} for number in range(5)])
    (tmp_path / "data").mkdir()
    data, best, filtered = tmp_path / "data" / "*.parquet", tmp_path / "best.parquet", tmp_path / "filtered"
    pq.write_table(pa.table({"id": range(5), "image": images}), tmp_path / "data" / "x.parquet")
    score_shards(data, "--key-column", "id")
    assert main(["merge-shards", str(tmp_path / "out"), "--top", "0.4", "--output", str(best)]) == 0

    def python(*arguments: object) -> bytes:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, timeout=600).stdout

    python(EXAMPLES / "filter_hf_dataset.py", data, "id", best, filtered)
    found, wanted = json.loads(python("-c", SHOW, filtered)), pq.read_table(best).select(["key", "quality"]).to_pydict()
    assert {"key": [str(number) for number in found["id"]], "quality": found["quality"]} == wanted
    assert len(wanted["key"]) == 2
