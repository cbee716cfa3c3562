"""The `liqe` command as a user runs it: most tests call `main`, a few start a process."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from PIL import Image

from liqe_jax.cli import convert
from liqe_jax.cli.main import main
from liqe_jax.cli.rows import map_path
from liqe_jax.cli.settings import use_compilation_cache
from liqe_jax.weights.native import write_native
from liqe_jax.weights.write import FORMATS

from .conftest import photograph


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """The command keeps compiled programs; a test must not write into somebody's home."""
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))


@pytest.fixture
def folder(tmp_path):
    """A folder as people have them: names with spaces, sub-folders, things that are no images."""
    root = tmp_path / "my photos"
    (root / "sub folder").mkdir(parents=True)
    Image.fromarray(photograph(400, 420, 1)).save(root / "a.png")
    Image.fromarray(photograph(400, 420, 2)).save(root / "Ünïcode näme.JPG", "JPEG")
    (root / "broken.jpg").write_text("this is text")
    (root / "notes.txt").write_text("not an image")
    Image.fromarray(photograph(400, 420, 3)).save(root / "sub folder" / "c.png")
    return root


def rows_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_jsonl_has_a_row_for_every_image_in_order(folder, model_folder, capsys):
    status = run("score", folder, "--model", model_folder, "--format", "jsonl")
    out = capsys.readouterr()
    rows = rows_of(out.out)
    assert status == 1
    assert [os.path.basename(row["image"]) for row in rows] == ["a.png", "broken.jpg", "Ünïcode näme.JPG"]
    assert set(rows[1]) == {"image", "error"}
    assert 1 <= rows[0]["quality"] <= 5
    assert sum(rows[0]["scene_probs"].values()) == pytest.approx(1, abs=1e-5)
    assert "2 scored, 1 failed" in out.err
    assert "images/s" in out.err
    assert "1 sub-folder was left out: add --recursive" in out.err


def test_all_well_is_status_0(folder, model_folder, capsys):
    assert run("score", folder / "a.png", folder / "sub folder", "--model", model_folder, "--quiet") == 0
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert lines[0].split() == ["quality", "scene", "distortion", "image"]
    assert len(lines) == 4
    assert lines[3].endswith("c.png")
    assert out.err == ""


def test_recursive_and_patterns(folder, model_folder, capsys):
    assert run("score", folder, "--recursive", "--model", model_folder, "--format", "jsonl") == 1
    out = capsys.readouterr()
    assert os.path.basename(rows_of(out.out)[-1]["image"]) == "c.png"
    assert "left out" not in out.err
    assert run("score", f"{folder}/*.png", f"{folder}/*.bmp", "--model", model_folder, "--format", "jsonl") == 1
    rows = rows_of(capsys.readouterr().out)
    assert len(rows) == 2
    assert "No file matches" in rows[1]["error"]


def test_a_folder_that_cannot_be_listed_is_a_row(folder, model_folder, capsys, monkeypatch):
    # Permissions do not stop root, so the refusal is made up.
    listed = os.scandir

    def refuse(path):
        if os.path.basename(path) == "sub folder":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert run("score", folder, "--recursive", "--model", model_folder, "--format", "jsonl") == 1
    last = rows_of(capsys.readouterr().out)[-1]
    assert last["image"].endswith("sub folder")
    assert "Permission denied" in last["error"]


