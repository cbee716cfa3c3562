"""What came from a file is printed escaped and shortened."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from liqe_jax.cli.main import main
from liqe_jax.cli.writers import Writer
from liqe_jax.data.score_tables import numbers
from liqe_jax.errors import DataError, LiqeError, ModelError
from liqe_jax.messages import LONGEST_MESSAGE, printable, quoted
from liqe_jax.scoring.result import Failure
from liqe_jax.weights.provenance import Provenance

CLEAR_SCREEN = "\x1b[2J\x9b2K"


def test_terminal_escapes_are_shown_and_not_obeyed():
    assert printable(f"a{CLEAR_SCREEN}\nb") == "a\\x1b[2J\\x9b2K\\nb"
    assert printable("Ünïcode 日本") == "Ünïcode 日本"
    assert printable("\udcff") == "\\udcff"


def test_long_text_keeps_its_beginning_and_its_end():
    text = printable("begin" + "\x1b" * 10**6 + "end")
    assert len(text) <= 200
    assert text.startswith("begin")
    assert text.endswith("end")


@pytest.mark.parametrize("levels", [10, 100_000])
def test_nested_values_are_described_in_no_time(levels):
    nested: tuple = ()
    for _ in range(levels):
        nested = (nested, nested)
    began = time.monotonic()
    assert quoted(nested) == "<tuple of 2>"
    assert time.monotonic() - began < 1


def test_values_are_quoted_as_python_writes_them():
    assert [quoted(value) for value in ("a'b", b"\0", 3, None, 0.5)] == ['"a\'b"', "b'\\x00'", "3", "None", "0.5"]
    assert quoted(10**5000) == f"an integer of {(10**5000).bit_length()} bits"
    assert printable(10**5000) == "<int>"
    assert len(quoted("x" * 10**6)) <= 200


def test_every_error_of_ours_is_safe_to_print():
    message = str(LiqeError(f"first line\n{CLEAR_SCREEN}{'x' * 10**6} what to do"))
    assert message.startswith("first line\n\\x1b[2J\\x9b2K")
    assert message.endswith("what to do")
    assert len(message) <= LONGEST_MESSAGE


def test_a_table_cannot_send_its_content_to_the_terminal(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text(f"image,quality\na.jpg,{CLEAR_SCREEN}{'1' * 135_000}x\n")
    with pytest.raises(DataError) as caught:
        numbers(table)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_provenance_of_another_form_is_not_printed_whole():
    with pytest.raises(ModelError) as caught:
        Provenance.from_dict({"name": "x", "unknown" + CLEAR_SCREEN: "y" * 135_000})
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_info_prints_no_escapes_of_a_model(model_folder, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    manifest = json.loads((folder / "liqe.json").read_text())
    manifest["provenance"]["name"] = CLEAR_SCREEN
    (folder / "liqe.json").write_text(json.dumps(manifest))
    for options in ([], ["--json"]):
        assert main(["info", str(folder), *options]) == 0
        out = capsys.readouterr().out
        assert not {"\x1b", "\x9b"} & set(out)
    assert json.loads(out)["name"] == CLEAR_SCREEN


def test_rows_escape_control_characters_of_names(tmp_path, model):
    with (tmp_path / "rows.jsonl").open("w") as file:
        Writer("jsonl", file, model.tasks.attributes).write(Failure(f"{CLEAR_SCREEN}.jpg", "broken").to_dict())
    line = (tmp_path / "rows.jsonl").read_text()
    assert not {"\x1b", "\x9b"} & set(line)
    assert json.loads(line)["image"] == f"{CLEAR_SCREEN}.jpg"
