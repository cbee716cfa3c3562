"""What benchmarks print, without running what they measure."""

from __future__ import annotations

import json
import re
import sys
import warnings
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tools.nano_card import CARD

from benchmarks import people, scoring
from liqe_jax import Failure
from liqe_jax.errors import ImageError
from liqe_jax.synthetic import KINDS
from liqe_jax.synthetic.mos import mean_mos
from tools.mos_table import FILES, FOLDER

from .test_enlarged import texture


def test_ratios_without_the_peer_are_to_the_first(capsys):
    scoring.report("some", {"liqe float32": [2.0, 4.0, 2.0], "liqe int8": [1.0, 1.0, 1.0]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].endswith("times liqe float32")
    assert [line.split()[-1] for line in lines[-2:]] == ["1.00", "2.00"]
    scoring.report("all", {"liqe float32": [2.0], "torch float32": [1.0]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].endswith("times torch float32")
    assert [line.split()[-1] for line in lines[-2:]] == ["0.50", "1.00"]


def test_contenders_that_do_not_exist_are_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scoring.py", "--only", "liqe float16"])
    with pytest.raises(SystemExit):
        scoring.main()
    assert "invalid choice: 'liqe float16'" in capsys.readouterr().err


def test_the_card_s_benchmark_says_which_plcc_it_prints(monkeypatch, tmp_path, capsys):
    nano = pytest.importorskip("benchmarks.nano", exc_type=ImportError)
    (tmp_path / "photographs.json").write_text(json.dumps({"photographs": []}))
    model = SimpleNamespace(name="m", preprocess="even")
    monkeypatch.setattr(nano.liqe_jax, "load", lambda name: model)
    monkeypatch.setattr(nano, "measure", lambda *arguments, **options: {"PLCC": 0.5})
    monkeypatch.setattr(sys, "argv", ["nano.py", str(tmp_path), "--sections", "own"])
    nano.main()
    lines = capsys.readouterr().out.splitlines()
    assert "PLCC: Pearson's correlation of the scores as they are, without a logistic" in lines
    assert lines[-1] == "own, 512: PLCC 0.5000"


class Judge:
    """Scores damage as people do; a photograph is bad, and what is unreadable fails."""

    def __init__(self, unreadable=lambda item: None):
        self.unreadable = unreadable

    def score_many(self, items, preprocess):
        for item in items:
            error = self.unreadable(item)
            if error:
                yield Failure(item.name, f"Cannot make an array of this Rendering: {error}")
            elif item.kind:
                quality = mean_mos(item.kind, item.level)[0]
                yield SimpleNamespace(quality=quality, distortion=KINDS[item.kind].category)
            else:
                yield SimpleNamespace(quality=1.0, distortion="other")


def test_pictures_out_of_reach_are_left_out_and_counted(tmp_path, capsys):
    nano = pytest.importorskip("benchmarks.nano", exc_type=ImportError)

    def unreadable(item):
        return "Out of reach: too far." if item.kind == 7 and (item.level == 5 or item.name == "b.png") else None

    arguments = (tmp_path, ["a.png", "b.png", "c.png"], [7, 11], None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = nano.measure(Judge(unreadable), *arguments, side=512, absent="Out of reach")
    # Undamaged photographs, here the worst, take no part in the P-test.
    assert [report[name] for name in ("SRCC", "PLCC", "category", "P")] == pytest.approx([1, 1, 1, 1])
    assert report["L by opinion"] == pytest.approx(1)
    total, desaturated, noisy = capsys.readouterr().out.splitlines()
    assert total == "measured 76% of 30"
    assert "L -  category 1.00" in desaturated
    assert re.search(r"scores( \d\.\d\d){4} -  opinions( \d\.\d\d){5}  measured 53%$", desaturated)
    assert noisy.endswith("measured 100%")
    nothing = Judge(lambda item: "Out of reach: too far." if item.kind == 7 else None)
    nano.measure(nothing, *arguments, side=512, absent="Out of reach")
    assert "D -  L -  category -  scores - - - - -  opinions" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"7 images have no score: .*Out of reach"):
        nano.measure(Judge(unreadable), *arguments, side=512)
    broken = Judge(lambda item: unreadable(item) or ("broken" if item.kind == 11 and item.level == 1 else None))
    with pytest.raises(SystemExit, match=r"3 images have no score: .*broken"):
        nano.measure(broken, *arguments, side=512, absent="Out of reach")


def test_sizes_are_measured_on_photographs_as_large(monkeypatch, tmp_path, capsys):
    nano = pytest.importorskip("benchmarks.nano", exc_type=ImportError)
    sides = [(400, 300), (700, 1200), (900, 500), (1024, 800)]
    rows = [{"file": f"{w}.png", "width": w, "height": h, "split": "test"} for w, h in sides]
    (tmp_path / "photographs.json").write_text(json.dumps({"photographs": rows}))
    taken = {}
    monkeypatch.setattr(nano.liqe_jax, "load", lambda name: SimpleNamespace(name="m", preprocess="even"))
    monkeypatch.setattr(
        nano, "measure", lambda model, folder, names, *rest, side, **options: taken.update({side: names}) or {"D": 1}
    )
    monkeypatch.setattr(sys, "argv", ["nano.py", str(tmp_path), "--sections", "sizes", "--limit", "2"])
    nano.main()
    assert taken == {384: ["400.png", "700.png"], 768: ["700.png", "900.png"], 1024: ["700.png", "1024.png"]}
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["own, 1024, 2 photographs: D 1.0000", "own, 2048, 0 photographs: none is as large"]


def test_stored_pictures_are_measured_as_stored(monkeypatch, tmp_path, capsys):
    nano = pytest.importorskip("benchmarks.nano", exc_type=ImportError)
    Image.fromarray(texture(341, 512)).save(tmp_path / "a.png")
    rows = [{"file": "a.png", "split": "test", "width": 512, "height": 341}]
    (tmp_path / "photographs.json").write_text(json.dumps({"photographs": rows}))
    original = np.asarray(Image.open(tmp_path / "a.png"))

    def score_many(items, preprocess):
        """How far each picture is from the photograph."""
        for item in items:
            far = np.abs(np.asarray(item).astype(float) - original).mean()
            yield SimpleNamespace(quality=4.5 - far, distortion="noise")

    monkeypatch.setattr(
        nano.liqe_jax, "load", lambda name: SimpleNamespace(name="m", preprocess="even", score_many=score_many)
    )
    monkeypatch.setattr(nano, "KINDS", {11: KINDS[11]})
    monkeypatch.setattr(sys, "argv", ["nano.py", str(tmp_path), "--sections", "stored"])
    nano.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "stored as" in line]
    assert [re.split(" as |: ", line)[1] for line in lines] == [*nano.STORED] * 2
    assert all(line.startswith("own, 512 stored as") and "SRCC 1.0000" in line for line in lines[: len(nano.STORED)])
    lost = [float(re.search(r"before 4.500  most lost (\S+)", line)[1]) for line in lines[len(nano.STORED) :]]
    # Noise of one level moves a pixel by 0.8 on the average; JPEG the more the lower its quality.
    assert 0 < lost[0] < lost[1] < lost[2]
    assert lost[-1] == pytest.approx(0.8, abs=0.1)


def test_people_who_agree_with_each_other_are_right_in_all_measures():
    opinions = np.array([[mean_mos(kind, level)[0] for level in range(1, 6)] for kind in KINDS])
    report = people.measure(np.stack([opinions] * 3))
    rest = {name: report[name] for name in ("SRCC", "PLCC", "L by opinion", "P")}
    assert rest == pytest.approx(dict.fromkeys(rest, 1))
    # The images that stand for undamaged ones are among the damaged, and the weakest blurs are liked a little more.
    assert report["D"] == pytest.approx((1 + 122 / 125) / 2)


@pytest.mark.goldens
def test_what_people_get_is_what_the_card_says(goldens, tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(goldens.parent / "liqe_labels.zip") as archive:
        archive.extractall(tmp_path, [f"{FOLDER}/{name}" for name in FILES])
    monkeypatch.setattr(sys, "argv", ["people.py", str(tmp_path)])
    people.main()
    total, draws, _ = capsys.readouterr().out.splitlines()
    row = next(line for line in CARD.read_text("utf-8").splitlines() if line.startswith("| people's scores"))
    said = [cell.strip() for cell in row.strip("|").split("|")[1:]]
    figures = dict(re.findall(r"(\w[\w ]*?) (0\.\d+)", total))
    order = ("SRCC", "PLCC", None, "D", "L", "L by opinion", "P")
    assert said == [f"{float(figures[name]):.3f}" if name else "" for name in order]
    low, high = re.findall(r"0\.\d+", draws)
    assert f"between {low} and {high} in 95" in " ".join(CARD.read_text("utf-8").split())


def test_another_make_that_cannot_go_as_far_is_an_error(monkeypatch):
    other_implementations = pytest.importorskip("benchmarks.other_implementations", exc_type=ImportError)
    image = np.full((64, 64, 3), 0.5, np.float32)
    image[::2] = 0.25
    assert np.isfinite(other_implementations.other_distort(image, 16, 3, 0)).all()
    monkeypatch.setattr(other_implementations, "OTHER_IMPLEMENTATIONS", {16: lambda image, strength, rng: image})
    reason = rf"{other_implementations.OUT_OF_REACH}: type 16 at level 3 .* no nearer than 0.0000"
    with pytest.raises(ImageError, match=reason):
        other_implementations.other_distort(image, 16, 3, 0)


def test_enlargements_are_counted(monkeypatch, tmp_path, capsys):
    enlargement = pytest.importorskip("benchmarks.enlargement", exc_type=ImportError)
    monkeypatch.setattr(enlargement, "KINDS", ())
    Image.fromarray(texture(683, 1024)).save(tmp_path / "a.png")
    rows = [{"file": "a.png", "split": part, "width": 1024, "height": 683} for part in ("val", "test")]
    (tmp_path / "photographs.json").write_text(json.dumps({"photographs": rows}))
    monkeypatch.setattr(sys, "argv", ["enlargement.py", str(tmp_path)])
    enlargement.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 photographs, 1 pictures"
    for line in ("| as it is | 1.000 | 0.000 |", "| Pillow, bicubic, 4 | 1.000 | 0.000 |"):
        assert line in lines
    monkeypatch.setattr(enlargement, "found", lambda pixels: 2.0)
    enlargement.main()
    lines = capsys.readouterr().out.splitlines()
    for line in ("| as it is | 0.000 | 1.000 |", "| Pillow, Lanczos, 2 | 1.000 | 0.000 |"):
        assert line in lines
    monkeypatch.setattr(enlargement, "found", lambda pixels: 1.0)
    enlargement.main()  # not found is neither
    assert "| Pillow, Lanczos, 2 | 0.000 | 0.000 |" in capsys.readouterr().out.splitlines()
