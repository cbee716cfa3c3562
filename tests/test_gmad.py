"""gMAD with scorers of known answers, and `liqe gmad` as a user runs it."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.special import ndtri

from liqe_jax.cli.main import main
from liqe_jax.compare.gmad import compete, default_tolerance, extremes, level_sets
from liqe_jax.compare.gmad_page import side_by_side
from liqe_jax.compare.gmad_ranking import (
    global_ranking,
    strengths_of,
    tally,
)
from liqe_jax.data.score_tables import matched, numbers
from liqe_jax.errors import DataError, UsageError

from .conftest import photograph

QUALITY = np.linspace(1, 5, 101)  # an oracle's scores; step 0.04
NAMES = [f"{i:03}.png" for i in range(101)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def by_id(competition):
    return {pair.id: pair for pair in competition.pairs}


def test_level_sets_lie_about_the_quantiles():
    sets = level_sets(QUALITY, 4, tolerance=0.1)
    # The score at or below each quantile: images 12, 37, 63 and 88 of 101.
    assert [s.center for s in sets] == pytest.approx([1.48, 2.48, 3.52, 4.52])
    assert QUALITY[sets[0].members] == pytest.approx([1.4, 1.44, 1.48, 1.52, 1.56])
    assert all(s.tolerance == 0.1 for s in sets)


@pytest.mark.parametrize("counts", [(50, 50), (30, 70), (51, 48)])
def test_no_level_is_empty_where_the_scores_leave_a_gap(counts):
    rng = np.random.default_rng(0)
    low, high = (center + rng.normal(0, 0.1, count) for center, count in zip((1.5, 4.5), counts, strict=True))
    scores = np.concatenate([low, high])
    for levels in (1, 5, 6):
        sets = level_sets(scores, levels)
        assert len(sets) == levels
        for found in sets:
            assert len(found.members) > 1
            assert found.center in scores
            assert np.ptp(scores[found.members]) < 1  # of one cluster


def test_default_tolerance_is_a_twentieth_of_the_central_spread():
    assert default_tolerance(QUALITY) == pytest.approx(0.05 * 3.6)
    # One outlier must not widen the sets.
    assert default_tolerance(np.append(QUALITY, 1e6)) == pytest.approx(0.05 * 3.6, rel=0.02)


def test_a_constant_defender_has_one_level_of_all_images():
    (only,) = level_sets(np.full(101, 3.0))
    assert (only.center, only.tolerance, len(only.members)) == (3.0, 0.0, 101)
    pairs = compete(NAMES, np.full(101, 3.0), QUALITY).pairs
    # It defends once and loses by the whole scale; it cannot attack.
    assert [(p.id, p.better, p.worse) for p in pairs] == [("first-defends-1", 100, 0)]


def test_a_constant_attacker_has_no_pairs():
    competition = compete(NAMES, QUALITY, np.full(101, 3.0))
    assert {p.defender for p in competition.pairs} == {1}
    assert len(competition.without_pair) == 6
    assert "scores them equally" in competition.without_pair["first-defends-1"]


@pytest.mark.parametrize("sign", [1, -1])
def test_oracle_against_its_copy_or_its_reverse(sign):
    """The attacker finds exactly the ends of each level set, in its own order."""
    competition = compete(NAMES, QUALITY, sign * QUALITY, levels=4, tolerances=(0.1, 0.1))
    assert len(competition.pairs) == 8
    for pair in competition.pairs:
        members = pair.level_set.members
        top, bottom = members.max(), members.min()
        # The second attacks on `sign` times the oracle's scale, the first on the oracle's.
        upright = sign == 1 or pair.attacker == 0
        assert (pair.better, pair.worse) == ((top, bottom) if upright else (bottom, top))
        assert QUALITY[top] - QUALITY[bottom] <= 0.2 + 1e-9


def test_noise_is_caught_and_the_oracle_holds():
    """Where noise defends, an oracle finds pairs that differ; where the oracle defends, none does."""
    noise = np.random.default_rng(0).uniform(1, 5, 101)
    competition = compete(NAMES, noise, QUALITY)
    gap = {pair.id: QUALITY[pair.better] - QUALITY[pair.worse] for pair in competition.pairs}
    assert min(gap[key] for key in gap if key.startswith("first")) > 1
    assert max(abs(gap[key]) for key in gap if key.startswith("second")) <= 2 * default_tolerance(QUALITY) + 1e-9


def test_extremes_against_a_search_over_all_pairs():
    rng = np.random.default_rng(3)
    attacker = rng.integers(0, 5, 40).astype(float)
    members = np.sort(rng.choice(40, 12, replace=False))
    better, worse = extremes(members, attacker)
    assert attacker[better] - attacker[worse] == max(attacker[i] - attacker[j] for i in members for j in members)
    assert better == min(i for i in members if attacker[i] == attacker[better])
    assert worse == min(i for i in members if attacker[i] == attacker[worse])


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(1)
    first, second = rng.integers(1, 6, (2, 60)).astype(float)  # full of ties
    names = [f"{i:02}" for i in range(60)]
    shuffled = rng.permutation(60)

    def found(order):
        competition = compete([names[i] for i in order], first[order], second[order])
        return [
            (p.id, competition.names[p.better], competition.names[p.worse], p.better_is_left) for p in competition.pairs
        ]

    assert found(np.arange(60)) == found(shuffled)
    assert found(shuffled)


def test_images_without_a_score_are_left_out_by_name():
    first, second = QUALITY.copy(), QUALITY[::-1].copy()
    first[7], second[50], second[51] = np.nan, np.inf, np.nan
    competition = compete(NAMES, first, second)
    assert competition.left_out == ("007.png", "050.png", "051.png")
    used = {index for p in competition.pairs for index in p.level_set.members}
    assert used.isdisjoint({7, 50, 51})
    assert used


def test_sides_are_mixed_and_follow_the_seed():
    rng = np.random.default_rng(2)
    scores = rng.uniform(1, 5, (2, 400))
    names = [str(i) for i in range(400)]
    sides = [[p.better_is_left for p in compete(names, *scores, levels=20, seed=seed).pairs] for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2]
    assert 8 < sum(sides[0]) < 32
    pair = compete(names, *scores).pairs[0]
    assert {pair.left, pair.right} == {pair.better, pair.worse}
    assert (pair.left == pair.better) == pair.better_is_left


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: compete(NAMES, QUALITY[:5], QUALITY), UsageError, "Expected 101 scores"),
        (lambda: compete(["a", "b", "a"], np.arange(3), np.arange(3)), UsageError, "'a' occurs more than once"),
        (lambda: compete(["a", "b"], [1, np.nan], [1, 2]), DataError, "1 of 2 have them"),
        (lambda: compete(NAMES, QUALITY, QUALITY, levels=0), UsageError, "at least 1; got 0"),
        (lambda: compete(NAMES, QUALITY, QUALITY, seed=-1), UsageError, "seed must be at least 0; got -1"),
        (lambda: level_sets(QUALITY, tolerance=-1), UsageError, "at least 0"),
        (lambda: level_sets(QUALITY, tolerance=np.nan), UsageError, "at least 0"),
        (lambda: level_sets(np.array([1, np.nan])), DataError, "1 of 2"),
    ],
)
def test_wrong_use(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_aggressiveness_and_resistance():
    competition = compete(NAMES, np.random.default_rng(0).uniform(1, 5, 101), QUALITY)
    rated = {"first-defends-1": [1], "first-defends-3": [1, 0], "first-defends-4": [0, 0], "first-defends-6": [-0.5]}
    aggressive, resistant = tally(competition, {**rated, "second-defends-2": [0]})
    np.testing.assert_allclose(aggressive, [[np.nan, 0], [1.5 / 4, np.nan]])
    np.testing.assert_allclose(resistant, [[np.nan, (0 + 0.5 + 1 + 0.5) / 4], [1, np.nan]])
    for matrix in tally(competition, rated):
        assert np.isnan(matrix).sum() == 3  # nobody has rated a pair that the second defends


def test_global_ranking_of_two_has_a_closed_form():
    wins = np.array([[np.nan, 3.0], [1.0, np.nan]])
    assert global_ranking(wins) == pytest.approx([ndtri(0.75) / 2, -ndtri(0.75) / 2], abs=1e-7)


def test_global_ranking_recovers_thurstone_scales():
    from scipy.special import ndtr

    truth = np.array([-1.2, -0.1, 0.3, 1.0])
    wins = 1000 * ndtr(truth[:, None] - truth)
    assert global_ranking(wins) == pytest.approx(truth - truth.mean(), abs=1e-6)


def test_global_ranking_without_a_maximum():
    with pytest.raises(DataError, match="never beaten"):
        global_ranking(np.array([[0, 1.0], [0, 0]]))
    first, second = global_ranking(np.array([[0, 1.0], [0, 0]]), prior_sd=1.0)
    assert np.isfinite(first)
    assert first == pytest.approx(-second)
    assert first > 0
    assert global_ranking(np.zeros((2, 2)), prior_sd=1.0) == pytest.approx([0, 0])
    for wrong in (np.zeros((2, 3)), -np.ones((2, 2))):
        with pytest.raises(UsageError, match="square matrix"):
            global_ranking(wrong)


def test_strengths_of_ratings():
    competition = compete(NAMES, QUALITY, -QUALITY, levels=2)
    pair = competition.pairs[0]
    good, bad = ("left", "right") if pair.better_is_left else ("right", "left")
    left, right = NAMES[pair.left], NAMES[pair.right]
    rows = [
        {"pair": pair.id, "better": good, "strength": "0.5", "left": left, "right": right},
        {"pair": pair.id, "better": bad},
        {"pair": pair.id, "better": "same", "strength": ""},
        {"pair": pair.id, "better": NAMES[pair.better], "rater": "somebody"},
    ]
    assert strengths_of(rows, competition) == {pair.id: [0.5, -1, 0, 1]}
    rows = [*rows, {"pair": pair.id, "better": bad, "strength": 0}, {"pair": pair.id, "better": good, "strength": "0"}]
    assert strengths_of(rows[-2:], competition) == {pair.id: [0, 0]}  # as JSON gives it, and as CSV does
    for change, words in (
        ({"pair": ["x"]}, r"names the pair \['x'\]"),
        ({"better": ["left"]}, r"says that \['left'\] is better"),
        ({"better": None}, "says that None is better"),
        ({"strength": [1]}, "number from 0 to 1"),
        ({"pair": "x"}, "names the pair 'x'"),
        ({"better": "top"}, "says that 'top'"),
        ({"better": ""}, "says that ''"),
        ({"strength": "2"}, "number from 0 to 1"),
        ({"strength": "much"}, "number from 0 to 1"),
        ({"left": "other.png"}, "rate the pairs again"),
    ):
        with pytest.raises(DataError, match=words):
            strengths_of([rows[0] | change], competition)


def test_side_by_side():
    left, right = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (10, 40), "blue")
    picture = side_by_side(left, right)
    assert picture.size == (30 + 16 + 10, 40)
    assert picture.getpixel((0, 20)) == (255, 0, 0)
    assert picture.getpixel((0, 5)) == (255, 255, 255)
    assert picture.getpixel((55, 0)) == (0, 0, 255)


def test_score_files(tmp_path):
    table = tmp_path / "s.csv"
    table.write_text("image,score,error\na.png,1.5,\nb.png,,broken\n")
    assert numbers(table) == {"a.png": 1.5, "b.png": pytest.approx(np.nan, nan_ok=True)}
    lines = tmp_path / "s.jsonl"
    lines.write_text('{"image": "x/a.png", "quality": 2}\n{"image": "x/b.png", "error": "no"}\n')
    np.testing.assert_array_equal(matched(numbers(lines), ["b.png", "a.png", "c.png"]), [np.nan, 2, np.nan])
    # A bare name that two images share says nothing of either.
    np.testing.assert_array_equal(matched({"a.png": 1, "k": 2}, ["x/a.png", "y/a.png", "k"]), [np.nan, np.nan, 2])
    for text, words in (
        ("", "has no rows"),
        ("image,mark\na,1\n", "no column quality or score"),
        ("file,score\na,1\n", "no column image"),
        ("image,score\na,good\n", "expected a number"),
        ("image,score\na,1\na,2\n", "repeats an image"),
        ("image,score\n,1\n", "has no image name"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=words):
            numbers(table)
    with pytest.raises(DataError, match="None of the 1 images"):
        matched({"z.png": 1.0}, ["a.png"])
    with pytest.raises(DataError, match="Cannot read"):
        numbers(tmp_path / "absent.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve small photographs, one of them in a sub-folder, and a file that is none."""
    root = tmp_path_factory.mktemp("my photos")
    for number in range(12):
        Image.fromarray(photograph(230, 240, number)).save(root / f"{number:02}.png")
    (root / "broken.png").write_text("no image")
    return root


