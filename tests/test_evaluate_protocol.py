"""The whole protocol on models of known answers: every cell of every table has an expected value."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from configs import eval_own
from liqe_jax.errors import DataError, ModelError, UsageError
from liqe_jax.evaluate.predictions import PredictionFile
from liqe_jax.evaluate.protocol import SIX_SETS, Unit, units
from liqe_jax.evaluate.published import leaderboard, session_results
from liqe_jax.evaluate.report import tables_from
from liqe_jax.evaluate.run import evaluate
from liqe_jax.evaluate.settings import check_eval_config, default_eval_config
from liqe_jax.scoring import predict_set as predictor
from liqe_jax.taxonomy import DISTORTION, SCENE
from liqe_jax.weights.provenance import TrainingSet
from tests.known import SESSIONS, expected_quality, known_model, known_set

SETS = {"LIVE": 40, "BID": 37, "SPAQ": 31}


def load_set(name):
    return known_set(name, SETS[name], scenes=name != "SPAQ", sessions=name != "SPAQ")


def settings(**changes):
    config = default_eval_config()
    config.sets, config.official, config.whole = ("LIVE", "BID"), (("BID", "official"),), ("SPAQ", "LIVE")
    config.bootstrap.resamples, config.pictures = 50, False
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture
def run(tmp_path):
    """Runs the protocol with a model of a kind; a fresh folder unless one is given."""

    def go(kind="oracle", folder=None, weights="known", model=None, **changes):
        folder = folder or tmp_path / kind
        make = model or (lambda path: known_model(devices=jax.devices()[:2], kind=kind))
        return folder, evaluate(settings(**changes), weights, folder, make, load_set)

    return go


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(text) if text else float("nan")


def subset(name: str, session: str, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    dataset = load_set(name)
    return dataset, dataset.indices(session, split)


def wanted(name: str, session: str, kind: str) -> dict[str, float]:
    """The metrics by SciPy alone."""
    dataset, chosen = subset(name, session)
    mos, quality = dataset.mos[chosen], expected_quality(dataset, kind)[chosen].astype(np.float64)
    if kind == "constant":
        return {"SRCC": 0, "KRCC": 0, "PLCC": 0, "RMSE": mos.std(), "raw PLCC": 0}
    found = {
        "SRCC": stats.spearmanr(mos, quality).statistic,
        "KRCC": stats.kendalltau(mos, quality).statistic,
        "raw PLCC": stats.pearsonr(mos, quality).statistic,
    }
    if kind in ("oracle", "reversed"):
        sign = 1 if kind == "oracle" else -1
        assert found["SRCC"] == pytest.approx(sign)
        assert found["KRCC"] == pytest.approx(sign)
        return found | {"PLCC": 1, "RMSE": 0}  # the logistic falls as well as it rises
    return found


KINDS = ("oracle", "reversed", "constant", "noise")


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_every_unit(run, kind):
    folder, content = run(kind)
    rows = table(folder, "units")
    units = [("LIVE", s, "test") for s in SESSIONS] + [("BID", s, "test") for s in SESSIONS]
    units += [("BID", "official", "test"), ("SPAQ", "all", "all"), ("LIVE", "all", "all")]
    assert [(row["set"], row["session"], row["split"]) for row in rows] == units
    for row, result in zip(rows, content["results"], strict=True):
        _, chosen = subset(row["set"], row["session"])
        assert (int(float(row["images"])), row["status"], row["model"]) == (len(chosen), "test", "model")
        for name, value in wanted(row["set"], row["session"], kind).items():
            tolerance = 2e-4 if name == "PLCC" else 2e-2 if name == "RMSE" else 1e-6
            assert number(row[name]) == pytest.approx(value, abs=tolerance), (row["set"], row["session"], name)
        assert abs(number(row["raw PLCC"])) - 1e-9 <= number(row["PLCC"]) <= 1 + 1e-12
        # Of least squares: what is not explained is left.
        explained = 1 - number(row["PLCC"]) ** 2
        mos = load_set(row["set"]).mos[chosen]
        assert number(row["RMSE"]) == pytest.approx(mos.std() * max(explained, 0) ** 0.5, abs=2e-2)
        low, high = result["srcc_interval"]
        assert low - 1e-12 <= result["srcc"] <= high + 1e-12 or kind == "noise"


@pytest.mark.parametrize("kind", KINDS)
def test_tables_over_the_sessions(run, kind):
    folder, _ = run(kind)
    values = {name: np.array([wanted(name, session, kind)["SRCC"] for session in SESSIONS]) for name in ("LIVE", "BID")}
    measured = table(folder, "sessions_srcc")[:3]
    images = {"LIVE": 8, "BID": 7.4}
    for row, statistic in zip(measured, (np.median, np.mean, np.std), strict=True):
        expected = {name: statistic(value) for name, value in values.items()}
        for name, value in expected.items():
            assert number(row[name]) == pytest.approx(value, abs=1e-9)
        if statistic is not np.std:
            assert number(row["average"]) == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
            weighted = np.average(list(expected.values()), weights=list(images.values()))
            assert number(row["weighted"]) == pytest.approx(weighted, abs=1e-9)
    assert [row["method"] for row in measured] == ["known (median)", "known (mean)", "known (std)"]
    plcc = table(folder, "sessions_plcc")[0]
    if kind in ("oracle", "constant"):
        assert number(plcc["LIVE"]) == pytest.approx(float(kind != "constant"), abs=2e-4)
    spread = {(row["set"], row["over sessions"]): row for row in table(folder, "sessions_all")}
    assert len(spread) == 6
    right = 1.0 if kind != "constant" else None
    for name in ("LIVE", "BID"):
        row = spread[name, "median"]
        assert number(row["SRCC"]) == pytest.approx(np.median(values[name]), abs=1e-9)
        for column in ("scene recall", "distortion accuracy"):
            if right is not None:
                assert number(row[column]) == right
            else:  # always the first label
                dataset = load_set(name)
                truth = dataset.scenes.argmax(1) if column == "scene recall" else dataset.distortion
                shares = [np.mean(truth[dataset.indices(session, "test")] == 0) for session in SESSIONS]
                assert number(row[column]) == pytest.approx(np.median(shares))


def test_published_rows_stand_beside(run):
    folder, _ = run()
    rows = {row["method"]: row for row in table(folder, "sessions_srcc")}
    liqe = rows["LIQE (published)"]
    assert (number(liqe["LIVE"]), number(liqe["BID"])) == (0.970, 0.875)
    assert number(liqe["average"]) == pytest.approx((0.970 + 0.875) / 2)
    assert liqe["trained on"] == "the six sets together"
    assert number(rows["Compare2Score (published, baseline)"]["BID"]) == 0.919
    assert number(rows["ReLIQS (published, baseline)"]["LIVE"]) == 0.978
    assert rows["sessions"]["LIVE"] == "10 of 10 test"
    board = {row["leaderboard's name"]: row for row in table(folder, "leaderboard")}
    assert len(board) == 10
    assert number(board["SPAQ"]["published"]) == 0.83
    assert number(board["SPAQ"]["measured"]) == pytest.approx(1)
    assert number(board["SPAQ"]["difference"]) == pytest.approx(0.17)
    assert board["AGIQA-3K (test)"]["measured"] == ""
    assert board["AGIQA-3K (test)"]["published model trained on"].startswith("unknown")
    beside = table(folder, "whole_published")
    assert [(row["set"], number(row["published"])) for row in beside] == [("SPAQ", 0.83), ("SPAQ", 0.815)]


def test_published_results_are_complete():
    published = {(row.method, row.dataset, row.metric): row for row in session_results()}
    assert {key[1] for key in published} == set(SIX_SETS)
    assert published["LIQE", "KonIQ-10k", "plcc"].value == 0.908
    assert all(row.source and row.training for row in (*session_results(), *leaderboard()))
    board = sorted(row.value for row in leaderboard())
    assert board == sorted([0.83, 0.653, 0.936, 0.813, 0.446, 0.809, 0.93, 0.928, 0.277, 0.708])


@pytest.mark.parametrize("kind", ["oracle", "constant"])
def test_labels_and_confusions(run, kind):
    folder, content = run(kind)
    for attribute, labels in (("scene", SCENE.labels), ("distortion", DISTORTION.labels)):
        rows = table(folder, f"{attribute}s")
        assert [row["set"] for row in rows][-1] == "LIVE, whole set"
        assert [row["set"].partition(",")[0] for row in rows] == ["LIVE", "BID", "BID", "LIVE"]  # SPAQ has no labels
        assert rows[0]["set"] == "LIVE, mean of 10 sessions"
        dataset = load_set("LIVE")
        truth = dataset.scenes.argmax(1) if attribute == "scene" else dataset.distortion
        counts = np.bincount(truth, minlength=len(labels))
        row, result = rows[-1], content["results"][-1][attribute]
        assert number(row["all"]) == pytest.approx(1 if kind == "oracle" else counts[0] / 40)
        assert [number(row[label]) for label in labels] == (
            [1] * len(labels) if kind == "oracle" else [1] + [0] * (len(labels) - 1)
        )
        by_session = [truth[dataset.indices(session, "test")] for session in SESSIONS]
        assert number(rows[0]["all"]) == pytest.approx(
            1 if kind == "oracle" else np.mean([np.mean(t == 0) for t in by_session])
        )
        expected = np.diag(counts)
        if kind == "constant":
            expected = np.zeros_like(expected)
            expected[:, 0] = counts
        assert result["confusion"] == expected.tolist()


def test_the_table_of_whole_sets(run):
    folder, _ = run(model=lambda path: known_model((TrainingSet("LIVE", "all"), TrainingSet("BID", "official"))))
    rows = {row["set"]: row for row in table(folder, "single")}
    assert list(rows) == ["BID, official test split", "SPAQ, whole set", "LIVE, whole set"]
    assert [row["status"] for row in rows.values()] == ["test", "test", "seen"]
    assert [int(float(row["images"])) for row in rows.values()] == [10, 31, 40]
    assert rows["SPAQ, whole set"]["interval"] == "1.000 to 1.000"
    text = (folder / "tables" / "single.md").read_text()
    assert "| LIVE, whole set | 40 | 1.000† |" in text
    assert "† Not a test" in text
    assert "LIVE: trained on all of LIVE." in text


def test_sessions_that_were_trained_on_do_not_count(run):
    folder, content = run(
        model=lambda path: known_model((TrainingSet("LIVE", "session 3"), TrainingSet("BID", "session 3")))
    )
    summary = table(folder, "sessions_srcc")[-1]
    assert summary["LIVE"] == "1 of 10 test"
    statuses = {r["session"]: r["status"] for r in content["results"] if r["protocol"] == "sessions"}
    assert {session for session, status in statuses.items() if status == "test"} == {"3"}
    assert "evaluations are not tests" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("trained_on", "mark"), [(None, "‡"), ((TrainingSet("LIVE", "all"), TrainingSet("BID", "all")), "†")]
)
def test_where_no_session_is_a_test_all_are_marked(run, trained_on, mark):
    folder, _ = run(model=lambda path: known_model(trained_on))
    line = (folder / "tables" / "sessions_srcc.md").read_text().splitlines()[4]
    assert line == f"| known (median) | this run | 1.000{mark} | 1.000{mark} | 1.000 | 1.000 |"
    assert ("$^\\dagger$" if mark == "†" else "$^\\ddagger$") in (folder / "tables" / "sessions_srcc.tex").read_text()


def test_the_guard_refuses_before_anything_is_predicted(run, tmp_path):
    seen = known_model((TrainingSet("LIVE", "session 1"),))
    with pytest.raises(DataError, match="LIVE, session 2, test split is not a test: of 8 images"):
        run(model=lambda path: seen, on_seen="refuse")
    assert not list(tmp_path.rglob("*.jsonl"))
    with pytest.raises(DataError, match="does not say"):
        run(model=lambda path: known_model(None), on_seen="refuse")
    run(model=lambda path: known_model(None), on_seen="refuse", trained_on=(("CSIQ", "all"),))


def test_ten_models_each_predict_their_own_session(run):
    loaded = []

    def load(path):
        loaded.append(path)
        session = path.removeprefix("model_")
        return known_model(
            (TrainingSet("LIVE", f"session {session}"), TrainingSet("BID", f"session {session}")), number=float(session)
        )

    folder, content = run(weights="model_{session}", model=load)
    assert loaded == [f"model_{session}" for session in SESSIONS]
    of_sessions = [row for row in content["results"] if row["protocol"] == "sessions"]
    assert all(row["model"] == f"session-{row['session']}" and row["status"] == "test" for row in of_sessions)
    assert [row["model"] for row in content["results"] if row["protocol"] == "whole"] == ["session-1"] * 2
    lines = (folder / "predictions" / "session-4" / "bid.jsonl").read_text().splitlines()
    assert len(lines) - 1 == len(load_set("BID").indices("4", "test"))
    _, content = run(folder=folder.parent / "all", weights="model_{session}", model=load, whole_models="all")
    assert len([row for row in content["results"] if row["protocol"] == "whole"]) == 20


def test_two_evaluations_are_compared(run, tmp_path):
    run("noise", tmp_path / "noise", name="rival")
    folder, content = run("oracle", tmp_path / "oracle", against=str(tmp_path / "noise"), name="ours")
    rows = table(folder, "differences")
    assert len(rows) == len(content["results"]) == 23
    whole = rows[-1]
    expected = wanted("LIVE", "all", "noise")["SRCC"]
    assert number(whole["ours"]) == pytest.approx(1)
    assert number(whole["rival"]) == pytest.approx(expected, abs=1e-9)
    assert number(whole["difference"]) == pytest.approx(1 - expected, abs=1e-9)
    assert number(whole["p (Williams)"]) < 1e-6
    assert number(whole["p (paired bootstrap)"]) == pytest.approx(2 / 51)
    folder, content = run("oracle", tmp_path / "oracle", against=str(tmp_path / "oracle"))
    assert list(table(folder, "differences")[0])[1:3] == ["known", "known (oracle)"]
    assert {row["williams_p"] for row in content["differences"]} == {1.0}


@pytest.fixture
def some_reversed(run):
    """Runs ten models of which those of some numbers are reversed; all predict the whole sets."""

    def go(folder, numbers, weights="m_{session}", **changes):
        def load(path):
            number = float(path[2:] or 0)
            return known_model(number=number, kind="reversed" if number in numbers else "oracle")

        changes = {"sessions": ("1", "2", "3"), "sets": ("BID",), "whole": ("LIVE",), "whole_models": "all"} | changes
        return run(str(numbers), folder, weights, load, **changes)

    return go


def test_each_of_ten_models_stands_against_its_own_rival(some_reversed, tmp_path):
    some_reversed(tmp_path / "rival", (1,), name="rival")
    against = str(tmp_path / "rival")
    folder, content = some_reversed(tmp_path / "ours", (3,), name="ours", against=against)
    rows = [row for row in table(folder, "differences") if row["set"] == "LIVE, whole set"]
    assert [row["model"] for row in rows] == ["session-1", "session-2", "session-3"]
    assert [(number(row["ours"]), number(row["rival"])) for row in rows] == [(1, -1), (1, 1), (-1, 1)]
    assert [row["second_model"] for row in content["differences"][-3:]] == ["session-1", "session-2", "session-3"]
    # A rival of one model has no second and third: its first stands for all.
    some_reversed(tmp_path / "one", (), name="rival", weights="m_")
    folder, _ = some_reversed(tmp_path / "ours", (3,), name="ours", against=str(tmp_path / "one"))
    rows = table(folder, "differences")[-3:]
    assert [row["model"] for row in rows] == [f"session-{n}, model" for n in (1, 2, 3)]
    some_reversed(tmp_path / "first", (1,), name="rival", whole_models="first")
    folder, _ = some_reversed(tmp_path / "ours", (3,), name="ours", against=str(tmp_path / "first"))
    assert [number(row["rival"]) for row in table(folder, "differences")[-3:]] == [-1, -1, -1]


def test_whole_sets_of_several_models_name_the_model_beside_published_results(some_reversed, tmp_path):
    folder, _ = some_reversed(tmp_path / "ours", (2,), whole=("SPAQ",))
    rows = table(folder, "whole_published")
    assert [(row["model"], round(number(row["measured"]))) for row in rows[::2]] == [
        ("session-1", 1),
        ("session-2", -1),
        ("session-3", 1),
    ]


def test_differences_take_the_options_of_the_intervals(run, tmp_path):
    run("noise", tmp_path / "noise", name="rival")
    widths = {}
    for confidence, method in ((0.5, "percentile"), (0.99, "percentile"), (0.99, "bca")):
        bootstrap = {"resamples": 200, "confidence": confidence, "method": method, "seed": 0}
        folder, content = run("oracle", tmp_path / "oracle", against=str(tmp_path / "noise"), bootstrap=bootstrap)
        low, high = widths[confidence, method] = content["differences"][-1]["difference_interval"]
        assert table(folder, "differences")[-1]["interval"] == f"{low:+.3f} to {high:+.3f}"
    spread = {options: high - low for options, (low, high) in widths.items()}
    assert spread[0.99, "percentile"] > 2 * spread[0.5, "percentile"]
    assert widths[0.99, "bca"] != widths[0.99, "percentile"]


@pytest.mark.parametrize("stated_for_the_run", [False, True])
def test_a_rival_that_saw_the_images_is_marked(run, tmp_path, stated_for_the_run):
    seen = (TrainingSet("SPAQ", "all"), TrainingSet("BID", "session 1"))
    given = {"trained_on": [(entry.dataset, entry.split) for entry in seen]} if stated_for_the_run else {}
    trained_on = None if stated_for_the_run else seen
    run("noise", tmp_path / "rival", name="rival", model=lambda path: known_model(trained_on, kind="noise"), **given)
    folder, content = run("oracle", tmp_path / "ours", against=str(tmp_path / "rival"), name="ours")
    text = (folder / "tables" / "differences.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| SPAQ, whole set")]
    assert re.match(r"\| SPAQ, whole set \| 1\.000 \| -?0\.\d+† \|", line)
    assert "† Not a test" in text
    statuses = {(row["dataset"], row["session"]): row["second_status"] for row in content["differences"]}
    assert (statuses["SPAQ", "all"], statuses["BID", "1"], statuses["BID", "2"]) == ("seen", "test", "seen")
    assert statuses["LIVE", "all"] == "test"
    with pytest.raises(DataError, match=r"BID, session 2, test split, for the other evaluation in .*, is not a test"):
        run("oracle", tmp_path / "ours", against=str(tmp_path / "rival"), on_seen="refuse")


def predicted_by(run, workdir: Path, devices: int, per_device: int):
    make = lambda path: known_model(devices=jax.devices()[:devices], kind="noise")  # noqa: E731
    folder, content = run("noise", workdir, model=make, images_per_device=per_device)
    return {p.name: p.read_text().splitlines() for p in folder.rglob("*.jsonl")}, content["results"]


@pytest.mark.parametrize("per_device", [1, 5])
def test_padding_and_devices_change_nothing(run, tmp_path, per_device):
    files, results = predicted_by(run, tmp_path / "1", 1, per_device)
    assert len(files) == 3
    for devices in (2, 3, 8):
        other_files, other_results = predicted_by(run, tmp_path / str(devices), devices, per_device)
        assert other_files.keys() == files.keys()
        for name, lines in other_files.items():
            assert lines == files[name], name
        assert other_results == results


def test_images_per_device_change_no_more_than_the_order_of_sums(run, tmp_path):
    """XLA compiles another program for another shape, which may sum in another order: see `scoring/model.py`."""
    (files, results), *others = [predicted_by(run, tmp_path / str(count), 2, count) for count in (1, 5, 64)]
    for other_files, other_results in others:
        assert other_files.keys() == files.keys()
        for name, lines in other_files.items():
            for got, wanted in zip(map(json.loads, lines), map(json.loads, files[name]), strict=True):
                assert got.pop("quality", 0) == pytest.approx(wanted.pop("quality", 0), abs=2e-6)
                rows, expected = got.pop("probabilities", {}), wanted.pop("probabilities", {})
                assert rows.keys() == expected.keys()
                for attribute, values in rows.items():
                    np.testing.assert_allclose(values, expected[attribute], atol=1e-6)
                assert got == wanted
        assert [row["srcc"] for row in other_results] == [row["srcc"] for row in results]


# Interruption


def lines_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "predictions").rglob("*.jsonl*"))}


def test_an_interrupted_run_goes_on(run, tmp_path, monkeypatch, capsys):
    whole, _ = run("noise", tmp_path / "whole")
    real, predicted = predictor.evaluation_images, []

    def counted(dataset, indices, **options):
        predicted.append((dataset.name, len(indices)))
        return real(dataset, indices, **options)

    def broken(dataset, indices, **options):
        for count, image in enumerate(real(dataset, indices, **options)):
            if dataset.name == "BID" and count == 6 * options["batch_size"]:
                raise KeyboardInterrupt
            yield image

    folder = tmp_path / "killed"
    monkeypatch.setattr(predictor, "evaluation_images", broken)
    with pytest.raises(KeyboardInterrupt):
        run("noise", folder)
    partial = folder / "predictions" / "model" / "bid.jsonl.partial"
    assert len(partial.read_text().splitlines()) == 1 + 10  # the sixth batch was still computing
    with partial.open("a") as file:
        file.write('{"image": "0')  # cut while writing
    with pytest.raises(DataError, match="does not contain a finished evaluation"):
        tables_from(folder)
    monkeypatch.setattr(predictor, "evaluation_images", counted)
    run("noise", folder)
    assert predicted == [("BID", 27), ("SPAQ", 31)]
    assert lines_of(folder) == lines_of(whole)
    predicted.clear()
    run("noise", folder)
    assert predicted == []
    assert "LIVE: all 40 predictions exist already" in capsys.readouterr().err


def test_more_sessions_are_added_to_what_is_there(run, tmp_path, monkeypatch):
    real, predicted = predictor.evaluation_images, []
    monkeypatch.setattr(predictor, "evaluation_images", lambda d, i, **o: predicted.append(len(i)) or real(d, i, **o))
    options = {"sets": ("LIVE",), "official": (), "whole": ()}
    run(folder=tmp_path / "a", sessions=("1",), **options)
    folder, _ = run(folder=tmp_path / "a", sessions=("1", "2"), **options)
    assert predicted == [8, 4]
    names = [
        json.loads(line)["image"] for line in (folder / "predictions/model/live.jsonl").read_text().splitlines()[1:]
    ]
    assert names == sorted(names)


@pytest.mark.parametrize("change", ["weights", "preset", "labels"])
def test_predictions_of_something_else_are_put_aside(run, tmp_path, change, monkeypatch, capsys):
    folder, _ = run(folder=tmp_path / "a")
    old = lines_of(folder)["predictions/model/spaq.jsonl"]
    if change == "weights":
        run(folder=folder, model=lambda path: known_model(number=1.0))
    elif change == "preset":
        run(folder=folder, preset="even")
    else:
        monkeypatch.setitem(SETS, "SPAQ", 30)
        run(folder=folder)
    kept = lines_of(folder)
    assert kept["predictions/model/spaq.jsonl.old"] == old != kept["predictions/model/spaq.jsonl"]
    assert "were moved to" in capsys.readouterr().err
    assert ("predictions/model/bid.jsonl.old" in kept) == (change != "labels")


def leaves(content) -> list[str | float]:
    """Paths of JSON and their values; numbers as such, because SciPy's fit of the logistic is exact to eight digits."""
    flat, _ = jax.tree_util.tree_flatten_with_path(content, is_leaf=lambda leaf: leaf is None)
    return [part for path, leaf in flat for part in (str(path), leaf if isinstance(leaf, float) else repr(leaf))]


