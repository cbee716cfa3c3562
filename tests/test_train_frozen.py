"""Training on features that the frozen part of an encoder computed once."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import smoke
from liqe_jax import UsageError, load
from liqe_jax.data.generated import generated_set
from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import PRESETS, prepare
from liqe_jax.metrics.correlation import srcc
from liqe_jax.scoring.predict_set import predict_set
from liqe_jax.train import frozen
from liqe_jax.train.frozen import on_features, pooled_features, projected
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.start import starting_checkpoint


def frozen_config(folder) -> ConfigDict:
    config = smoke.get_config()
    config.encoder = "efficientnet_lite"
    with config.unlocked():
        config.architecture = ConfigDict({"image_size": 64, "taps": (0, 1), "components": 8, "projection_dim": 16})
    config.data.folder = str(folder)
    config.data.crops = config.validation_crops = 1
    config.data.frozen_features = True
    config.data.feature_noise = 0.1
    config.data.validate, config.data.test = (), ("generated",)
    config.epochs, config.steps_per_epoch, config.devices = 2, 2, 1
    return config


def test_validation_takes_the_features_too(tmp_path, monkeypatch):
    computed = []

    def recorded(pool, encoder, preset, dataset):
        computed.append(dataset.name)
        return pooled(pool, encoder, preset, dataset)

    pooled = frozen._pooled
    monkeypatch.setattr(frozen, "_pooled", recorded)
    monkeypatch.setattr("liqe_jax.train.validate.predict_set", None)
    train_and_evaluate(frozen_config(tmp_path), str(tmp_path / "run"))
    assert computed == ["generated", "generated-2"]

    model = load(tmp_path / "run" / "last", devices=jax.devices()[:1])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name, part in (("generated", "val"), ("generated-2", "val"), ("generated", "test")):
        dataset = generated_set(name)
        indices = np.flatnonzero(np.asarray(dataset.splits["1"]) == part)
        batches = list(predict_set(model.forward, model.weights, dataset, indices, preset=model._preset))
        expected = srcc(dataset.mos[indices], np.concatenate([batch.quality for batch in batches]))
        found = [line[f"{part}/{name}/srcc"] for line in lines if f"{part}/{name}/srcc" in line]
        assert len(found) == 2  # epochs
        assert found[-1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_mirrored_image_has_features_of_its_own(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)  # one picture after another, or all at once
    config = frozen_config(tmp_path)
    start, dataset = starting_checkpoint(config), generated_set("generated", count=5)
    pooled = pooled_features(config, start, [dataset])["generated"]
    assert pooled.shape[:2] == (5, 2)
    for number, encoded in enumerate(dataset.read(range(5))):
        crop = prepare(decode(encoded), PRESETS["whole"], 64).crops()[0]
        expected = start.encoder.pool(start.params, np.stack([crop, crop[:, ::-1]]))
        np.testing.assert_allclose(pooled[number], expected, rtol=1e-5, atol=1e-5)
    features = projected(start.encoder, start.params, pooled={"generated": pooled})["generated"]
    trained_on = on_features(dataset, features, 0.0)
    for mirrored in (False, True):
        np.testing.assert_array_equal(trained_on.ready(3, mirrored, np.zeros(1)), features[3, [int(mirrored)]])
    assert (features[:, 0] != features[:, 1]).any(1).all()


def test_an_encoder_without_a_frozen_part_is_refused(tmp_path):
    config = smoke.get_config()
    config.data.frozen_features = True
    config.data.folder = str(tmp_path)
    with pytest.raises(UsageError, match="frozen_features is for encoders with a frozen part, and clip has none"):
        train_and_evaluate(config, str(tmp_path / "run"))


def test_mixup_of_the_configuration_is_what_is_trained_with(tmp_path):
    """Without it, parameters after two steps are others; with it they are always the same."""
    found = []
    for number, mixup in enumerate(((), (1.0, 0.0), (1.0, 0.0))):
        config = frozen_config(tmp_path)
        config.data.mixup, config.epochs, config.data.test = mixup, 1, ("none",)
        train_and_evaluate(config, str(tmp_path / f"run{number}"))
        found.append(load(tmp_path / f"run{number}" / "last").params["image_model"]["hidden"]["kernel"])
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])
