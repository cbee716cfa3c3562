"""Shards on a Ray cluster of this machine with two actors, and the scorer as a step of somebody's own pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liqe_jax.scale.output import OutputFolder
from liqe_jax.scale.run import Options, score_shard
from liqe_jax.scale.shards import Columns, find_shards

from .shards import encoded, raw_member, write_tars

pytest.importorskip("ray")

# In a process of its own: Ray warns, and leaves threads and sockets behind.
SCRIPT = """
import os, runpy, signal, sys
from pathlib import Path
import numpy as np
import ray
from PIL import Image
import liqe_jax.scale.ray
from liqe_jax.cli.main import main
from liqe_jax.scale import run
from liqe_jax.scale.shards import find_shards

model, folder, root = sys.argv[1:]


class Mortal(liqe_jax.scale.ray._ShardScorer):
    # The first that comes to the third shard dies in the middle of it.
    def _attempt(self, shard):
        died = Path(folder, "died")
        if shard.name == "00002" and not died.exists():
            died.touch()
            run.Statistics.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        return super()._attempt(shard)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    inputs, output = f"{folder}/{{00000..00004}}.tar", f"{folder}/ray"
    shards = ["score-shards", inputs, "--model", model, "--output", output, "--engine", "ray", "--keep-going"]
    liqe_jax.scale.ray._ShardScorer = Mortal
    print("status", main([*shards, "--actors", "2"]))
    print("status", main([*shards, "--actors", "1", "--resources", "CPU=1", "--preprocess", "even"]))
    print("status", main([*shards, "--actors", "3"]))
    print("status", main([*shards[:3], "nothing", *shards[4:], "--actors", "1"]))

    score = runpy.run_path(f"{root}/examples/ray_data.py")["score"]
    tars = [f"{folder}/{number:05d}.tar" for number in range(4)]
    score(tars, f"{folder}/tars", actors=2, rows=3, model=model, workers=1)
    score([f"{folder}/x.parquet"], f"{folder}/parquet", "jpg", "id", rows=3, model=model, workers=1)

    pixels = np.asarray(Image.open(f"{folder}/a.jpg"))
    scored = ray.data.from_items([{"id": n, "picture": pixels} for n in range(4)]).map_batches(
        liqe_jax.scale.ray.Scorer, batch_size=2, compute=ray.data.ActorPoolStrategy(size=1),
        fn_constructor_kwargs={"model": model, "image": "picture", "workers": 1},
    )
    scored.write_parquet(f"{folder}/arrays")

    scorer = liqe_jax.scale.ray._ShardScorer(f"{folder}/full", {"name_or_path": model}, run.Options())
    scorer._folder.create().fs.mv = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    print("full", scorer({"shard": [find_shards(tars[:1])[0].to_json()]})["statistics"])
"""


def test_two_actors_write_what_one_process_writes(model, model_folder, tmp_path):
    write_tars(tmp_path, 4, 4)
    (tmp_path / "00004.tar").write_bytes(raw_member("x.jpg", encoded(9)))  # without an end
    (tmp_path / "a.jpg").write_bytes(encoded(3))
    images = pa.array([encoded(20), None, b"text", encoded(21, "PNG"), encoded(22)], pa.binary())
    pq.write_table(pa.table({"id": list("abcde"), "jpg": images}), tmp_path / "x.parquet")
    done_before, *_ = find_shards([str(tmp_path / "00000.tar")])
    score_shard(done_before, OutputFolder(str(tmp_path / "ray")).create(), model, Options())
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "RAY_AUTH_MODE": "disabled", "XLA_FLAGS": ""}
    command = [sys.executable, "-c", SCRIPT, model_folder, tmp_path, root]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert [line[-1] for line in done.stdout.splitlines() if line.startswith("status")] == ["1", "1", "2", "2"]
    assert (tmp_path / "died").exists()
    assert "5 shards (1 skipped, 1 with faults), 13 images, 0 failed" in done.stderr
    assert "00004.tar breaks after 1 files" in done.stderr
    assert done.stderr.count("was made with preprocess 'paper', and this run has 'even'") == 5
    assert "liqe: The run on Ray fails: liqe_jax.errors.ModelError: No model 'nothing'" in done.stderr
    assert "The cluster has room for 2 actors" in done.stderr
    assert f"Cannot write {tmp_path}/full: [Errno 28] No space left on device" in done.stdout
    assert list((tmp_path / "full").iterdir()) == []

    folder = OutputFolder(str(tmp_path / "core")).create()
    for shard in find_shards([str(tmp_path / "*.tar")]):
        score_shard(shard, folder, model, Options())
        core, ray = (pq.read_table(tmp_path / name / f"{shard.name}.parquet") for name in ("core", "ray"))
        assert core.equals(ray, check_metadata=True)

    (shard,) = find_shards([str(tmp_path / "x.parquet")], columns=Columns("jpg", "id"))
    score_shard(shard, folder, model, Options())
    for name, outputs in {"tars": "0000[0-3].parquet", "parquet": "x.parquet"}.items():
        wanted = pa.concat_tables(map(pq.read_table, (tmp_path / "core").glob(outputs))).sort_by("key")
        found = pq.read_table(tmp_path / name).sort_by("key")
        assert found.column_names == wanted.column_names
        assert found.to_pylist() == wanted.to_pylist()
        assert found.schema.metadata[b"labels"] == wanted.schema.metadata[b"labels"]

    wanted = pq.read_table(tmp_path / "core" / "00000.parquet").drop_columns(["key", "sha256"]).to_pylist()[3]
    scored = pq.read_table(tmp_path / "arrays").sort_by("id").to_pylist()
    assert scored == [{"id": number, **wanted, "sha256": None} for number in range(4)]