def write_scores(path, values):
    path.write_text("image,score\n" + "".join(f"{name},{value}\n" for name, value in values.items()))
    return path


def test_two_files_of_scores_as_a_user_has_them(folder, tmp_path, capsys):
    names = [f"{n:02}.png" for n in range(12)]
    first = write_scores(tmp_path / "one.csv", dict.fromkeys(names, 3))
    second = write_scores(tmp_path / "two.csv", {name: -n for n, name in enumerate(names)})
    out = tmp_path / "out"
    command = ("gmad", folder, "--first", first, "--second", second, "--lower-is-better", "second", "--output", out)
    assert run(*command) == 1  # broken.png has no score
    text = capsys.readouterr().out
    assert "broken.png" in text
    result = json.loads((out / "gmad.json").read_text())
    assert result["scorers"] == ["one", "two"]
    assert result["left_out"] == ["broken.png"]
    assert result["negated"] == ["two"]
    assert "The scores of two are negated, since lower is better." in text
    (pair,) = result["pairs"]
    assert (pair["better"]["image"], pair["worse"]["image"], pair["members"]) == ("11.png", "00.png", 12)
    assert len(result["without_pair"]) == 6
    with Image.open(out / "pairs" / "first-defends-1.jpg") as picture:
        assert picture.size == (240 + 16 + 240, 230)
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http" not in page
    assert "broken.png" in page
    assert "The scores of two are negated" in page

    # Somebody fills in the table that came out.
    with open(out / "pairs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    row["better"] = "11.png"
    ranking = tmp_path / "ranking.csv"
    with open(ranking, "w", newline="") as file:
        rows = csv.DictWriter(file, row)
        rows.writeheader()
        rows.writerow(row)
    assert run(*command, "--ranking", ranking, "--quiet") == 1
    found = json.loads((out / "gmad.json").read_text())["ranking"]
    assert found["aggressiveness"] == {"one": None, "two": 1.0}
    assert found["resistance"] == {"one": 0.0, "two": None}
    assert found["aggressiveness_rank"]["two"] > 0 > found["aggressiveness_rank"]["one"]
    assert found["aggressiveness_prior_sd"] == 1.0
    assert "1 of 1 pairs rated" in (out / "gmad.md").read_text()
    assert "<td>two</td><td>1.000</td>" in (out / "index.html").read_text()


def test_a_model_against_its_reverse_and_a_second_run(folder, model_folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert run("score", folder, "--model", model_folder, "--output", tmp_path / "s.jsonl", "--quiet") == 1
    command = (
        "gmad",
        folder,
        "--first",
        model_folder,
        "--second",
        tmp_path / "s.jsonl",
        "--output",
        out,
        "--levels",
        2,
    )
    command += ("--tolerance", 4, 4, "--quiet", "--lower-is-better", "second")
    assert run(*command) == 1
    result = json.loads((out / "gmad.json").read_text())
    rows = [json.loads(line) for line in (out / "first.jsonl").read_text().splitlines()]
    quality = {row["image"].split("/")[-1]: row["quality"] for row in rows if "quality" in row}
    assert len(quality) == 12
    assert result["scorers"] == ["tiny", "s"]
    by_pair = {pair["pair"]: pair for pair in result["pairs"]}
    # So wide a set holds all images; the attacker's order is the model's or its reverse.
    assert by_pair["second-defends-1"]["better"]["image"] == max(quality, key=quality.__getitem__)
    assert by_pair["first-defends-1"]["better"]["image"] == min(quality, key=quality.__getitem__)
    assert by_pair["first-defends-1"]["members"] == 12

    # A run that was cut off goes on where it stopped, and ends with the same pairs.
    lines = (out / "first.jsonl").read_text().splitlines(keepends=True)
    (out / "first.jsonl").write_text("".join(lines[:-2]) + lines[-2][:20])
    assert run(*command) == 1
    assert json.loads((out / "gmad.json").read_text()) == result
    kept = (out / "first.jsonl").read_text().splitlines(keepends=True)
    assert kept == lines

    # Finished scores are not made again, and those of other settings are refused.
    def refuse(*_):
        raise AssertionError("an image was read again")

    monkeypatch.setattr("liqe_jax.scoring.model.Model._ready", refuse)
    assert run(*command) == 1
    capsys.readouterr()
    assert run(*command, "--preprocess", "even") == 2
    assert "results of preprocess 'paper'" in capsys.readouterr().err
    assert run(*command, "--dtype", "bfloat16") == 2
    assert "results of digest" in capsys.readouterr().err


def test_names_that_need_care(tmp_path):
    root = tmp_path / "p"
    (root / "sub").mkdir(parents=True)
    names = ["a,b.png", 'say "x".png', "<script>.png", "sub/é|n.png"]
    for number, name in enumerate(names):
        Image.fromarray(photograph(230, 240, number)).save(root / name)
    rows = [["image", "score"], *([name, number] for number, name in enumerate(names))]
    for path, order in ((tmp_path / "1.csv", rows), (tmp_path / "2.csv", rows)):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(order)
    out = tmp_path / "o"
    command = ("gmad", root, "--recursive", "--first", tmp_path / "1.csv", "--second", tmp_path / "2.csv")
    assert run(*command, "--tolerance", 9, 9, "--levels", 1, "--output", out, "--quiet") == 0
    page = (out / "index.html").read_text()
    assert "negated" not in page
    assert "&lt;script&gt;" not in page.split("<script>const PAIRS")[1]
    assert page.count("</script>") == 1
    with open(out / "pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {rows[0]["left"], rows[0]["right"]} == {"a,b.png", "sub/é|n.png"}


def test_wrong_commands(folder, tmp_path, capsys):
    scores = write_scores(tmp_path / "s.csv", {"00.png": 1})
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ((tmp_path / "absent", "--first", scores, "--second", scores), "is not a folder"),
        ((empty, "--first", scores, "--second", scores), "No images in"),
        ((folder, "--first", scores, "--second", scores), "at least two images"),
        ((folder, "--first", tmp_path / "no.csv", "--second", scores), "Cannot read"),
        ((folder, "--first", tmp_path / "no_model", "--second", scores), "No model"),
        ((folder, "--first", scores, "--second", scores, "--columns", "mark", "score"), "no column mark"),
        # Found before anything is scored: there is no such model.
        ((folder, "--first", "no_model", "--second", scores, "--seed", -1), "seed must be at least 0; got -1"),
        ((folder, "--first", "no_model", "--second", scores, "--levels", 0), "levels must be at least 1"),
        ((folder, "--first", "no_model", "--second", scores, "--tolerance", -1, 1), "tolerance must be"),
        ((folder, "--first", "no_model", "--second", scores, "--ranking", tmp_path / "no.csv"), "Cannot read"),
    ):
        assert run("gmad", *arguments, "--output", tmp_path / "o", "--quiet") == 2
        assert words in capsys.readouterr().err
    shutil.rmtree(tmp_path / "o")
