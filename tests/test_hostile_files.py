"""Named pipes, devices, sparse files, rings of links, JSON of any depth: refused, and nothing waits or is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from liqe_jax import bounded_io
from liqe_jax.cli.main import main
from liqe_jax.data.prepare.images import Cache, prepare_image
from liqe_jax.data.score_tables import numbers, read_rows
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.tables import read_csv
from liqe_jax.errors import DataError, ImageError, LiqeError, ModelError, UsageError
from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import MOST_CROPS, PRESETS
from liqe_jax.scoring.result import Failure, Score
from liqe_jax.weights.files import read_safetensors
from liqe_jax.weights.read import read_model

from .conftest import photograph

SCORE = "import sys; from liqe_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """One photograph, and room for what is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photograph(300, 320)).save(folder / "good.png")
    return folder


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(60_000_000_000)


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


HOSTILE = {
    make_pipe: "named pipe",
    make_link_to_zeros: "a device",
    make_sparse: "60,000 MB",
    make_link_to_itself: "symbolic links",
}


def liqe(*arguments: object) -> subprocess.CompletedProcess:
    """In a process of its own, with 8 GB of address space, since what is tested would hang this one or fill it."""
    command = [
        sys.executable,
        "-c",
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30,) * 2); {SCORE}",
    ]
    return subprocess.run([*command, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("make", HOSTILE)
def test_one_hostile_file_is_one_row(make, photos, model_folder):
    make(photos / "hostile.jpg")
    done = liqe("score", photos, "--model", model_folder, "--format", "jsonl")
    good, hostile = (json.loads(line) for line in done.stdout.splitlines())
    assert "quality" in good
    assert HOSTILE[make] in hostile["error"]
    assert done.returncode == 1


@pytest.mark.parametrize("make", [make_pipe, make_link_to_zeros])
@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.msgpack", "config.json"])
def test_weights_that_are_no_regular_file_are_refused(make, name, model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    done = liqe("info", folder if name == "config.json" else folder / name)
    assert done.returncode == 2
    assert re.search("named pipe|a device|lacks config.json", done.stderr)


def test_a_sparse_msgpack_does_not_fill_the_memory(tmp_path):
    with (tmp_path / "model.msgpack").open("wb") as file:
        file.truncate(1_000_000_000)
    # Not getrusage, which counts the process that started this one as well.
    peak = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    code = f"import sys; from liqe_jax.cli.main import main; status = main(sys.argv[1:]); {peak}; sys.exit(status)"
    command = [sys.executable, "-c", code, "info", str(tmp_path / "model.msgpack")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "cannot be read as Flax msgpack" in done.stderr
    assert int(done.stdout) < 500_000  # KB


def test_data_preparation_refuses_them_one_by_one(photos, tmp_path):
    make_pipe(photos / "pipe.jpg")
    make_sparse(photos / "sparse.jpg")
    cache = Cache(tmp_path / "cache")
    for name, reason in (("pipe.jpg", "named pipe"), ("sparse.jpg", "60,000 MB")):
        with pytest.raises(ImageError, match=reason):
            prepare_image(photos / name, cache)


def test_the_limit_can_be_raised(photos, monkeypatch):
    size = (photos / "good.png").stat().st_size
    monkeypatch.setenv(bounded_io.LIMIT_VARIABLE, str((size - 1) / 1e6))
    with pytest.raises(ImageError, match=bounded_io.LIMIT_VARIABLE):
        decode(photos / "good.png")
    monkeypatch.setenv(bounded_io.LIMIT_VARIABLE, str((size + 1) / 1e6))
    assert decode(photos / "good.png").pixels.shape == (300, 320, 3)
    monkeypatch.setenv(bounded_io.LIMIT_VARIABLE, "much")
    with pytest.raises(ImageError, match="must be a number of megabytes; it is 'much'"):
        decode(photos / "good.png")


@pytest.mark.parametrize("place", ["decode.to_rgb", "preprocess.resize_short_side", "preprocess.cut"])
def test_where_the_memory_ends_one_image_fails(place, model, photo, monkeypatch):
    home, _, name = place.partition(".")
    module = sys.modules[f"liqe_jax.images.{home}"]
    whole = getattr(module, name)

    def without_memory(pixels, *rest, **options):
        size = pixels.size if isinstance(pixels, Image.Image) else pixels.shape[:2]
        if max(size) == 500:
            raise MemoryError
        return whole(pixels, *rest, **options)

    monkeypatch.setattr(module, name, without_memory)
    first, second, third = model.score_many([photo, photograph(500, 240), photo])
    assert isinstance(first, Score)
    assert isinstance(third, Score)
    assert isinstance(second, Failure)
    assert second.error.startswith("The memory does not suffice")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_folder_that_could_not_be_listed_is_never_done(form, photos, model_folder, tmp_path, capsys, monkeypatch):
    closed = photos / "closed"
    closed.mkdir()
    Image.fromarray(photograph(300, 320, 1)).save(closed / "behind.png")
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    output = tmp_path / f"scores.{form}"
    arguments = ["score", str(photos), "--recursive", "--model", str(model_folder), "--output", str(output)]
    monkeypatch.setattr("os.scandir", refuse)
    assert main(arguments) == 1
    for _ in range(2):
        assert main([*arguments, "--resume"]) == 1
        assert "Cannot list the folder" in capsys.readouterr().err
    assert output.read_text().count("Cannot list the folder") == 1
    monkeypatch.setattr("os.scandir", scandir)
    assert main([*arguments, "--resume"]) == 0
    assert "behind.png" in output.read_text()


def test_folders_of_any_depth(model_folder, tmp_path, capsys):
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        assert main(["score", str(tmp_path), "--recursive", "--model", str(model_folder)]) == 2
        assert "No images" in capsys.readouterr().err
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_links_in_a_ring_are_walked_once(photos):
    for name in "abc":
        (photos / name).symlink_to(".")
    began = time.monotonic()
    assert [path.name for path in FileIndex(photos).all("good.png")] == ["good.png"]
    assert time.monotonic() - began < 5


DEEP = "[" * 200_000


@pytest.mark.parametrize("file", ["config.json", "liqe.json", "vocab.json"])
def test_json_of_any_depth_in_a_model_is_refused(file, model_folder, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / file).write_text(DEEP)
    if file != "liqe.json":
        (folder / "liqe.json").unlink()
    with pytest.raises(ModelError, match="nested too deeply"):
        read_model(folder)


def test_json_of_any_depth_in_a_table_is_refused(tmp_path, model_folder, photos, capsys):
    table = tmp_path / "scores.jsonl"
    table.write_text('{"image": ' + DEEP + "\n")
    with pytest.raises(DataError, match="nested too deeply"):
        read_rows(table)
    assert main(["score", str(photos), "--model", str(model_folder), "--output", str(table), "--resume"]) == 2
    assert "nested too deeply" in capsys.readouterr().err
    tasks = tmp_path / "tasks.json"
    tasks.write_text(DEEP)
    assert main(["score", str(photos), "--model", str(model_folder), "--tasks", str(tasks)]) == 2
    assert "nested too deeply" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "C64"])
def test_data_types_that_are_not_supported_are_named(dtype, tmp_path):
    size = {"F4": 2, "F6_E2M3": 3, "C64": 32}.get(dtype, 4)
    header = json.dumps({"visual.conv1.weight": {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(ModelError, match=f"'visual.conv1.weight' in {dtype}, which is not supported"):
        read_safetensors(path)


def test_numbers_of_crops_are_checked_before_anything_is_allocated(model, photo, photos, model_folder, capsys):
    for crops in (MOST_CROPS + 1, 10**7, 10**5000):
        with pytest.raises(UsageError, match=f"at most {MOST_CROPS}; got count"):
            model.score(photo, crops=crops)
    assert PRESETS["even"].with_crops(MOST_CROPS).count == MOST_CROPS
    assert main(["score", str(photos), "--model", str(model_folder), "--crops", "10000000"]) == 2
    assert f"at most {MOST_CROPS}; got count" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("read", [lambda path: read_csv(path, ("image", "mos")), lambda path: numbers(path, "mos")])
def test_tables_with_other_separators_are_named(read, separator, tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(b"\xef\xbb\xbf" + f"image{separator}mos\na.jpg{separator}3,5\n".encode())
    with pytest.raises(DataError, match=re.escape(f"separates its columns with {separator!r}")):
        read(table)


@pytest.mark.parametrize("read", [lambda path: read_csv(path, ("image", "mos")), lambda path: numbers(path, "mos")])
@pytest.mark.parametrize("content", [b'image,mos\n"' + b"x" * 200_000, b"image,mos\n\xff,1\n"])
def test_tables_that_are_none_are_refused(read, content, tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    with pytest.raises(LiqeError):
        read(table)


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(b"\xef\xbb\xbfimage,mos\na.jpg,3.5\n")
    assert read_csv(table, ("image", "mos")) == [{"image": "a.jpg", "mos": "3.5"}]
    assert numbers(table, "mos") == {"a.jpg": 3.5}


def test_an_integer_in_a_checkpoint_is_never_printed_whole(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"w": torch.ones(1)}, "epoch": 10**600, 10**600: "x"}, tmp_path / "m.pt")
    with pytest.raises(ModelError) as caught:
        read_model(tmp_path / "m.pt")
    assert len(str(caught.value)) < 1000
