"""`liqe score-shards` and `liqe merge-shards` as users run them: shares, kills, full disks, and the best of a set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liqe_jax.cli.main import main
from liqe_jax.errors import UsageError
from liqe_jax.locks import in_use
from liqe_jax.scale.merge import merge_shards
from liqe_jax.scale.share import find_share

from .shards import encoded, raw_member, samples, tar_bytes, write_tars


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """The command keeps compiled programs; a test must not write into somebody's home."""
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def score_shards(model_folder, tmp_path):
    """Runs the command in this process."""

    def run(*arguments: object, output: Path = tmp_path / "out") -> int:
        options = ["--model", model_folder, "--output", output, "--workers", 2]
        return main([str(argument) for argument in ("score-shards", *arguments, *options)])

    return run


def command(model_folder: Path, output: Path, *arguments: object) -> list[str]:
    start = [sys.executable, "-m", "liqe_jax.cli.main", "score-shards", *arguments]
    return [str(part) for part in (*start, "--model", model_folder, "--output", output)]


def keys_of(folder: Path) -> list[str]:
    return [key for path in sorted(folder.glob("*.parquet")) for key in pq.read_table(path)["key"].to_pylist()]


def test_shares_cover_all_shards_once_and_a_second_run_finds_nothing_to_do(score_shards, tmp_path, capsys):
    write_tars(tmp_path, 3, 2)
    pattern = tmp_path / "{00000..00002}.tar"
    assert score_shards(pattern, "--shards", "1/2") == 0
    assert keys_of(tmp_path / "out") == ["000002", "000003"]
    assert "1 of 1 shards to score; share 1/2 (--shards) of 3 shards" in capsys.readouterr().err
    assert score_shards(pattern, "--shards", "0/2") == 0
    assert keys_of(tmp_path / "out") == [f"{number:06d}" for number in range(6)]
    capsys.readouterr()
    assert score_shards(pattern) == 0
    assert "0 of 3 shards to score" in capsys.readouterr().err
    assert score_shards(pattern, "--overwrite", "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert score_shards(pattern, "--preprocess", "even") == 2
    assert "was made with preprocess 'paper', and this run has 'even'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, (0, 1, "JAX")),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, (0, 1, "JAX")),  # a batch script, which runs once
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, (3, 4, "SLURM")),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3"}, (2, 3, "SLURM")),
        (
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3"}
            | {"SLURM_ARRAY_TASK_STEP": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
            (5, 6, "SLURM"),
        ),
    ],
)
def test_the_share_is_that_of_slurm(environment, share):
    found = find_share(None, environment)
    assert (found.index, found.count, found.source) == share
    assert find_share("2/5", environment).of(range(12)) == [2, 7]


def test_without_slurm_the_share_is_that_of_the_jax_process(monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    monkeypatch.setattr("jax.process_count", lambda: 3)
    assert find_share(None, {}).of(range(6)) == [1, 4]


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "1/2/3", "0/0"])
def test_shares_that_make_no_sense_are_refused(text):
    with pytest.raises(UsageError, match=r"must be I/N with I from 0 to N - 1"):
        find_share(text, {})


def test_variables_of_slurm_that_make_no_sense_are_refused():
    for value in ("x", "9"):
        with pytest.raises(UsageError, match="SLURM's variables do not say which task this is"):
            find_share(None, {"SLURM_ARRAY_TASK_ID": value, "SLURM_ARRAY_TASK_COUNT": "3"})


def test_a_broken_shard_stops_the_run_unless_told_to_go_on(score_shards, tmp_path, capsys):
    write_tars(tmp_path, 3, 1)
    (tmp_path / "00001.tar").write_bytes(raw_member("a.jpg", encoded(0)))
    assert score_shards(tmp_path / "{00000..00003}.tar") == 1
    error = capsys.readouterr().err
    assert "00001.tar breaks after 1 files: it ends without a tar's end mark" in error
    assert "--keep-going" in error
    assert keys_of(tmp_path / "out") == ["000000", "a"]
    assert score_shards(tmp_path / "{00000..00003}.tar", "--keep-going") == 1
    error = capsys.readouterr().err
    assert "3 of 4 shards to score" in error  # the broken one is tried again
    assert "Cannot open" in error  # 00003.tar
    assert "with faults), 2 images" in error
    assert keys_of(tmp_path / "out") == ["000000", "a", "000002"]