def test_a_list_on_standard_input(folder, model_folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{folder}/a.png\n\n{folder}/sub folder/c.png\n"))
    assert run("score", "-", "--model", model_folder, "--format", "jsonl") == 0
    assert len(rows_of(capsys.readouterr().out)) == 2


def test_csv_has_a_column_for_every_probability(folder, model_folder, tmp_path):
    target = tmp_path / "out" / "scores.csv"
    assert run("score", folder, "--model", model_folder, "--output", target) == 1
    with open(target, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    found = [float(v) for k, v in rows[0].items() if k.startswith("quality_probs.")]
    assert sum(found) == pytest.approx(1, abs=len(found) * 0.5e-4)  # each is rounded to four decimals
    assert rows[1]["error"]
    assert rows[1]["quality"] == ""


def test_the_format_follows_the_suffix(folder, model_folder, tmp_path):
    assert run("score", folder / "a.png", "--model", model_folder, "--output", tmp_path / "x.jsonl", "--quiet") == 0
    assert rows_of((tmp_path / "x.jsonl").read_text())[0]["model"] == "tiny"


def test_results_are_never_overwritten_by_accident(folder, model_folder, tmp_path, capsys):
    target = tmp_path / "x.jsonl"
    common = ("score", folder / "a.png", "--model", model_folder, "--output", target)
    assert run(*common) == 0
    before = target.read_text()
    assert run(*common) == 2
    assert "--resume to continue it, --overwrite to replace it" in capsys.readouterr().err
    assert target.read_text() == before
    assert run(*common, "--overwrite") == 0
    assert run(*common, "--overwrite", "--resume") == 2


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_continues_a_file_that_was_cut(folder, model_folder, tmp_path, form):
    common = ("score", folder, "--recursive", "--model", model_folder, "--format", form)
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    assert run(*common, "--output", whole) == 1
    content = whole.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 3, len(content)):
        cut.write_bytes(content[:length])
        assert run(*common, "--output", cut, "--resume") in (0, 1)
        assert cut.read_bytes() == content, length
    cut.unlink()
    assert run(*common, "--output", cut, "--resume") == 1
    assert cut.read_bytes() == content


def test_resume_refuses_results_of_another_kind(folder, model_folder, tmp_path, capsys):
    target = tmp_path / "x.jsonl"
    common = ("score", folder / "a.png", "--model", model_folder, "--output", target)
    assert run(*common) == 0
    assert run(*common, "--resume", "--preprocess", "even") == 2
    assert "holds results of preprocess 'paper'" in capsys.readouterr().err
    assert run(*common, "--resume", "--crops", "all") == 2
    assert "holds results of preprocess 'paper'" in capsys.readouterr().err
    assert run(*common, "--resume", "--format", "csv") == 2
    assert run(*common, "--resume", "--dtype", "bfloat16") == 2
    assert "holds results of digest" in (said := capsys.readouterr().err)
    assert "other weights, sentences or --dtype" in said
    assert run(*common, "--resume", "--tasks", "quality") == 2
    assert "holds results of digest" in capsys.readouterr().err
    target.write_text(target.read_text().replace('"scene_probs"', '"mood_probs"'))
    assert run(*common, "--resume") == 2
    assert "holds distortion, mood, quality, and this run gives distortion, quality, scene" in capsys.readouterr().err
    assert run("score", folder / "a.png", "--model", model_folder, "--resume") == 2
    assert run(*common, "--resume", "--format", "table") == 2


def test_resume_refuses_another_model_of_the_same_name(folder, checkpoint, model_folder, tmp_path, capsys):
    """The best and the last of a run have one name, and so have all files called LIQE.pt."""
    flat = checkpoint.flat | {"logit_scale": checkpoint.flat["logit_scale"] + 1}
    write_native(tmp_path / "other", dataclasses.replace(checkpoint, flat=flat))
    target = tmp_path / "x.csv"
    assert run("score", folder / "a.png", "--model", model_folder, "--output", target) == 0
    before = target.read_bytes()
    assert run("score", folder, "--model", tmp_path / "other", "--output", target, "--resume") == 2
    assert "holds results of digest" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert run("score", folder / "a.png", "--model", model_folder, "--output", target, "--resume") == 0
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\n and more\nwithout an end"),
        ("notes.json", b'{"shopping": ["milk", "eggs"]}'),
        ("todo.txt", b"line1\nlast line without end"),
        ("rows.jsonl", b'{"image": "a.png", "error": "gone"}\nmy own remark'),
        ("empty lines.jsonl", b"\n\n\n"),
        ("other.csv", b"image,mos\na.png,3\nb.png,"),
        ("start.csv", b"image"),
    ],
)
def test_resume_leaves_a_file_alone_that_is_not_ours(folder, model_folder, tmp_path, capsys, name, content):
    target = tmp_path / name
    target.write_bytes(content)
    form = "csv" if target.suffix == ".csv" else "jsonl"
    status = run("score", folder / "a.png", "--model", model_folder, "--output", target, "--resume", "--format", form)
    if name == "start.csv":  # as a run leaves it that is killed while it writes the first line
        assert status == 0
        assert target.read_text().startswith("image,quality,")
        return
    assert status == 2
    assert "Write to another file" in capsys.readouterr().err
    assert target.read_bytes() == content


