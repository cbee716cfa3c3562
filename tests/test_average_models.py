"""The tool that averages two models of one run."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest

from liqe_jax.errors import ModelError
from liqe_jax.taxonomy import QUALITY_ONLY
from liqe_jax.weights.provenance import TrainingSet

TOOL = Path(__file__).parent.parent / "tools" / "average_models.py"


@pytest.fixture(scope="module")
def average():
    return runpy.run_path(str(TOOL))["average"]


@pytest.fixture
def other(checkpoint):
    provenance = dataclasses.replace(checkpoint.provenance, trained_on=(TrainingSet("BID", "session 2"),), notes=("b",))
    flat = {name: leaf + 1 for name, leaf in checkpoint.flat.items()}
    return dataclasses.replace(checkpoint, flat=flat, provenance=provenance)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_is_the_mean(average, checkpoint, other, share):
    averaged = average(checkpoint, other, share)
    for name, leaf in averaged.flat.items():
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, checkpoint.flat[name] + share, atol=1e-6)
    assert averaged.text_features is None  # those of neither
    assert {entry.dataset for entry in averaged.provenance.trained_on} == {"KADID-10k", "BID"}
    assert averaged.provenance.notes[1] == f"{share:g} of: b"


def test_what_is_unknown_stays_unknown(average, checkpoint, other):
    unknown = dataclasses.replace(other, provenance=dataclasses.replace(other.provenance, trained_on=None))
    assert average(checkpoint, unknown, 0.5).provenance.trained_on is None


def test_models_of_two_kinds_are_refused(average, checkpoint, other):
    with pytest.raises(ModelError, match="give two of one run"):
        average(checkpoint, dataclasses.replace(other, tasks=QUALITY_ONLY), 0.5)
