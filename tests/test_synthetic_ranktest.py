"""`liqe ranktest` with the real distortions."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from liqe_jax.cli.main import main
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.mos import mean_mos
from liqe_jax.weights.native import write_native

from .conftest import photograph


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    Image.fromarray(photograph(230, 300)).save(folder / "one.png")
    return folder


def test_rank_tests_of_a_model(photos, model, model_folder, tmp_path, capsys):
    command = ["ranktest", str(photos), "--model", str(model_folder), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--kinds", "10", "1", "--margin", "0.9"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    cells = [(row["kind"], row["level"]) for row in rows]
    assert cells == [(0, 0), *((kind, level) for kind in (1, 10) for level in range(1, 6))]
    # Blur has no randomness, so its score can be had by hand.
    blurred = distort(photograph(230, 300).astype(np.float32) / 255, 1, 5, 0)
    expected = model.score(np.rint(blurred * 255).astype(np.uint8)).quality
    assert rows[5]["quality"] == pytest.approx(expected, abs=1e-5)

    report = json.loads((tmp_path / "out" / "ranktest.json").read_text())
    mos = [mean_mos(*cell)[0] for cell in cells[1:]]
    assert report["p_test"]["pairs"] == sum(a - b > 0.9 for a in mos for b in mos)
    assert (report["photographs"], report["failed"], report["l_test"]["lists"]) == (1, 0, 2)
    with open(tmp_path / "out" / "ranktest.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [str(KINDS[1]), str(KINDS[10])]
    assert "10 JPEG" in capsys.readouterr().out

    # What has been scored is not scored again.
    assert main([*command, "--kinds", "1", "--margin", "0.9"]) == 0
    assert len((tmp_path / "out" / "scores.jsonl").read_text().splitlines()) == len(rows)
    assert json.loads((tmp_path / "out" / "ranktest.json").read_text())["l_test"]["lists"] == 1


def test_scores_of_another_model_of_the_same_name_are_not_taken(photos, checkpoint, model_folder, tmp_path, capsys):
    flat = checkpoint.flat | {"logit_scale": checkpoint.flat["logit_scale"] + 1}
    write_native(tmp_path / "other", dataclasses.replace(checkpoint, flat=flat))
    command = ["ranktest", str(photos), "--output", str(tmp_path / "out"), "--quiet", "--kinds", "1", "--model"]
    assert main([*command, str(model_folder)]) == 0
    before = (tmp_path / "out" / "scores.jsonl").read_bytes()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "other")]) == 2
    assert "was written with other settings (then, now): {'digest': " in capsys.readouterr().err
    assert (tmp_path / "out" / "scores.jsonl").read_bytes() == before


def test_wrong_use(photos, model_folder, tmp_path, capsys):
    command = ["ranktest", str(photos), "--model", str(model_folder), "--output", str(tmp_path / "out")]
    for wrong, words in (
        (("--kinds", "26"), "kinds from 1 to 25"),
        (("--seed", "-1"), "seed -1"),
        (("--margin", "-1"), "margin must be a number of at least 0"),
        (("--margin", "nan"), "margin must be a number of at least 0"),
    ):
        assert main([*command, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # refused before anything was scored or written


def test_kinds_without_clear_differences_have_d_and_l(photos, model_folder, tmp_path, capsys):
    command = ["ranktest", str(photos), "--model", str(model_folder), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--kinds", "23"]) == 0
    report = json.loads((tmp_path / "out" / "ranktest.json").read_text())
    assert report["p_test"] is None
    assert "No two of the 5 scored images differ by more than 1" in report["without_p"]
    assert (report["l_test"]["lists"], report["d_test"]["distorted"]) == (1, 5)
    assert (tmp_path / "out" / "ranktest.csv").exists()
    assert "| P-test | - | No two of the 5 scored images" in capsys.readouterr().out
