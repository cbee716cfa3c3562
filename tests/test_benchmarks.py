"""What benchmarks print, without running what they measure."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from benchmarks import scoring


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