def test_tables_are_remade_without_the_model(run, tmp_path):
    folder, content = run("noise", tmp_path / "a", pictures=True)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for made in ("tables", "plots"):
        shutil.rmtree(folder / made)
    (folder / "report.html").unlink()
    remade = tables_from(folder)
    assert leaves(remade) == [
        leaf if isinstance(leaf, str) else pytest.approx(leaf, rel=1e-7) for leaf in leaves(content)
    ]
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(remade))
    files = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files.keys() == before.keys()
    assert all(files[path] == before[path] for path in files if path.name != "results.json")
    config = settings(from_predictions=True, name="renamed")
    assert evaluate(config, "", folder)["model"] == "renamed"


def test_an_evaluation_of_an_earlier_version_is_read(run, tmp_path):
    folder, content = run(folder=tmp_path / "a")
    path = folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    for unit in evaluation["units"]:
        unit["split"], unit["part"] = unit.pop("session"), unit["split"]
    path.write_text(json.dumps(evaluation))
    assert tables_from(folder)["results"] == content["results"]


def test_corrupt_predictions_are_refused(run, tmp_path):
    folder, _ = run(folder=tmp_path / "a")
    path = folder / "predictions" / "model" / "spaq.jsonl"
    text = path.read_text()
    for corrupt in (text[:-40], text.replace('"quality":', '"q":', 1), text.split("\n", 1)[1], ""):
        path.write_text(corrupt)
        with pytest.raises(DataError, match=r"spaq\.jsonl"):
            tables_from(folder)


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\u0085b.png", "a\x1cb.png", "a\rb.png", "a\nb.png"])
def test_a_name_with_an_end_of_line_is_read_back(tmp_path, name):
    header = {"model": "m"}
    kept = PredictionFile(tmp_path / "x.jsonl", header)
    with kept.append() as add:
        add([{"image": name, "quality": 3.0}])
    assert set(PredictionFile(tmp_path / "x.jsonl", header).rows) == {name}  # of the unfinished file
    kept.finish([name])
    again = PredictionFile(tmp_path / "x.jsonl", header)
    assert (set(again.rows), again.put_aside) == ({name}, None)


