"""Realignment with scorers of known answers, and `liqe realign` as a user runs it."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wasserstein_distance

from liqe_jax.bounded_io import whole_file
from liqe_jax.cli.main import main
from liqe_jax.compare import overlap
from liqe_jax.compare.overlap import compare_sets, opposite_share, overlap_coefficient, srcc_and_rmse
from liqe_jax.compare.realign import METHODS, MonotoneMap, fit_isotonic, fit_monotone_logistic, stretch
from liqe_jax.errors import DataError, UsageError

from .conftest import photograph

RNG = np.random.default_rng(0)
# Latent quality of three sets' images, and how each set's people express it.
QUALITY = {"lab": RNG.uniform(1, 5, 300), "wild": RNG.uniform(2, 4.2, 400), "dmos": RNG.uniform(1, 4, 200)}
EXPRESSED = {
    "lab": lambda q: 20 * q - 10,  # 10 to 90
    "wild": np.sqrt,
    "dmos": lambda q: 30 - 5 * np.log((q - 0.5) / (5 - q)),  # falls; a logistic map is its exact inverse
}
MOS = {name: EXPRESSED[name](quality) for name, quality in QUALITY.items()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_isotonic_by_hand():
    """The run 3, 1, 2 is pooled into one knot at its mean MOS; two images of MOS 5 count as one level."""
    fitted = fit_isotonic(np.array([1, 2, 3, 4, 5, 5.0]), np.array([0, 3, 1, 2, 4, 6.0]))
    assert fitted.parameters["mos"] == pytest.approx([1, 3, 5])
    assert fitted.parameters["quality"] == pytest.approx([0, 2, 5])
    assert fitted(np.array([0, 1, 2, 3, 4.5, 5, 9])) == pytest.approx([0, 0, 1, 2, 4.25, 5, 5])


def test_isotonic_is_the_best_staircase():
    """Knots lie on the least-squares solution: no other monotone labelling of a few levels is nearer."""
    rng = np.random.default_rng(5)
    mos = rng.integers(0, 4, 30).astype(float)
    scores = mos + rng.normal(0, 2, 30).round()
    fitted = fit_isotonic(mos, scores)
    steps = np.interp(mos, fitted.parameters["mos"], fitted.parameters["quality"])
    # Where nothing was pooled the knots are the levels, so the map is the staircase itself.
    assert list(fitted.parameters["mos"]) == [0, 1, 2, 3]
    ours = ((steps - scores) ** 2).sum()
    grid = np.linspace(scores.min(), scores.max(), 25)
    rivals = (np.array(r)[mos.astype(int)] for r in itertools.combinations_with_replacement(grid, 4))
    assert ours <= min(((r - scores) ** 2).sum() for r in rivals)


def test_logistic_recovers_its_parameters():
    mos = np.linspace(0, 100, 200)
    truth = {"low": 1.3, "high": 4.6, "center": 42.0, "width": 9.0}
    scores = 1.3 + 3.3 / (1 + np.exp(-(mos - 42) / 9))
    fitted = fit_monotone_logistic(mos, scores)
    assert fitted.parameters == pytest.approx(truth, rel=1e-5)
    assert fitted(mos) == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MOS)
def test_an_oracle_brings_every_set_back(method, name):
    fitted = METHODS[method](MOS[name], QUALITY[name], lower_is_better=name == "dmos")
    error = np.sqrt(np.mean((fitted(MOS[name]) - QUALITY[name]) ** 2))
    # The isotonic map passes through every image. A logistic curve is the third set's own form; it bends otherwise
    # than a straight line and a parabola.
    exact = method == "isotonic" or name == "dmos"
    assert error < (1e-5 if exact else 0.06)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("falls", [False, True])
def test_the_order_within_a_set_never_changes(method, falls):
    rng = np.random.default_rng(1)
    mos = rng.uniform(0, 10, 200)
    scores = (-mos if falls else mos) + rng.normal(0, 4, 200)
    labels = METHODS[method](mos, scores, lower_is_better=falls)(np.sort(mos))
    steps = -np.diff(labels) if falls else np.diff(labels)
    assert (steps >= 0).all()
    # Beyond the outermost knots the isotonic map is level; no label in between is lost.
    assert np.count_nonzero(steps == 0) < (40 if method == "isotonic" else 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "score"), [("reversed", lambda q: 6 - q), ("constant", lambda q: q * 0 + 3)])
def test_a_reversed_or_constant_scorer_is_refused(method, name, score):
    quality = QUALITY["lab"]
    with pytest.raises(DataError, match="do not increase with the MOS"):
        METHODS[method](quality, score(quality))


def test_a_noisy_scorer_narrows_the_labels():
    noise = np.random.default_rng(2).uniform(1, 5, 2000)
    quality = np.random.default_rng(3).uniform(1, 5, 2000)
    labels = fit_isotonic(quality, noise)(quality)
    assert np.std(labels) < 0.15 * np.std(quality)
    assert labels.mean() == pytest.approx(noise.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("mos", "scores", "error", "words"),
    [
        ([1, 2], [1, 2, 3], UsageError, "one score per MOS"),
        ([1, np.nan], [1, 2], DataError, "1 of 2 MOS"),
        ([1, 1], [1, 2], DataError, "two different MOS; got 2 scored images, all of MOS 1"),
        ([1, 2], [np.nan, 2], DataError, "got 1 scored"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_bad_data(method, mos, scores, error, words):
    with pytest.raises(error, match=words):
        METHODS[method](np.array(mos, float), np.array(scores, float))


@pytest.mark.parametrize("method", METHODS)
def test_maps_survive_json(method):
    fitted = METHODS[method](MOS["dmos"], QUALITY["dmos"], lower_is_better=True)
    again = MonotoneMap.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(again(MOS["dmos"]), fitted(MOS["dmos"]))


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"method": "spline", "parameters": {}},
        {"method": "isotonic", "parameters": {"mos": [1, 2]}},
        {"method": "isotonic", "parameters": {"mos": [2, 1], "quality": [1, 2]}},
        {"method": "isotonic", "parameters": {"mos": [1, 2], "quality": [2, 1]}},
        {"method": "isotonic", "parameters": {"mos": [1, 2], "quality": [1, None]}},
        {"method": "logistic", "parameters": {"low": 1.0, "high": 2.0, "center": 0.0, "width": -1.0}},
        {"method": "logistic", "parameters": {"low": "1", "high": "2", "center": "0", "width": "1"}},
        {"method": "logistic", "parameters": {"low": [1], "high": [2], "center": [0], "width": [1]}},
        {"method": "isotonic", "parameters": {"mos": ["1", "2"], "quality": ["1", "2"]}},
        {"method": "isotonic", "parameters": {"mos": [1, 2], "quality": [1, 2]}, "lower_is_better": "false"},
        {"method": ["isotonic"], "parameters": {"mos": [1, 2], "quality": [1, 2]}},
        {"method": "isotonic", "parameters": "mos"},
        None,
        "isotonic",
        [1, 2],
    ],
)
def test_descriptions_of_no_map(description):
    with pytest.raises(DataError, match="Expected a file written by `liqe realign`"):
        MonotoneMap.from_dict(description)


def test_rescaling():
    mos = np.array([0, 25, 100.0])
    assert stretch(mos) == pytest.approx([1, 2, 5])
    assert stretch(mos, (0, 200)) == pytest.approx([1, 1.5, 3])
    assert stretch(mos, lower_is_better=True) == pytest.approx([5, 4, 1])
    with pytest.raises(UsageError, match="low to high"):
        stretch(mos, (5, 1))
    with pytest.raises(UsageError, match="The MOS go from 0 to 100, outside of the range from 0 to 1"):
        stretch(mos, (0, 1))
    with pytest.raises(DataError, match="All 3 MOS are 4; expected at least two"):
        stretch(np.full(3, 4.0))


def test_overlap_by_hand():
    low, high = np.array([1.1, 1.1, 1.1, 3.1]), np.array([4.9, 3.1])
    assert overlap_coefficient(low, high) == pytest.approx(0.25)
    assert overlap_coefficient(low, low) == pytest.approx(1)
    assert overlap_coefficient(np.array([1.1]), high) == 0
    assert overlap_coefficient(np.array([-5.0, 9]), np.array([1.0, 5])) == pytest.approx(1)


def test_opposite_share_against_loops(monkeypatch):
    rng = np.random.default_rng(4)
    x, y, v, w = (rng.integers(0, 5, size).astype(float) for size in (23, 23, 17, 17))
    expected = np.mean([(a - c) * (b - d) < 0 for a, b in zip(x, y, strict=True) for c, d in zip(v, w, strict=True)])
    assert opposite_share(x, y, v, w) == expected
    monkeypatch.setattr(overlap, "BLOCK", 40)  # several blocks, the last one shorter
    assert opposite_share(x, y, v, w) == expected
    assert opposite_share(x, x, v, v) == 0
    assert opposite_share(np.array([1.0]), np.array([2.0]), np.array([2.0]), np.array([1.0])) == 1
    with pytest.raises(UsageError, match="two values for every image"):
        opposite_share(x, y[:3], v, w)


def test_srcc_and_rmse():
    assert srcc_and_rmse(np.array([1, 2, 3.0]), np.array([2, 3, np.nan])) == pytest.approx({"srcc": 1, "rmse": 1})
    assert srcc_and_rmse(np.array([1, 2.0]), np.array([2, 1.0])) == pytest.approx({"srcc": -1, "rmse": 1})
    constant = srcc_and_rmse(np.array([1, 2.0]), np.array([1, 1.0]))
    assert np.isnan(constant["srcc"])
    assert constant["rmse"] == pytest.approx(np.sqrt(0.5))
    assert all(np.isnan(value) for value in srcc_and_rmse(np.array([1.0]), np.array([np.nan])).values())


def test_realignment_by_an_oracle_ends_every_contradiction():
    before = {name: stretch(mos, lower_is_better=name == "dmos") for name, mos in MOS.items()}
    after = {n: fit_isotonic(MOS[n], QUALITY[n], lower_is_better=n == "dmos")(MOS[n]) for n in MOS}
    for pair in compare_sets(before, after, QUALITY):
        assert pair.contradicted[0] > 0.03
        assert pair.contradicted[1] == 0
        assert pair.order_changed == pytest.approx(pair.contradicted[0])
        a, b = pair.sets
        assert pair.wasserstein[1] == pytest.approx(wasserstein_distance(QUALITY[a], QUALITY[b]), abs=1e-6)
        assert pair.overlap[1] == pytest.approx(overlap_coefficient(QUALITY[a], QUALITY[b]), abs=1e-6)
    nobody = {name: np.full(len(mos), np.nan) for name, mos in MOS.items()}
    assert all(np.isnan(pair.contradicted).all() for pair in compare_sets(before, after, nobody))


@pytest.fixture
def files(tmp_path):
    """Three sets as a user has them: labels with columns of their own, scores by path."""
    for name, mos in MOS.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("image", "mos", "note"))
            rows.writerows((f"{i}.png", repr(float(value)), f"a, {i}") for i, value in enumerate(mos))
        lines = [{"image": f"some/where/{i}.png", "quality": q} for i, q in enumerate(QUALITY[name].tolist())]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def labels_and_scores(files, names=tuple(MOS)):
    return (
        *("--labels", *(f"{name}={files / name}.csv" for name in names)),
        *("--scores", *(files / f"{name}.jsonl" for name in names)),
    )


def test_files_in_files_out(files, capsys):
    out = files / "out"
    command = ("realign", *labels_and_scores(files), "--lower-is-better", "dmos", "--output", out)
    assert run(*command, "--range", "lab=0,100") == 0
    text = capsys.readouterr().out
    assert "| lab | 300 of 300 | 10" in text
    with open(out / "lab.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mos", "note", "realigned"]
    assert rows[7]["note"] == "a, 7"
    assert [float(row["realigned"]) for row in rows] == pytest.approx(QUALITY["lab"], abs=1e-6)
    with open(out / "all.csv", newline="") as file:
        together = list(csv.DictReader(file))
    assert len(together) == 900
    assert [float(r["realigned"]) for r in together] == pytest.approx(np.concatenate(list(QUALITY.values())), abs=1e-6)
    report = json.loads((out / "realign.json").read_text())
    assert report["pooled"]["after"] == {"srcc": pytest.approx(1), "rmse": pytest.approx(0, abs=1e-9)}
    assert report["pooled"]["before"]["srcc"] < 0.97
    lab = stretch(MOS["lab"], (0, 100))
    assert report["sets"][0]["before"] == pytest.approx(srcc_and_rmse(lab, QUALITY["lab"]))
    assert len(report["pairs"]) == 3
    with Image.open(out / "realign.png") as picture:
        assert picture.size == (1950, 660)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50

    # The maps carry other labels of the same sets over, without any score.
    (files / "few.csv").write_text(f"image,mos\nnew.png,{30 - 5 * math.log(2 / 2.5)}\n")
    again = files / "again"
    assert run("realign", "--labels", f"dmos={files}/few.csv", "--maps", out / "realign.json", "--output", again) == 0
    with open(again / "dmos.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["realigned"]) == pytest.approx(2.5, abs=0.02)


def test_logistic_maps_and_images_without_a_score(files, capsys):
    lines = (files / "lab.jsonl").read_text().splitlines(keepends=True)
    (files / "lab.jsonl").write_text("".join(lines[:-30]) + '{"image": "some/where/299.png", "error": "corrupt"}\n')
    out = files / "out"
    command = ("realign", *labels_and_scores(files, ["lab", "wild"]), "--output", out, "--no-figure", "--quiet")
    assert run(*command, "--method", "logistic") == 1
    assert "270 of 300" in capsys.readouterr().out
    assert not (out / "realign.png").exists()
    with open(out / "lab.csv", newline="") as file:
        labels = np.array([float(row["realigned"]) for row in csv.DictReader(file)])
    assert len(labels) == 300
    assert np.abs(labels - QUALITY["lab"]).max() < 0.06  # those without a score too


def test_a_model_scores_now_and_resumes(model_folder, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    names = [f"{n}.png" for n in range(5)]
    for number, name in enumerate(names):
        Image.fromarray(photograph(230, 240, number)).save(folder / name)
    assert run("score", folder, "--model", model_folder, "--output", tmp_path / "s.jsonl", "--quiet") == 0
    quality = [json.loads(line)["quality"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    labels = tmp_path / "labels.csv"
    labels.write_text("image,mos\n" + "".join(f"{n},{10 * q}\n" for n, q in zip(names, quality, strict=True)))
    command = ("realign", "--labels", labels, "--model", model_folder, "--images", folder, "--output", tmp_path / "o")
    command += ("--no-figure", "--quiet")
    assert run(*command) == 0
    first = (tmp_path / "o" / "labels.csv").read_text()
    got = [float(line.split(",")[2]) for line in first.splitlines()[1:]]
    assert got == pytest.approx(quality, abs=2e-6)
    report = json.loads((tmp_path / "o" / "realign.json").read_text())
    assert report["scorer"] == "tiny"
    assert report["pairs"] == []

    def refuse(*_):
        raise AssertionError("an image was read again")

    monkeypatch.setattr("liqe_jax.scoring.model.Model._ready", refuse)
    assert run(*command) == 0
    assert (tmp_path / "o" / "labels.csv").read_text() == first


@pytest.mark.parametrize("output", [".", "link"])
def test_the_files_that_are_read_are_never_written(files, capsys, monkeypatch, output):
    monkeypatch.chdir(files)
    (files / "link").symlink_to(files)
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    command = ("realign", "--labels", "lab.csv", "--scores", "lab.jsonl", "--output", output, "--quiet")
    assert run(*command) == 2
    assert "The input lab.csv would be overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def test_applying_maps_keeps_the_tables_of_the_fit(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    fit = ("realign", "--labels", "lab.csv", "--scores", "lab.jsonl", "--output", "common", "--quiet", "--no-figure")
    assert run(*fit) == 0
    before = {path.name: path.read_bytes() for path in (files / "common").iterdir()}
    assert sorted(before) == ["all.csv", "lab.csv", "realign.json", "realign.md"]  # nothing half-written is left
    (files / "few.csv").write_text("image,mos\nnew.png,50\n")
    apply = ("realign", "--labels", "lab=few.csv", "--maps", "common/realign.json", "--quiet")
    assert run(*apply, "--output", "common/") == 2
    assert "contains the tables of the fit" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (files / "common").iterdir()} == before
    assert run(*apply, "--output", "more") == 0


def test_a_table_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")

    def fail():
        with whole_file(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (None, "'maps' is None"),
        (5, "'maps' is 5"),
        (["lab"], r"'maps' is <list of 1>"),
        ({"lab": None}, "lab: Not the description of a monotone map"),
        (
            {"lab": {"method": "isotonic", "parameters": {"mos": ["1", "2"], "quality": ["1", "2"]}}},
            "lab: The isotonic",
        ),
    ],
)
def test_maps_that_are_none(files, capsys, maps, words):
    (files / "maps.json").write_text(json.dumps({"maps": maps}))
    command = ("realign", "--labels", files / "lab.csv", "--maps", files / "maps.json", "--output", files / "o")
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Expected" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "one of the arguments --scores --model --maps is required"),
        (("--scores", "lab.jsonl", "--maps", "x.json"), "not allowed with argument --scores"),
        (("--scores", "lab.jsonl", "--range", "lab=1"), "expected NAME=LOW,HIGH; got 'lab=1'"),
    ],
)
def test_options_that_exclude_each_other(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        run("realign", "--labels", "lab.csv", *arguments, "--output", "o")
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_wrong_commands(files, capsys):
    lab, both = labels_and_scores(files, ["lab"]), labels_and_scores(files, ["lab", "dmos"])
    (files / "gap.csv").write_text("image,mos\na.png,\n")
    (files / "wide.csv").write_text("image,mos\na.png,1,2\n")
    (files / "no_maps.json").write_text("{}")
    (files / "same.csv").write_text("image,mos\n0.png,3\n1.png,3\n")
    one = ("--labels", files / "lab.csv")
    for arguments, words in (
        ((*one, "--model", "m"), "give both"),
        ((*one, files / "wild.csv", "--scores", files / "lab.jsonl"), "--labels has 2 sets, --scores has 1"),
        ((*one, files / "lab.csv", "--scores", "x", "y"), "'lab' cannot be the name"),
        (("--labels", f"all={files}/lab.csv", "--scores", "x"), "'all' cannot be the name"),
        (("--labels", files / "lab.jsonl", "--scores", "x"), "Labels come as CSV"),
        (("--labels", files / "gap.csv", "--scores", "x"), "no finite mos"),
        (("--labels", files / "wide.csv", "--scores", "x"), "expected 2 values, got 3"),
        ((*one, "--scores", files / "absent.jsonl"), "Cannot read"),
        ((*lab, "--range", "lab=0,1"), "lab: The MOS go from"),
        ((*lab, "--range", "lab=1,0"), "lab: Expected a range from low to high"),
        (("--labels", files / "same.csv", "--scores", files / "lab.jsonl"), "same: All 2 MOS are 3"),
        ((*lab, "--range", "lap=1,2"), "There is no set 'lap'"),
        ((*lab, "--mos-column", "dmos"), "no column dmos"),
        (both, "dmos: The scores do not increase with the MOS"),
        ((*one, "--maps", files / "no_maps.json"), "Cannot read maps"),
        ((*one, "--maps", "x", "--range", "lab=0,1"), "remove --lower-is-better and --range"),
        ((*one, "--model", "m", "--images", files / "absent"), "No model 'm'"),
    ):
        assert run("realign", *arguments, "--output", files / "o", "--quiet") == 2, arguments
        assert words in capsys.readouterr().err
