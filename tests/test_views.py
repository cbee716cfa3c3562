"""What `liqe score` does with results: order, selection, fields, copies, ratings, galleries."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from liqe_jax.cli import views
from liqe_jax.cli.main import main
from liqe_jax.cli.writers import check_fields
from liqe_jax.errors import UsageError
from liqe_jax.scoring.shown import NONE_STANDS_OUT, shown_label
from liqe_jax.taxonomy import JOINT

from .conftest import SAMPLES


def row_with(name: str, quality: float, distortion: float = 0.9) -> dict:
    """A row of a photograph, with blur as its likeliest distortion."""
    rest = (1 - distortion) / 10
    probabilities = {f"{a.name}_probs": dict.fromkeys(a.labels, 1 / len(a.labels)) for a in JOINT.attributes} | {
        "distortion_probs": {label: distortion if label == "blur" else rest for label in JOINT.attributes[2].labels}
    }
    return {
        "image": name,
        **{"quality": quality, "scene": "animal", "distortion": "blur"},
        **probabilities,
        **{"crops": 1, "width": 9, "height": 9, "model": "m", "preprocess": "paper", "warnings": [], "digest": "0"},
    }


ROWS = [row_with("b.jpg", 3.0), {"image": "x.jpg", "error": "gone"}, row_with("a.jpg", 4.5), row_with("c.jpg", 1.2)]


@pytest.mark.parametrize(
    ("quality", "share", "shown"),
    [(1.2, 0.9, "blur"), (3.49, 0.9, "blur"), (3.5, 0.9, NONE_STANDS_OUT), (1.2, 0.49, NONE_STANDS_OUT)],
)
def test_a_distortion_is_shown_where_the_quality_says_that_there_is_one(quality, share, shown):
    row = row_with("a.jpg", quality, share)
    assert shown_label(row, "distortion", JOINT.attributes) == shown
    assert shown_label(row, "scene", JOINT.attributes) == "animal"


def test_rows_are_sorted_selected_and_ranked():
    names = lambda rows: [row["image"] for row in rows]  # noqa: E731
    assert names(views.arrange(ROWS, "quality", False, None, False)) == ["c.jpg", "b.jpg", "a.jpg", "x.jpg"]
    assert names(views.arrange(ROWS, "image", True, None, False)) == ["c.jpg", "b.jpg", "a.jpg", "x.jpg"]
    worst = views.arrange([dict(row) for row in ROWS], None, False, 2, True)
    assert names(worst) == ["c.jpg", "b.jpg", "x.jpg"]
    assert [row["percentile"] for row in worst[:2]] == pytest.approx([100 / 6, 50])
    with pytest.raises(UsageError, match="Cannot sort by 'warnings'"):
        views.arrange(ROWS, "warnings", False, None, False)


def test_unknown_fields_are_refused_with_those_that_exist():
    check_fields(["image", "quality", "scene_probs", "scene_probs.night"], JOINT.attributes)
    with pytest.raises(UsageError, match=r"no field qualty.*image, quality, scene"):
        check_fields(["qualty"], JOINT.attributes)


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """A file of results, in a folder with photographs of these names."""
    monkeypatch.chdir(tmp_path)
    for row in ROWS:
        if "error" not in row:
            Path(row["image"]).write_bytes((SAMPLES / "cat.jpg").read_bytes())
    Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def test_results_of_a_file_become_a_short_csv_and_copies(results, capsys):
    (results / "links").mkdir()
    options = ["--worst", "2", "--fields", "image,quality,distortion_probs.blur", "--format", "csv"]
    status = main(["score", "--from", "r.jsonl", *options, "--copy-worst", "bad", "--link-worst", "links"])
    assert status == 1  # x.jpg has no score
    rows = [*csv.reader(capsys.readouterr().out.splitlines())]
    assert rows == [
        ["image", "quality", "distortion_probs.blur"],
        *(["c.jpg", "1.2", "0.9"], ["b.jpg", "3.0", "0.9"], ["x.jpg", "", ""]),
    ]
    names = ["1_1.20_c.jpg", "2_3.00_b.jpg"]
    assert sorted(path.name for path in (results / "bad").iterdir()) == names
    assert [(results / "links" / name).readlink().name for name in names] == ["c.jpg", "b.jpg"]
    assert main(["score", "--from", "r.jsonl", "--worst", "2", "--copy-worst", "bad"]) == 2
    assert "exists. Give an empty folder" in capsys.readouterr().err


def test_ratings_are_written_beside_the_photographs_and_never_replaced(results, capsys):
    (results / "b.jpg.xmp").write_text("mine")
    main(["score", "--from", "r.jsonl", "--xmp"])
    assert "2 ratings written, 1 existing .xmp files kept" in capsys.readouterr().err
    assert (results / "b.jpg.xmp").read_text() == "mine"
    for name, stars in (("a.jpg", "4"), ("c.jpg", "1")):
        (description,) = (
            ET.parse(results / f"{name}.xmp").getroot().iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
        )
        assert description.get("{http://ns.adobe.com/xap/1.0/}Rating") == stars


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["a.jpg", "--from", "r.jsonl"], "either files or folders to score, or --from"),
        ([], "either files or folders to score, or --from"),
        (["--from", "r.jsonl", "--copy-worst", "d"], "add --worst N"),
        (["--from", "r.jsonl", "--descending"], "add --sort"),
        (["a.jpg", "--output", "o.jsonl", "--resume", "--sort", "quality"], "liqe score --from o.jsonl"),
        (["--from", "none.jsonl"], "Cannot read none.jsonl"),
        (["--from", "a.jpg"], "not a jsonl file of liqe score"),
        (["a.jpg", "--gallery", "."], "is not empty"),
    ],
)
def test_combinations_that_make_no_sense_are_explained(results, capsys, options, reason):
    assert main(["score", *options]) == 2
    assert reason in capsys.readouterr().err