def test_results_are_kept_where_the_rest_of_the_command_is_nonsense(folder, model_folder, tmp_path, capsys):
    target = tmp_path / "old.jsonl"
    target.write_text("a week's work\n")
    common = ("score", folder / "a.png", "--model", model_folder, "--output", target, "--overwrite")
    assert run(*common, "--batch-size", "0") == 2
    assert "batch_size must be a whole number and at least 1; got 0" in capsys.readouterr().err
    (tmp_path / "file").write_text("no folder")
    assert run(*common, "--map", tmp_path / "file") == 2
    assert "Cannot write to" in capsys.readouterr().err
    assert target.read_text() == "a week's work\n"


def test_names_that_are_no_utf8(folder, model_folder, tmp_path, capsys):
    odd = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(folder / "a.png", tmp_path / odd)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    for form in ("csv", "jsonl"):
        target = tmp_path / f"scores.{form}"
        common = ("score", tmp_path, "--model", model_folder, "--output", target)
        assert run(*common) == 0
        before = target.read_bytes()
        assert run(*common, "--resume") == 0
        assert "1 already in" in capsys.readouterr().err
        assert target.read_bytes() == before


@pytest.mark.parametrize("form", ["csv", "table", "jsonl"])
def test_a_terminal_that_cannot_show_a_name(folder, model_folder, form):
    listed = os.fsencode(folder / "Ünïcode näme.JPG") + b"\n" + os.fsencode(folder / "a.png") + b"\nno caf\xe9.png\n"
    command = [sys.executable, "-m", "liqe_jax.cli.main", "score", "-", "--model", str(model_folder), "--format", form]
    done = subprocess.run(
        command,
        input=listed,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"2 scored, 1 failed" in done.stderr
    assert b"a.png" in done.stdout


def test_a_pattern_for_everything_takes_every_image_once(folder, model_folder, capsys):
    assert run("score", str(folder / "**"), "--model", model_folder, "--format", "jsonl") == 1
    names = [os.path.relpath(row["image"], folder) for row in rows_of(capsys.readouterr().out)]
    assert sorted(names) == ["a.png", "broken.jpg", os.path.join("sub folder", "c.png"), "Ünïcode näme.JPG"]


@pytest.mark.parametrize("option", ["--output", "--map"])
def test_errors_of_the_system_are_one_line(folder, model_folder, tmp_path, capsys, option):
    (tmp_path / "file").write_text("no folder")
    wrong = tmp_path / "file" / "x"
    assert run("score", folder / "a.png", "--model", model_folder, option, wrong) == 2
    assert "Cannot write" in capsys.readouterr().err
    assert run("score", folder / "a.png", "--model", model_folder, "--output", tmp_path, "--resume") == 2
    assert "is a folder" in capsys.readouterr().err
    assert run("score", folder / "a.png", "--model", "m" * 300) == 2
    assert "No model" in capsys.readouterr().err


def test_a_full_disk_is_said_without_a_traceback(folder, model_folder, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    common = ("score", folder / "a.png", "--model", model_folder)
    assert run(*common, "--output", "/dev/full", "--format", "jsonl", "--overwrite") == 2
    assert "No space left on device. Check" in capsys.readouterr().err


def test_a_model_s_own_preset(folder, model_folder, tmp_path, capsys):
    assert run("convert", model_folder, tmp_path / "even", "--preprocess", "even") == 0
    assert run("info", tmp_path / "even") == 0
    assert "preprocess     even" in capsys.readouterr().out
    target = tmp_path / "x.jsonl"
    common = ("score", folder / "a.png", "--model", tmp_path / "even")
    assert run(*common, "--output", target, "--map", tmp_path / "maps") == 0
    capsys.readouterr()
    assert run("score", folder / "a.png", "--model", model_folder, "--preprocess", "even", "--format", "jsonl") == 0
    (own,), (asked,) = rows_of(target.read_text()), rows_of(capsys.readouterr().out)
    assert own == asked
    assert own["preprocess"] == "even"
    assert run(*common, "--output", target, "--resume") == 0
    assert run(*common, "--output", target, "--resume", "--preprocess", "paper") == 2
    assert "holds results of preprocess 'even'" in capsys.readouterr().err
    assert run(*common, "--preprocess", "paper", "--format", "jsonl") == 0
    assert rows_of(capsys.readouterr().out)[0]["preprocess"] == "paper"


def test_the_number_of_crops(folder, model_folder, capsys):
    common = ("score", folder / "a.png", "--model", model_folder, "--format", "jsonl", "--quiet")
    counts = {}
    for crops in ("1", "15", "all"):
        assert run(*common, "--crops", crops) == 0
        counts[crops] = json.loads(capsys.readouterr().out)["crops"]
    assert counts["1"] == 1
    assert counts["1"] < counts["15"] <= counts["all"]
    for wrong in ("0", "many", "-3"):
        with pytest.raises(SystemExit) as stop:
            run(*common, f"--crops={wrong}")
        assert stop.value.code == 2
        assert "expected a number from 1" in capsys.readouterr().err


def test_wrong_use_is_status_2_with_one_line(folder, model_folder, tmp_path, capsys):
    assert run("score", folder / "a.png", "--model", tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.startswith("liqe: No model ")
    (tmp_path / "nothing").mkdir()
    assert run("score", tmp_path / "nothing", "--model", model_folder) == 2
    assert capsys.readouterr().err.endswith("nothing.\n")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "link").symlink_to(tmp_path / "nothing")  # --recursive does not follow it either
    assert run("score", tmp_path / "outer", "--model", model_folder) == 2
    assert re.search("No images in .*outer[.] 1 sub-folder was left out: add --recursive", capsys.readouterr().err)
    assert run("score", folder / "a.png", "--model", tmp_path / "nothing") == 2
    assert "holds no weights" in capsys.readouterr().err
    assert run("score") == 2
    assert "either files or folders" in capsys.readouterr().err
    for wrong in (("nonsense",), (), ("score", "x", "--model", "m", "--dtype", "int4")):
        with pytest.raises(SystemExit) as stop:
            run(*wrong)
        assert stop.value.code == 2


def test_help_shows_examples(capsys):
    for arguments in (
        ("--help",),
        ("score", "--help"),
        ("convert", "--help"),
        ("info", "--help"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert "examples:" in out
        assert "liqe " in out


def test_truncated_files_on_request(model_folder, tmp_path, capsys):
    path = tmp_path / "cut.jpg"
    Image.fromarray(photograph(300, 300)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:-4000])
    common = ("score", path, "--model", model_folder, "--format", "jsonl")
    assert run(*common) == 1
    assert "--allow-truncated" in rows_of(capsys.readouterr().out)[0]["error"]
    assert run(*common, "--allow-truncated") == 0
    assert "corrupt file" in rows_of(capsys.readouterr().out)[0]["warnings"][0]


def test_maps(folder, model_folder, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    common = ("--model", model_folder, "--map", "maps", "--output", "scores.jsonl")
    assert run("score", folder / "a.png", *common) == 0
    first = tmp_path / "maps" / folder.relative_to(tmp_path) / "a.png.map.jpg"
    with Image.open(first) as picture:
        assert picture.width > 420
    # Another of the same name, taken up later, leaves it alone.
    before = first.read_bytes()
    Image.open(folder / "a.png").rotate(180).save(tmp_path / "other" / "a.png")
    assert run("score", folder / "a.png", "other/a.png", *common, "--resume") == 0
    assert first.read_bytes() == before
    assert (tmp_path / "maps" / "other" / "a.png.map.jpg").read_bytes() != before


def test_where_a_map_goes_depends_on_the_path_alone(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert map_path("a.png") == Path("a.png.map.jpg")
    assert map_path("b/../c/a.png") == map_path(str(tmp_path / "here" / "c" / "a.png")) == Path("c/a.png.map.jpg")
    outside = map_path("../a.png")
    assert not outside.is_absolute()
    assert ".." not in outside.parts
    assert Path(tmp_path.anchor) / outside == tmp_path / "a.png.map.jpg"


def test_photographs_of_kinds_that_are_not_read_are_counted(folder, model_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("liqe_jax.cli.inputs.reads_heic", lambda: False)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("x.HEIC", "y.heic", "z.NEF", "notes.txt"):
        (mixed / name).write_bytes(b"?")
    assert run("score", mixed, "--model", model_folder) == 2
    assert "No images" in (said := capsys.readouterr().err)
    assert "2 .heic, 1 .nef" in said
    shutil.copy(folder / "a.png", mixed / "a.png")
    assert run("score", mixed, "--model", model_folder) == 0
    captured = capsys.readouterr()
    assert "2 .heic, 1 .nef. pip install 'liqe_jax[heic]' reads HEIC. --raw-previews" in captured.err
    assert "HEIC" not in captured.out
    assert run("score", mixed, "--model", model_folder, "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_one_s_own_task_set_from_a_file(folder, model_folder, tmp_path, capsys):
    tasks = {
        "name": "wear",
        "attributes": [{"name": "wear", "labels": ["new", "old"], "values": [0, 10]}],
        "template": "a {wear} thing",
    }
    path = tmp_path / "wear.json"
    path.write_text(json.dumps(tasks))
    common = ("score", folder / "a.png", "--model", model_folder, "--format", "jsonl", "--tasks")
    assert run(*common, path) == 0
    row = rows_of(capsys.readouterr().out)[0]
    assert 0 <= row["wear"] <= 10
    assert "quality" not in row
    path.write_text("[]")
    assert run(*common, path) == 2
    assert run(*common, "nonsense") == 2
    assert run(*common, tmp_path / "missing.json") == 2


def test_names_with_control_characters_stay_on_their_line(model_folder, tmp_path, capsys):
    path = tmp_path / "evil\n\x1b[31mname.png"
    Image.fromarray(photograph(400, 400)).save(path, "PNG")
    assert run("score", path, "--model", model_folder, "--quiet") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3
    assert run("score", path, "--model", model_folder, "--quiet", "--format", "jsonl") == 0
    assert rows_of(capsys.readouterr().out)[0]["image"] == str(path)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_convert_there_and_back(form, model_folder, folder, tmp_path, capsys):
    there, back = tmp_path / "there.pt" if form.endswith("-pt") else tmp_path / "there.safetensors", tmp_path / "back"
    if not form.endswith(("-pt", "-safetensors")) or form.startswith("hf"):
        there = tmp_path / "there"
    assert run("convert", model_folder, there, "--to", form) == 0
    assert run("convert", there, back, "--name", "tiny") == 0
    assert "parameters" in capsys.readouterr().out
    common = ("score", folder / "a.png", "--format", "jsonl", "--quiet", "--model")
    assert run(*common, model_folder) == 0
    expected = rows_of(capsys.readouterr().out)
    assert run(*common, back) == 0
    got = rows_of(capsys.readouterr().out)
    assert got[0]["quality"] == pytest.approx(expected[0]["quality"], abs=1e-6)
    assert run("convert", model_folder, back) == 2
    assert "exists already" in capsys.readouterr().err


def test_every_format_that_can_be_written_can_be_asked_for():
    # The command lists them by itself, since importing the writers takes a second.
    assert list(convert.FORMATS) == list(FORMATS)


def test_what_a_format_cannot_keep_is_refused(model_folder, tmp_path, capsys):
    target = tmp_path / "x.pt"
    wanted = ("--tasks", "quality", "--preprocess", "even", "--name", "mine")
    assert run("convert", model_folder, target, *wanted) == 2
    assert "Only our own format keeps --name, --preprocess, --tasks" in capsys.readouterr().err
    assert run("convert", model_folder, tmp_path / "x.msgpack") == 2
    assert "--to hf-flax" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_converting_to_half_precision_keeps_features_and_weights_together(model_folder, folder, tmp_path, capsys):
    assert run("convert", model_folder, tmp_path / "half", "--dtype", "float16") == 0
    assert run("convert", tmp_path / "half", tmp_path / "half.pt") == 0
    capsys.readouterr()
    scores = []
    for model in (tmp_path / "half", tmp_path / "half.pt"):
        # The folder stores its features; for the .pt file they are computed from the rounded weights.
        assert run("score", folder / "a.png", "--model", model, "--format", "jsonl", "--quiet") == 0
        scores.append(rows_of(capsys.readouterr().out)[0]["quality"])
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_layouts_that_cannot_say_how_many_heads_refuse_unusual_ones(model_folder, tmp_path, capsys):
    # OpenAI's layout has no configuration; read back, this model would have heads 64 wide.
    copy = tmp_path / "copy"
    assert run("convert", model_folder, copy, "--to", "hf-safetensors") == 0
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = 4
    (copy / "config.json").write_text(json.dumps(config))
    assert run("convert", copy, tmp_path / "native") == 0
    capsys.readouterr()
    assert run("convert", tmp_path / "native", tmp_path / "x.pt") == 2
    assert "heads" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()


def test_info(model_folder, capsys):
    assert run("info", model_folder) == 0
    out = capsys.readouterr().out
    for expected in ("tiny", "Apache-2.0", "KADID-10k (session 1)", "joint: quality (5), scene (9), distortion (11)"):
        assert expected in out
    assert run("info", model_folder, "--json") == 0
    description = json.loads(capsys.readouterr().out)
    assert description["architecture"]["vision_config"]["num_hidden_layers"] == 1
    assert run("info", model_folder / "model.safetensors") == 0
    assert "sha256" in capsys.readouterr().out


def test_info_is_of_the_embedded_model_where_none_is_named(capsys):
    assert run("info") == 0
    assert capsys.readouterr().out.startswith("name           liqe_nano\n")


def test_info_gives_every_note_a_line(checkpoint, tmp_path, capsys):
    provenance = dataclasses.replace(checkpoint.provenance, notes=("step 1 of 2", "best by quality"))
    write_native(tmp_path / "noted", dataclasses.replace(checkpoint, provenance=provenance))
    assert run("info", tmp_path / "noted") == 0
    assert capsys.readouterr().out.endswith("\nnote           step 1 of 2\nnote           best by quality\n")


def test_compiled_programs_lie_where_the_environment_says(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    assert before == os.environ["JAX_COMPILATION_CACHE_DIR"]
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.setenv("LIQE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    try:
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_home_that_is_read_only_costs_time_and_nothing_else(monkeypatch, tmp_path):
    """JAX would warn of every program that it cannot keep."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("LIQE_HOME", str(tmp_path / "a file" / "home"))
    (tmp_path / "a file").write_text("")
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before


def start(*arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "liqe_jax.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_as_a_process_without_torch_tensorflow_or_network(folder, model_folder):
    # A network proxy that does not exist: any attempt to reach the hub would fail.
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    out, err = start("score", folder, "--model", model_folder, "--format", "jsonl", env=environment).communicate()
    assert len(rows_of(out)) == 3, err
    assert "Traceback" not in err
    assert "orch" not in err


@pytest.fixture
def interruptible():
    """What a shell starts in the background ignores interrupts, and so would the programs it starts in turn."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_keeps_what_it_has_scored(interruptible, model_folder, tmp_path):
    picture = tmp_path / "p.png"
    Image.fromarray(photograph(300, 300)).save(picture)
    listing, target = tmp_path / "list.txt", tmp_path / "out.jsonl"
    names = []
    for number in range(60):
        name = tmp_path / f"{number}.png"
        name.symlink_to(picture)
        names.append(str(name))
    listing.write_text("\n".join(names))
    # A list whose end does not come, so that the run cannot be over before it is interrupted.
    process = start("score", "-", "--model", model_folder, "--output", target, stdin=subprocess.PIPE)
    process.stdin.write("\n".join(names[:40]) + "\n")
    process.stdin.flush()
    while not target.exists() or target.read_bytes().count(b"\n") < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "what was scored is written" in err
    kept = [row["image"] for row in rows_of(target.read_text())]
    assert 5 <= len(kept) <= 40
    assert kept == names[: len(kept)]
    with open(listing) as file:
        process = start("score", "-", "--model", model_folder, "--output", target, "--resume", stdin=file)
        process.communicate()
    assert process.returncode == 0
    assert [row["image"] for row in rows_of(target.read_text())] == names


def test_a_reader_that_leaves_early_is_no_error(folder, model_folder):
    process = start("score", *[folder / "a.png"] * 30, "--model", model_folder, "--format", "jsonl")
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.wait()
    process.stderr.close()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_an_interruption_while_a_row_is_written_is_said_too(model_folder, tmp_path, monkeypatch, capsys, photo):
    from liqe_jax.cli.writers import Writer

    Image.fromarray(photo).save(tmp_path / "p.png")
    write = Writer.write

    def interrupted(self, row):
        write(self, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "write", interrupted)
    target = tmp_path / "out.jsonl"
    assert main(["score", str(tmp_path / "p.png"), "--model", str(model_folder), "--output", str(target)]) == 130
    assert "Interrupted after 1 images; what was scored is written." in capsys.readouterr().err
    assert len(target.read_text().splitlines()) == 1
