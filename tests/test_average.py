"""The mean of several models' weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from liqe_jax.cli.main import main
from liqe_jax.encoders.clip import CLIP
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.average import averaged
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance, TrainingSet
from liqe_jax.weights.read import read_model
from liqe_jax.weights.write import write_model

from .tiny import SMALL, foreign_checkpoint


def model(seed: int, config: CLIP = SMALL, **provenance) -> Checkpoint:
    checkpoint = foreign_checkpoint(config, seed)
    return dataclasses.replace(checkpoint, provenance=Provenance(f"model {seed}", **provenance))


def test_parameters_are_the_weighted_means():
    models = [model(seed) for seed in range(3)]
    even, uneven = averaged(models), averaged(models, (1, 0.5, 2.5))
    for name in models[0].flat:
        one, two, three = (m.flat[name].astype(np.float64) for m in models)
        np.testing.assert_allclose(even.flat[name], (one + two + three) / 3, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(uneven.flat[name], (one + two / 2 + 2.5 * three) / 4, rtol=1e-6, atol=1e-7)
        assert even.flat[name].dtype == np.float32
        assert even.flat[name].shape == models[0].flat[name].shape
    # They belong to other weights.
    assert even.text_features is None
    assert (even.encoder, even.tasks) == (models[0].encoder, models[0].tasks)


def test_the_mean_of_a_model_with_itself_is_the_model():
    one = model(1)
    both = averaged([one, one], (0.3, 0.7))
    for name, array in one.flat.items():
        np.testing.assert_array_equal(both.flat[name], array)


def test_where_it_comes_from():
    seen, more = TrainingSet("KADID-10k", "session 1"), TrainingSet("BID")
    one = model(1, licence="MIT", trained_on=(seen,), notes=("a", "b"), source="runs/1")
    two = model(2, licence="Apache-2.0", trained_on=(seen, more), notes=("b", "c"), source="runs/2")
    got = averaged([one, two], (1, 3)).provenance
    assert got == Provenance(
        "model 1",
        source="mean of weights: 0.25 model 1 (runs/1) + 0.75 model 2 (runs/2)",
        licence="MIT and Apache-2.0",
        trained_on=(seen, more),
        notes=("a", "b", "c"),
    )
    unknown = averaged([one, model(3)]).provenance
    assert unknown.trained_on is None
    assert unknown.licence == "MIT and unknown"
    assert averaged([one, one]).provenance.licence == "MIT"


def test_models_that_do_not_go_together():
    one = model(1)
    with pytest.raises(UsageError, match="two models or more; got 1"):
        averaged([one])
    with pytest.raises(ModelError, match=r"model 1 and model 2 have different shapes: .*projection_dim=40.*=32"):
        averaged([one, model(2, dataclasses.replace(SMALL, projection_dim=32))])
    with pytest.raises(ModelError, match="different task sets"):
        averaged([one, dataclasses.replace(model(2), tasks=JOINT)])
    # A plain CLIP says nothing of tasks, and takes the other's.
    plain = dataclasses.replace(one, tasks=None)
    assert averaged([plain, model(2)]).tasks == one.tasks
    assert averaged([plain, plain]).tasks is None
    # ... but not those of two that disagree.
    with pytest.raises(ModelError, match=r"different task sets: .*model 3"):
        averaged([plain, model(2), dataclasses.replace(model(3), tasks=JOINT)])
    other = Tokenizer({**Tokenizer.default().vocab, "more": 49408}, Tokenizer.default().merges)
    for pair in ((None, other), (other, None), (Tokenizer.default(), other)):
        models = [dataclasses.replace(model(n), tokenizer=tokenizer) for n, tokenizer in enumerate(pair)]
        with pytest.raises(ModelError, match="model 0 and model 1 have different vocabularies"):
            averaged(models)
    assert averaged([dataclasses.replace(one, tokenizer=Tokenizer.default()), one]).tasks == one.tasks
    for shares in ((1,), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))):
        with pytest.raises(UsageError, match="one positive share for each of 2 models"):
            averaged([one, model(2)], shares)


def test_the_command(checkpoint, tmp_path, capsys):
    for number, scale in enumerate((1.0, 0.9)):
        flat = {name: np.asarray(array * np.float32(scale)) for name, array in checkpoint.flat.items()}
        other = dataclasses.replace(checkpoint, flat=flat, text_features=None)
        write_model(tmp_path / f"{number}.pt", other)
    sources = [str(tmp_path / f"{number}.pt") for number in range(2)]
    out = tmp_path / "mean"
    command = ["average", *sources, "--shares", "1", "3", "--name", "mine", "--dtype", "float16"]
    command += ["--preprocess", "even", "--output", str(out)]
    assert main(command) == 0
    assert "mean of 2 models, liqe, float16" in capsys.readouterr().out
    mean = read_model(out)
    for name, array in checkpoint.flat.items():
        np.testing.assert_allclose(mean.flat[name], 0.925 * array, rtol=1e-3, atol=1e-6)
    assert (mean.provenance.name, mean.preprocess) == ("mine", "even")
    assert mean.text_features is not None  # of the mean's own weights, or reading would have refused them
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["average", sources[0], "--output", str(tmp_path / "one")]) == 2
    assert "two models or more; got 1" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
