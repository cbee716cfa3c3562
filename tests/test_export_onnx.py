"""ONNX files: ONNX Runtime's scores are ours. Needs jax2onnx, which `make test` installs."""

from __future__ import annotations

import json
import os

import jax
import numpy as np
import pytest

import liqe_jax
from liqe_jax.errors import UsageError

from .conftest import SAMPLES, photograph

PICTURES = [photograph(300, 400), photograph(250, 260, 1)]

pytestmark = [
    # Both describe their own dependencies.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:jax2onnx"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx_ir"),
]

if os.environ.get("CI") != "true":  # there it has to be installed
    pytest.importorskip("jax2onnx", reason="jax2onnx is not installed; make test installs it", exc_type=ImportError)


@pytest.fixture(scope="module")
def nano():
    return liqe_jax.load(devices=jax.devices()[:1])


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def nano_session(nano, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "nano.onnx"
    liqe_jax.export(nano, path, output="marginals")
    assert path.stat().st_size < 10e6
    return session_of(path)


@pytest.mark.optimised  # unoptimised sums over pixels are up to 1e-5 from those in float64 on some processors
@pytest.mark.parametrize("name", ["coffee.jpg", "cat_blur.jpg", "phone_portrait.jpg"])
def test_the_embedded_model_has_the_same_scores(nano, nano_session, name):
    score = nano.score(SAMPLES / name)
    quality, quality_probs, *_ = nano_session.run(None, {"crops": nano.crops(SAMPLES / name)[None]})
    assert quality[0] == pytest.approx(score.quality, abs=1e-5)
    np.testing.assert_allclose(quality_probs[0], list(score.quality_probs.values()), atol=1e-5)


def test_images_and_crops_are_free(nano, nano_session):
    crops = nano.crops(SAMPLES / "coffee.jpg")[None]
    (one,) = nano_session.run(["quality"], {"crops": crops})
    (three,) = nano_session.run(["quality"], {"crops": np.tile(crops, (3, 2, 1, 1, 1))})
    np.testing.assert_allclose(three, [one[0]] * 3, atol=1e-5)


def test_metadata_describe_the_model(nano, nano_session):
    found = nano_session.get_modelmeta().custom_metadata_map
    assert found["digest"] == nano.digest
    assert found["licence"] == "Apache-2.0"
    assert found["opset"] == "23"
    assert json.loads(found["tasks"]) == json.loads(json.dumps(nano.tasks.to_dict()))
    assert json.loads(found["preprocess"])["whole"] is True


def test_a_vision_transformer_has_the_same_joint_distribution(model, tmp_path):
    path = tmp_path / "tiny.onnx"
    liqe_jax.export(model, path)
    before = [score.joint for score in model.score_many(PICTURES)]
    for picture, joint in zip(PICTURES, before, strict=True):
        (found,) = session_of(path).run(None, {"crops": model.crops(picture)[None]})
        np.testing.assert_allclose(found[0], joint, atol=1e-6)
    np.testing.assert_array_equal(before[0], model.score(PICTURES[0]).joint)


def test_a_fixed_batch_and_what_was_traced_for_it_stays_apart(model, tmp_path):
    path = tmp_path / "tiny.onnx"
    liqe_jax.export(model, path, batch=1, output="quality")
    session = session_of(path)
    assert session.get_inputs()[0].shape == [1, 15, 224, 224, 3]
    (found,) = session.run(None, {"crops": model.crops(PICTURES[0])[None]})
    crops = jax.numpy.asarray(model.crops(PICTURES[0])[None])
    ours = liqe_jax.predict(model.params, crops, model.text_features, encoder=model.encoder, tasks=model.tasks)
    assert found[0] == pytest.approx(float(ours.values["quality"][0]), abs=1e-5)


def test_other_types_are_refused(model_folder, tmp_path):
    with pytest.raises(UsageError, match="ONNX export is float32 or int8; got bfloat16"):
        liqe_jax.export(model_folder, tmp_path / "x.onnx", dtype="bfloat16")
    assert not list(tmp_path.iterdir())


def test_int8_is_smaller_and_close(model, model_folder, tmp_path):
    path = tmp_path / "int8.onnx"
    described = liqe_jax.export(model_folder, path, dtype="int8", output="quality")
    assert described["dtype"] == "int8"
    session = session_of(path)
    assert session.get_modelmeta().custom_metadata_map["dtype"] == "int8"
    pictures = [*PICTURES, SAMPLES / "cat.jpg", SAMPLES / "coffee.jpg"]  # signed weights fail by 0.26 here without VNNI
    found = [session.run(None, {"crops": model.crops(picture)[None]})[0][0] for picture in pictures]
    expected = [score.quality for score in model.score_many(pictures)]
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert not np.allclose(found, expected, atol=1e-7)


def test_convolutions_have_no_int8(nano, tmp_path):
    with pytest.raises(UsageError, match="has no int8 form"):
        liqe_jax.export(nano, tmp_path / "x.onnx", dtype="int8")