# The report


def test_the_page_stands_alone(run):
    folder, _ = run(model=lambda path: known_model((TrainingSet("<b>&", "all"),), name="<i>known</i>"), pictures=True)
    page = (folder / "report.html").read_text()
    assert "<i>known" not in page
    assert "&lt;i&gt;known&lt;/i&gt;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count('src="data:image/png;base64,') == len(list((folder / "plots").glob("*.png"))) == 13
    for table_ in ("sessions_srcc", "single", "leaderboard", "scenes", "distortions", "units"):
        assert f'<section id="{table_}">' in page
        assert f'href="#{table_}"' in page


def test_latex_is_balanced(run):
    folder, _ = run()
    for path in (folder / "tables").glob("*.tex"):
        text = path.read_text()
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1, path.name
        assert text.count("{") == text.count("}")
        assert not re.search(r"(?<!\\)[%#_]", text.replace(r"\label{tab:" + path.stem + "}", ""))


# What is refused


def test_missing_sets(run, tmp_path):
    def load(name):
        if name == "SPAQ":
            raise DataError("No prepared data set 'SPAQ'.")
        return known_set(name, 40, sessions=name != "BID")

    with pytest.raises(DataError, match=r"(?s)11 evaluations.*BID, session 1, .*SPAQ: No prepared.*missing=skip"):
        evaluate(settings(), "known", tmp_path / "a", lambda path: known_model(), load)
    content = run("oracle", tmp_path / "b")[1]
    assert content["skipped"] == {}
    content = evaluate(settings(missing="skip"), "known", tmp_path / "a", lambda path: known_model(), load)
    assert "SPAQ" in content["skipped"]
    assert len(content["results"]) == 10 + 1 + 1
    assert "Skipped: SPAQ." in (tmp_path / "a" / "report.html").read_text()
    with pytest.raises(DataError, match="None of the data sets"):
        evaluate(settings(missing="skip", sets=(), official=(), whole=("SPAQ",)), "m", tmp_path / "c", None, load)