def test_two_processes_never_score_one_shard(score_shards, tmp_path, capsys):
    write_tars(tmp_path, 2, 1)
    hold = "import sys, time\nfrom liqe_jax.locks import in_use\nwith in_use(sys.argv[1]):\n print(1, flush=True)\n"
    path = tmp_path / "out" / "00000.parquet"
    path.parent.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", f"{hold} time.sleep(600)", path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"1\n"
        assert score_shards(tmp_path / "*.tar", "--keep-going") == 1
        assert f"in use by process {holder.pid}" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate()
    assert keys_of(tmp_path / "out") == ["000001"]
    assert score_shards(tmp_path / "*.tar") == 0
    assert keys_of(tmp_path / "out") == ["000000", "000001"]
    with in_use(path):
        pass


# Kills the process when it calls a function for the n-th time, before or after the call.
KILLED = """
import importlib, os, signal, sys
from liqe_jax.cli.main import main
module, owner, name, when, left = sys.argv[1:6]
owner, left = getattr(importlib.import_module(module), owner), int(left)
original = getattr(owner, name)
def killing(*arguments, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, killing)
sys.exit(main(sys.argv[6:]))
"""


def test_killed_at_any_moment_and_started_again_every_key_is_there_once(model_folder, tmp_path):
    write_tars(tmp_path, 4, 12)
    output, pattern = tmp_path / "out", tmp_path / "*.tar"
    local, parquet = ("fsspec.implementations.local", "LocalFileSystem"), ("pyarrow.parquet", "ParquetWriter")
    moments = [
        (("liqe_jax.scoring.model", "Model", "_result", "before", "20"), 1),  # in the middle of the second shard
        ((*parquet, "close", "before", "1"), 1),  # the rows of the second shard are written, but not its footer
        ((*local, "mv", "before", "2"), 1),  # the statistics have their name, the rows have not
        ((*local, "mv", "after", "2"), 2),
    ]
    for moment, whole in moments:
        start = [sys.executable, "-c", KILLED, *moment, *command(model_folder, output, pattern)[3:]]
        killed = subprocess.run(start, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert [pq.read_table(path).num_rows for path in sorted(output.glob("*.parquet"))] == [12] * whole
    done = subprocess.run(command(model_folder, output, pattern), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 shards to score" in done.stderr
    assert keys_of(output) == [f"{number:06d}" for number in range(48)]


def test_a_full_disk_leaves_no_half_a_file(model_folder, tmp_path):
    write_tars(tmp_path, 2, 1)
    limited = [
        "bash",
        "-c",
        'ulimit -f 4; exec "$@"',
        "bash",
        *command(model_folder, tmp_path / "out", tmp_path / "*.tar"),
    ]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    done = subprocess.run(limited, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2, done.stderr
    where = tmp_path / "out" / "00000.parquet"
    assert (
        done.stderr.splitlines()[-1] == f"liqe: {where}: File too large. Check the path, its permissions and the disk."
    )
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not list((tmp_path / "out").glob(".*.part"))


def test_wrong_use_is_said_before_anything_is_written(score_shards, tmp_path, capsys):
    write_tars(tmp_path, 1, 1)
    for options, reason in [
        (["--batch-size", "0"], "batch_size must be"),
        (["--columns", "beauty"], "no column beauty"),
        (["--shards", "2/2"], "must be I/N"),
        (["--engine", "ray", "--resources", "GPU"], "NAME=NUMBER"),
    ]:
        assert score_shards(tmp_path / "*.tar", *options) == 2
        assert reason in capsys.readouterr().err
    assert list(tmp_path.glob("out/*")) == []


@pytest.fixture
def scored(score_shards, tmp_path) -> Path:
    """A folder of outputs with distinct scores, a broken image and a key that occurs twice."""
    members = [*samples(0, 6), ("broken.jpg", b"text"), ("000000.png", encoded(50, "PNG"))]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    (tmp_path / "b.tar").write_bytes(tar_bytes(samples(6, 5)))
    assert score_shards(tmp_path / "{a,b}.tar", "--quiet") == 0
    return tmp_path / "out"


def test_the_best_of_the_whole_set_are_listed(scored, tmp_path, capsys):
    rows = [row for name in "ab" for row in pq.read_table(scored / f"{name}.parquet").to_pylist()]
    rows = [row for row in rows if row["status"] == "success"]
    assert len(rows) == 11
    for top, count in ((0.01, 1), (0.3, 3), (0.5, 6), (1.0, 11)):
        output = tmp_path / f"{top}.parquet"
        assert main(["merge-shards", str(scored), "--top", str(top), "--output", str(output)]) == 0
        merged = pq.read_table(output)
        best = sorted((row["quality"] for row in rows), reverse=True)[:count]
        assert sorted(merged["quality"].to_pylist(), reverse=True) == best
        assert f"{count} of 11 images from 2 shards, quality {best[-1]:.4f} and higher" in capsys.readouterr().err
    assert merged["shard"].to_pylist() == ["a"] * 6 + ["b"] * 5
    assert merged.drop_columns(["shard"]).to_pylist() == rows
    assert json.loads(merged.schema.metadata[b"labels"])["quality_probs"][0] == "bad"
    least = float(np.median([row["quality"] for row in rows]))
    output = tmp_path / "min.parquet"
    assert main(["merge-shards", str(scored), "--min-quality", str(least), "--output", str(output)]) == 0
    assert len(pq.read_table(output)) == 6
    assert main(["merge-shards", str(scored), "--top", "0.1", "--output", str(output)]) == 2
    assert "exists. Give --overwrite" in capsys.readouterr().err


def test_merging_refuses_what_is_not_of_one_model(scored, score_shards, tmp_path, capsys):
    to = ["--output", str(tmp_path / "list.parquet")]
    assert main(["merge-shards", str(tmp_path / "nothing"), "--top", "0.1", *to]) == 2
    assert "No outputs of liqe score-shards" in capsys.readouterr().err
    assert main(["merge-shards", str(scored), "--top", "1.5", *to]) == 2
    assert "--top must be a fraction above 0 and at most 1" in capsys.readouterr().err
    (tmp_path / "c.tar").write_bytes(raw_member("z.jpg", encoded(1)))
    assert score_shards(tmp_path / "c.tar", "--quiet") == 1
    assert main(["merge-shards", str(scored), "--top", "1", *to]) == 1
    assert "12 of 12 images from 3 shards" in (error := capsys.readouterr().err)
    assert "1 shards are incomplete: c" in error
    write_tars(tmp_path, 1, 1)
    assert score_shards(tmp_path / "00000.tar", "--preprocess", "even", "--quiet") == 0
    assert main(["merge-shards", str(scored), "--top", "1", *to, "--overwrite"]) == 2
    assert "their scores are not comparable" in capsys.readouterr().err
    (scored / "00000.parquet").unlink()
    pq.write_table(pa.table({"x": [1]}), scored / "other.parquet")
    assert main(["merge-shards", str(scored), "--top", "1", *to, "--overwrite"]) == 2
    assert "other.parquet is not a file of liqe score-shards" in capsys.readouterr().err


def test_the_threshold_is_exact_for_any_floats(scored, tmp_path):
    rng = np.random.default_rng(0)
    quality = np.concatenate([rng.normal(0, 1e-3, 500), rng.normal(0, 50, 500), [0.0, -0.0, 3.0, 3.0, 3.0]])
    quality = quality.astype(np.float32)
    table = pq.read_table(scored / "a.parquet")
    row = table.slice(0, 1)
    many = pa.concat_tables([row] * len(quality))
    many = many.set_column(many.schema.get_field_index("quality"), "quality", pa.array(quality))
    writer = pq.ParquetWriter(scored / "a.parquet", table.schema)
    writer.write_table(many)
    writer.add_key_value_metadata({"liqe_fault": ""})
    writer.close()
    (scored / "b.parquet").unlink()
    ordered = np.sort(quality)[::-1]
    for number, rank in enumerate((1, 2, 5, 300, 502, 503, 900, len(quality))):
        output = str(tmp_path / f"{number}.parquet")
        merged = merge_shards(str(scored), output, top=rank / len(quality))
        assert merged.least == ordered[rank - 1]
        assert merged.kept == np.count_nonzero(quality >= ordered[rank - 1])
