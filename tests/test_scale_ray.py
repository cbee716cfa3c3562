"""Shards on a Ray cluster of this machine with two actors, and the scorer as a step of somebody's own pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from liqe_jax.scale.output import OutputFolder
from liqe_jax.scale.run import Options, score_shard
from liqe_jax.scale.shards import find_shards

from .shards import encoded, raw_member, write_tars

pytest.importorskip("ray")

# In a process of its own: Ray warns, and leaves threads and sockets behind.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import ray
from PIL import Image
from liqe_jax.cli.main import main
from liqe_jax.scale.ray import Scorer

model, folder = sys.argv[1:3]
sys.path.insert(0, sys.argv[3])
from tests.shards import encoded

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    inputs, output = f"{folder}/{{00000..00004}}.tar", f"{folder}/ray"
    shards = ["score-shards", inputs, "--model", model, "--output", output, "--engine", "ray", "--keep-going"]
    print("status", main([*shards, "--actors", "2"]))
    print("status", main([*shards, "--actors", "2", "--resources", "CPU=1", "--preprocess", "even"]))
    print("status", main([*shards, "--actors", "3"]))
    print("status", main([*shards[:3], "nothing", *shards[4:], "--actors", "1"]))
    pixels = np.asarray(Image.open(f"{folder}/a.jpg"))
    for name, images in (("bytes", [encoded(n) for n in range(4)]), ("arrays", [pixels] * 4)):
        rows = [{"id": n, "picture": image} for n, image in enumerate(images)]
        scored = ray.data.from_items(rows).map_batches(
            Scorer, batch_size=2, compute=ray.data.ActorPoolStrategy(size=1),
            fn_constructor_kwargs={"model": model, "image": "picture", "workers": 1},
        )
        scored.write_parquet(f"{folder}/{name}")
"""


def test_two_actors_write_what_one_process_writes(model, model_folder, tmp_path):
    write_tars(tmp_path, 4, 4)
    (tmp_path / "00004.tar").write_bytes(raw_member("x.jpg", encoded(9)))  # without an end
    (tmp_path / "a.jpg").write_bytes(encoded(3))
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "RAY_AUTH_MODE": "disabled", "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, model_folder, tmp_path, root],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [line[-1] for line in done.stdout.splitlines() if line.startswith("status")] == ["1", "1", "2", "2"]
    assert "5 shards (0 skipped, 1 with faults), 17 images, 0 failed" in done.stderr
    assert "00004.tar breaks after 1 files" in done.stderr
    assert done.stderr.count("was made with preprocess 'paper', and this run has 'even'") == 5
    assert "liqe: The run on Ray fails: liqe_jax.errors.ModelError: No model 'nothing'" in done.stderr
    assert "The cluster has room for 2 actors" in done.stderr

    folder = OutputFolder(str(tmp_path / "core")).create()
    for shard in find_shards([str(tmp_path / "*.tar")]):
        score_shard(shard, folder, model, Options())
        core, ray = (pq.read_table(tmp_path / name / f"{shard.name}.parquet") for name in ("core", "ray"))
        assert core.equals(ray, check_metadata=True)

    wanted = pq.read_table(tmp_path / "core" / "00000.parquet").drop_columns(["key", "sha256"]).to_pylist()
    scored = pq.read_table(tmp_path / "bytes").sort_by("id").to_pylist()
    assert [{name: row[name] for name in wanted[0]} for row in scored] == wanted
    assert [set(row) - set(wanted[0]) for row in scored] == [{"id"}] * 4
    assert pq.read_table(tmp_path / "arrays").drop_columns(["id"]).to_pylist() == [wanted[3]] * 4