def test_too_few_images_are_named(tmp_path):
    config = settings(sets=("LIVE",), official=(), whole=())
    with pytest.raises(DataError, match=r"LIVE, session 1, test split: .*at least 3"):
        evaluate(config, "m", tmp_path, lambda path: known_model(), lambda name: known_set(name, 10))


def test_nan_names_the_image(tmp_path):
    with pytest.raises(ModelError, match=r"known predicts NaN for LIVE/\d\d\d.png"):
        evaluate(settings(), "m", tmp_path, lambda path: known_model(kind="corrupt"), load_set)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"split": "testing"}, "config.split must be one of train, val, test"),
        ({"missing": "ignore"}, "config.missing"),
        ({"whole_models": "some"}, "config.whole_models"),
        ({"on_seen": "hide"}, "config.on_seen"),
        ({"dtype": "float16"}, "config.dtype"),
        ({"preset": "papr"}, r'config.preset must be one of "", paper'),
        ({"workers": -1}, "config.workers must be at least 0; got -1"),
        ({"bootstrap": {"confidence": 95.0}}, r"config.bootstrap: .*0\.95 is 95%.* got 1000, 95\.0"),
        ({"bootstrap": {"method": "x"}}, "config.bootstrap: .*percentile, bca"),
        ({"bootstrap": {"resamples": -3}}, "config.bootstrap: Expected at least 1 resample"),
        ({"bootstrap": {"seed": -1}}, "config.bootstrap: .*a seed of at least 0"),
        ({"official": (("BID",),)}, "config.official must hold pairs"),
        ({"sessions": ()}, "config.sessions is empty"),
        ({"sets": (), "official": (), "whole": ()}, "Nothing to evaluate"),
    ],
)
def test_settings_are_checked(changes, match):
    changes = dict(changes)
    config = settings()
    config.bootstrap.resamples = 1000
    config.bootstrap.update(changes.pop("bootstrap", {}))
    config.update(changes)
    with pytest.raises(UsageError, match=match):
        check_eval_config(config)


def test_unknown_settings_and_presets(run, tmp_path):
    config = settings()
    with config.unlocked():
        config.splitt = "test"
    with pytest.raises(UsageError, match=r"unknown keys \['splitt'\]"):
        check_eval_config(config)
    with pytest.raises(UsageError, match=r'config\.preset must be one of "", paper'):
        run(preset="papre")
    with pytest.raises(UsageError, match="No model is named"):
        evaluate(settings(), "", tmp_path)


def test_the_configuration_of_an_own_set_evaluates_that_set_alone():
    config = eval_own.get_config()
    config.set = "mine"
    check_eval_config(config)
    assert units(config, ["model"]) == [Unit("whole", "mine", "all", "", "model")]
    config.split = "val"
    check_eval_config(config)
    assert units(config, ["model"]) == [Unit("official", "mine", "own", "val", "model")]
    config.set, config.session = "KonIQ-10k", "official"
    assert units(config, ["model"]) == [Unit("official", "KonIQ-10k", "official", "val", "model")]
    config.set = ""
    config.split = "all"
    with pytest.raises(UsageError, match="split must be one of train, val, test"):
        check_eval_config(config)
