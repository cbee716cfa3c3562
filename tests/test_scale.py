"""Shards in, parquet out: rows, resuming, and what becomes of broken input."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from liqe_jax.errors import UsageError
from liqe_jax.scale.output import OutputFolder, read_settings
from liqe_jax.scale.run import Options, score_samples, score_shard, unfinished
from liqe_jax.scale.samples import Sample
from liqe_jax.scale.shards import Columns, Shard, find_shards
from liqe_jax.scoring import forward
from liqe_jax.scoring.load import load
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_params

from .heic import HEIC
from .shards import encoded, raw_member, samples, tar_bytes, write_tars

OPTIONS = Options(workers=2)


@pytest.fixture
def score(model, tmp_path):
    """Scores inputs to a folder and returns rows and statistics, by name of the shard."""

    def run(*inputs: object, output: object = tmp_path / "out", options: Options = OPTIONS, **how):
        folder = OutputFolder(str(output)).create()
        found = {}
        for shard in find_shards([str(each) for each in inputs], **how):
            statistics = score_shard(shard, folder, model, options)
            path = folder.rows_path(shard.name)
            if folder.fs.exists(path):
                with folder.fs.open(path, "rb") as file:
                    found[shard.name] = pq.read_table(file).to_pylist(), statistics
            else:
                found[shard.name] = [], statistics
        return found

    return run


def tar(path: Path, members) -> Path:
    path.write_bytes(tar_bytes(members))
    return path


def test_a_tar_becomes_a_row_for_each_image(model, score, tmp_path):
    (path,) = write_tars(tmp_path, 1, 3)
    before = path.read_bytes(), path.stat().st_mtime_ns
    ((rows, statistics),) = score(path).values()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [row["key"] for row in rows] == ["000000", "000001", "000002"]
    for number, row in enumerate(rows):
        wanted = model.score(encoded(number))
        assert row["quality"] == np.float32(wanted.quality)
        assert (row["scene"], row["distortion"]) == (wanted.scene, wanted.distortion)
        assert row["distortion_probs"] == np.float32(list(wanted.distortion_probs.values())).tolist()
        assert (row["width"], row["height"], row["status"], row["error_message"]) == (72, 56, "success", None)
        assert row["sha256"] == hashlib.sha256(encoded(number)).hexdigest()
        assert row["warnings"] == list(wanted.warnings)
    assert statistics["images"] == statistics["scored"] == 3
    assert statistics["passed_over"] == {".json": 3}
    assert statistics["fault"] == ""
    assert sum(statistics["quality_histogram"]["counts"]) == 3
    assert len(statistics["quality_histogram"]["edges"]) == 41
    written = json.loads((tmp_path / "out" / "00000_stats.json").read_text())
    assert written == statistics
    metadata = pq.read_metadata(tmp_path / "out" / "00000.parquet").metadata
    assert json.loads(metadata[b"labels"])["scene_probs"] == list(wanted.scene_probs)
    settings, fault = read_settings(fsspec.filesystem("file"), str(tmp_path / "out" / "00000.parquet"))
    assert fault == ""
    assert (settings["model"], settings["digest"], settings["preprocess"]) == ("tiny", model.digest, "paper")
    assert b"liqe_version" in metadata
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.parquet", "00000_stats.json"]


def test_columns_are_chosen(score, tmp_path):
    (path,) = write_tars(tmp_path, 1, 1)
    ((rows, _),) = score(path, options=Options(columns=("quality", "width"))).values()
    assert list(rows[0]) == ["key", "quality", "width", "status", "error_message"]
    with pytest.raises(UsageError, match=r"no column beauty; expected some of key, quality"):
        score(path, options=Options(columns=("beauty",)))


@pytest.mark.parametrize("kind", ["bytes", "struct", "paths"])
def test_parquet_of_bytes_structs_or_paths(score, tmp_path, kind):
    (tmp_path / "b.jpg").write_bytes(encoded(1))
    images = {
        "bytes": pa.array([encoded(0), encoded(1), None, b"text"], pa.binary()),
        "struct": pa.array([{"bytes": encoded(0), "path": None}, {"bytes": None, "path": "b.jpg"}, None, {}]),
        "paths": pa.array([(tmp_path / "a.jpg").as_uri(), "b.jpg", None, "nothing.jpg"]),
    }
    (tmp_path / "a.jpg").write_bytes(encoded(0))
    pq.write_table(pa.table({"picture": images[kind], "id": [7, 8, None, 10]}), tmp_path / "x.parquet")
    ((rows, statistics),) = score(tmp_path / "x.parquet", columns=Columns("picture", "id")).values()
    assert [row["key"] for row in rows] == ["7", "8", "000000002", "10"]
    assert [row["status"] for row in rows] == ["success", "success", "failed", "failed"]
    assert [row["sha256"] for row in rows[:2]] == [hashlib.sha256(encoded(n)).hexdigest() for n in (0, 1)]
    assert "holds null" in rows[2]["error_message"]
    assert rows[2]["quality"] is None
    assert (statistics["scored"], statistics["failed"]) == (2, 2)
    ((rows, statistics),) = score(tmp_path / "x.parquet", output=tmp_path / "other").values()
    assert rows == []
    assert "no column 'image'; it has picture, id" in statistics["fault"]


def test_a_column_of_nulls_is_a_row_for_each(score, tmp_path):
    pq.write_table(pa.table({"image": pa.nulls(3, pa.binary())}), tmp_path / "x.parquet")
    ((rows, _),) = score(tmp_path / "x.parquet").values()
    assert [row["key"] for row in rows] == ["000000000", "000000001", "000000002"]
    assert {row["error_message"] for row in rows} == {"Expected encoded bytes or a path; the cell holds null."}


def test_folders_and_lists_are_cut_into_shards(model, score, tmp_path):
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.JPG", "sub/c.png", "notes.txt")):
        (photos / name).write_bytes(encoded(number))
    found = score(photos, images_per_shard=2)
    assert {name: [row["key"] for row in rows] for name, (rows, _) in found.items()} == {
        "photos-00000": ["a.jpg", "b.JPG"],
        "photos-00001": ["sub/c.png"],
    }
    (tmp_path / "names.txt").write_text(f"photos/a.jpg\n\n{photos / 'b.JPG'}\nphotos/none.jpg\nnope://x/y.jpg\n")
    ((rows, _),) = score(tmp_path / "names.txt").values()
    assert [row["status"] for row in rows] == ["success", "success", "failed", "failed"]
    assert rows[0]["key"] == "photos/a.jpg"
    assert "No such file" in rows[2]["error_message"]
    assert "Protocol not known: nope" in rows[3]["error_message"]
    (photos / "0.jpg").write_bytes(encoded(9))  # shards of the first run no longer are what they were
    shards, folder = find_shards([str(photos)], images_per_shard=2), OutputFolder(str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"was made with source '.*photos .*', and this run has"):
        unfinished(shards, folder, model, OPTIONS)


def test_other_file_systems(score):
    fs = fsspec.filesystem("memory")
    for number in range(2):
        fs.pipe(f"/in/{number:03d}.tar", tar_bytes(samples(number * 2, 2)))
    fs.pipe("/in/list.txt", b"one.jpg\nmemory://in/one.jpg\n")
    fs.pipe("/in/one.jpg", encoded(0))
    try:
        found = score("memory://in/{000..001}.tar", "memory://in/list.txt", output="memory://out/scores")
        assert [[row["key"] for row in rows] for rows, _ in found.values()] == [
            ["000000", "000001"],
            ["000002", "000003"],
            ["one.jpg", "memory://in/one.jpg"],
        ]
        assert all(row["status"] == "success" for rows, _ in found.values() for row in rows)
        assert len(fs.ls("/out/scores")) == 6
        assert [shard.name for shard in find_shards(["memory://in/*.tar"])] == ["000", "001"]
        assert [shard.paths for shard in find_shards(["memory://in"])] == [("one.jpg",)]
    finally:
        fs.rm("/in", recursive=True)
        fs.rm("/out", recursive=True)


def test_inputs_that_lead_to_nothing_are_refused(tmp_path):
    write_tars(tmp_path, 2, 1)
    for inputs, reason in [
        (["nope://x/*.tar"], "Protocol not known: nope"),
        ([str(tmp_path / "*.parquet")], "No file matches"),
        ([str(tmp_path / "nothing")], "is not a folder, a tar"),
        ([str(tmp_path)], r"It has shards: name them with a pattern, '.*/\*.tar'"),
        (
            [str(tmp_path / "*.tar"), str(tmp_path / "00001.tar")],
            "1 names of shards occur more than once, such as 00001",
        ),
    ]:
        with pytest.raises(UsageError, match=reason):
            find_shards(inputs)


def test_braces_are_those_of_a_shell():
    urls = [shard.url for shard in find_shards(["memory://x/{a,b}{8..10}-{08..10}.tgz"])]
    assert len(urls) == 18
    assert urls[0] == "memory://x/a8-08.tgz"
    assert urls[-1] == "memory://x/b10-10.tgz"


ONE = raw_member("0.jpg", encoded(0))

# Content of a tar, its number of rows, and what is said of it.
BROKEN = {
    "no bytes": (b"", 0, "breaks after 0 files: it ends without"),
    "empty": (tar_bytes([]), 0, "has no images, and 0 other files"),
    "no images": (tar_bytes([("a.txt", b"x"), ("b.json", b"{}")]), 0, "has no images, and 2 other files"),
    "text": (b"this is text" * 100, 0, "breaks after 0 files"),
    "cut in an image": (ONE + raw_member("1.jpg", bytes(9000))[:5000], 1, "breaks after 2 files: unexpected end"),
    "cut between files": (ONE, 1, "breaks after 1 files: it ends without a tar's end mark"),
    "a corrupt header": (ONE + b"\xff" * 512 + ONE + bytes(1024), 1, "breaks after 1 files"),
    "3 GB in a header": (ONE + raw_member("1.jpg", b"", 3 * 10**9) + bytes(1024), 2, "breaks after 2 files"),
    "3 GB of a name": (
        ONE + raw_member("long", b"", 3 * 10**9, tarfile.GNUTYPE_LONGNAME) + bytes(1024),
        1,
        "breaks after 1 files: a header of 3,000 MB",
    ),
    "cut gzip": (gzip.compress(ONE * 3)[:-700], 0, "breaks after"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tar_gives_the_rows_before_the_fault(model, score, tmp_path, name):
    content, count, reason = BROKEN[name]
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    ((rows, statistics),) = score(path).values()
    if name != "cut gzip":  # the decompressor decides how much it gives
        assert len(rows) == count
    assert rows[:1] == [] or rows[0]["status"] == "success"
    assert reason in statistics["fault"]
    assert str(path) in statistics["fault"]
    if name == "3 GB in a header":
        assert "at least 3,000 MB, and at most 600 MB are read" in rows[1]["error_message"]
    assert json.loads((tmp_path / "out" / "x_stats.json").read_text())["fault"] == statistics["fault"]
    # The shard is not done: once it is whole, the next run scores it.
    path.write_bytes(tar_bytes(samples(0, 2)))
    shards, folder = find_shards([str(path)]), OutputFolder(str(tmp_path / "out"))
    assert unfinished(shards, folder, model, OPTIONS) == shards
    ((rows, statistics),) = score(path).values()
    assert ([row["status"] for row in rows], statistics["fault"]) == (["success"] * 2, "")
    assert unfinished(shards, folder, model, OPTIONS) == []


def test_a_broken_parquet_gives_the_rows_before_the_fault(score, tmp_path):
    path = tmp_path / "x.parquet"
    images = [encoded(number, "PNG") for number in range(64)]
    pq.write_table(pa.table({"image": images}), path, row_group_size=32, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    second = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    path.write_bytes(whole[:second] + b"\xff" * 64 + whole[second + 64 :])
    ((rows, statistics),) = score(path).values()
    assert [row["key"] for row in rows] == [f"{number:09d}" for number in range(32)]
    assert all(row["status"] == "success" for row in rows)
    assert "breaks after 32 rows" in statistics["fault"]
    for content in (b"", whole[: len(whole) // 2], b"PAR1 text PAR1"):
        path.write_bytes(content)
        ((rows, statistics),) = score(path, output=tmp_path / str(len(content))).values()
        assert rows == []
        assert "breaks after 0 rows" in statistics["fault"]


def test_a_shard_that_is_not_there(score, tmp_path):
    (((rows, statistics)),) = score(tmp_path / "{0..0}.tar").values()
    assert rows == []
    assert "No such file" in statistics["fault"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0_stats.json"]


def test_images_of_all_sorts_and_odd_names(score, tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.arange(60 * 60, dtype=np.uint16).reshape(60, 60) * 17).save(deep, "PNG")
    frames = [Image.fromarray(np.full((60, 60, 3), level, np.uint8)) for level in (10, 200)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    members = [
        ("cmyk.jpg", encoded(0, mode="CMYK")),
        ("deep.png", deep.getvalue()),
        ("animated.gif", animated.getvalue()),
        ("sub/a.webp", encoded(1, "WEBP")),
        ("sub.d/a.b.jpg", encoded(2)),
        ("../out.jpg", encoded(3)),
        ("/etc/abs.jpg", encoded(4)),
        ("broken.jpg", b"text"),
        ("sub/a.webp", encoded(5, "WEBP")),
    ]
    ((rows, statistics),) = score(tar(tmp_path / "x.tar", members)).values()
    by_key = {row["key"]: row for row in reversed(rows)}
    assert [row["key"] for row in rows][3:6] == ["sub/a", "sub.d/a", "../out"]
    assert any("CMYK" in warning for warning in by_key["cmyk"]["warnings"])
    assert any("16-bit" in warning for warning in by_key["deep"]["warnings"])
    assert any("animated" in warning for warning in by_key["animated"]["warnings"])
    for key in ("../out", "/etc/abs"):
        assert by_key[key]["status"] == "success"
        assert any("leads out of the archive" in warning for warning in by_key[key]["warnings"])
    assert by_key["broken"]["status"] == "failed"
    assert rows[-1]["status"] == "duplicate_key"
    assert rows[-1]["quality"] is not None
    assert rows[3]["status"] == "success"
    assert (statistics["images"], statistics["failed"], statistics["duplicate_keys"]) == (9, 1, 1)


def test_heic_is_scored_with_its_extra_and_raw_files_are_passed_over(score, tmp_path, monkeypatch):
    pytest.importorskip("pi_heif")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.heic", "b.HIF", "a.dng"):
        (photos / name).write_bytes(HEIC)
    path = tar(tmp_path / "x.tar", [(file.name, file.read_bytes()) for file in sorted(photos.iterdir())])
    for rows, statistics in score(path, photos).values():
        assert [(row["status"], row["width"], row["height"]) for row in rows] == [("success", 48, 64)] * 2
        assert statistics["images"] == 2
    assert score(path, output=tmp_path / "tar")["x"][1]["passed_over"] == {".dng": 1}
    monkeypatch.setattr("liqe_jax.images.decode.reads_heic", lambda: False)
    for rows, _ in score(path, photos, output=tmp_path / "without").values():
        assert [row["status"] for row in rows] == ["failed"] * 2
        assert all("pip install 'liqe_jax[heic]'" in row["error_message"] for row in rows)


def test_links_in_a_tar_are_rows_and_odd_bytes_in_names_too(score, tmp_path):
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    odd = raw_member("odd.jpg", encoded(0))
    content = link.tobuf() + odd
    (tmp_path / "x.tar").write_bytes(content + tarfile.TarInfo("\udcff\x1b.jpg").tobuf() + bytes(1024))
    ((rows, _),) = score(tmp_path / "x.tar").values()
    assert [(row["key"], row["status"]) for row in rows] == [
        ("link", "failed"),
        ("odd", "success"),
        ("\\udcff\x1b", "failed"),
    ]


def test_a_shard_of_another_model_or_program_is_refused(model, checkpoint, score, tmp_path):
    (path,) = write_tars(tmp_path, 1, 1)
    score(path)
    shards, folder = find_shards([str(path)]), OutputFolder(str(tmp_path / "out"))
    assert unfinished(shards, folder, model, OPTIONS) == []
    for options, reason in [
        (Options(preprocess="even"), "was made with preprocess 'paper', and this run has 'even'"),
        (Options(columns=("quality",)), "was made with columns"),
    ]:
        with pytest.raises(UsageError, match=reason):
            unfinished(shards, folder, model, options)
        with pytest.raises(UsageError, match=reason):
            score_shard(shards[0], folder, model, options)
    write_native(tmp_path / "other", with_params(checkpoint, {**checkpoint.flat, "logit_scale": np.float32(1)}))
    with pytest.raises(UsageError, match="was made with digest '"):
        unfinished(shards, folder, load(tmp_path / "other"), OPTIONS)
    before = (tmp_path / "out" / "00000.parquet").read_bytes()
    assert unfinished(shards, folder, model, Options(overwrite=True)) == shards
    assert (tmp_path / "out" / "00000.parquet").read_bytes() == before
    for content in (b"text", b""):
        (tmp_path / "out" / "00000.parquet").write_bytes(content)
        with pytest.raises(UsageError, match="is not a file of liqe score-shards"):
            unfinished(shards, folder, model, OPTIONS)


def test_a_finished_shard_is_left_alone(model, score, tmp_path):
    (path,) = write_tars(tmp_path, 1, 1)
    score(path)
    before = (tmp_path / "out" / "00000.parquet").stat()
    ((_, statistics),) = score(path).values()
    assert statistics == {"shard": "00000", "skipped": True}
    assert (tmp_path / "out" / "00000.parquet").stat() == before


def test_a_file_that_fails_to_be_written_is_not_there(model, tmp_path, monkeypatch):
    (path,) = write_tars(tmp_path, 1, 1)
    folder = OutputFolder(str(tmp_path / "out")).create()
    monkeypatch.setattr(folder.fs, "mv", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        score_shard(find_shards([str(path)])[0], folder, model, OPTIONS)
    assert list((tmp_path / "out").iterdir()) == []


def test_reading_runs_ahead_by_a_bounded_number(model):
    taken = 0

    def images():
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield Sample(f"{number}", encoded(number % 5), sha256="")

    most = 0
    rows = score_samples(images(), model, Options(workers=2))
    for number, row in enumerate(itertools.islice(rows, 120)):
        assert row["key"] == f"{number}"
        most = max(most, taken - number)
    rows.close()
    assert 1 < most < 40


def test_all_shards_share_one_compiled_program(model, score, tmp_path):
    score(*write_tars(tmp_path, 1, 1))
    before = forward._predict._cache_size()
    (tmp_path / "more").mkdir()
    for number, count in enumerate((1, 2, 5)):
        tar(tmp_path / "more" / f"m{number}.tar", samples(0, count))
    score(tmp_path / "more" / "*.tar")
    assert forward._predict._cache_size() == before


def test_a_shard_survives_json():
    for shard in find_shards(["memory://a.parquet", "memory://b.tar"], columns=Columns("x", "y")):
        assert Shard.from_json(shard.to_json()) == shard
    shard = Shard("a", "/b", "list", ("c", "d"))
    assert Shard.from_json(shard.to_json()) == shard
