"""Scores of the sample photographs equal those of PyTorch and the reference's formulas, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from liqe_jax.scoring.load import load
from tools import public_goldens

from .conftest import SAMPLES

GOLDENS = json.loads(Path(__file__).with_name("public_goldens.json").read_text("utf-8"))
SCORE, PROBABILITY, LOGIT = 5e-5, 2e-5, 2e-4  # as in test_goldens.py


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public") / "random"
    public_goldens.random_clip().save_pretrained(folder)
    return load(folder, devices=jax.devices()[:1])


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_scores_equal_the_reference_s(model, name):
    expected, score = GOLDENS[name], model.score(SAMPLES / name, preprocess="paper")
    assert score.quality == pytest.approx(expected["quality"], abs=SCORE)
    np.testing.assert_allclose(score.logits[::45], expected["logits"], atol=LOGIT, rtol=0)
    for attribute, probabilities in score.probabilities.items():
        np.testing.assert_allclose([*probabilities.values()], expected[f"{attribute}_probs"], atol=PROBABILITY, rtol=0)


def test_the_photographs_have_different_scores():
    scores = [entry["quality"] for entry in GOLDENS.values()]
    assert len(scores) == len(public_goldens.NAMES)
    assert min(np.diff(sorted(scores))) > 20 * SCORE
