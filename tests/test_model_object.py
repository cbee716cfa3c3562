"""The scorer as an object: what cannot be set, presets of one's own, devices, wrong arguments, queued images."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import liqe_jax
from liqe_jax import PRESETS, Model, ModelError, Preset, UsageError, predict
from liqe_jax.images.preprocess import PreparedImage


def made(model, **changed):
    """A model of the same parts, but for some."""
    names = ("params", "text_features", "encoder", "tasks", "provenance", "dtype", "devices", "preprocess")
    return Model(**{name: getattr(model, name) for name in names} | changed)


@pytest.mark.parametrize("name", ["params", "text_features", "encoder", "tasks", "dtype", "devices", "preprocess"])
def test_what_the_digest_is_of_cannot_be_set(model, name):
    with pytest.raises(UsageError, match=rf"A Model's {name} cannot be set.*Make another"):
        setattr(model, name, getattr(model, name))


@pytest.mark.parametrize("shape", [(3, 4), (495,), (494, 16)])
def test_text_features_of_another_shape_are_refused(model, shape):
    with pytest.raises(UsageError, match="Text features must have shape"):
        made(model, text_features=np.zeros(shape, np.float32))


def test_a_preset_of_ones_own_is_used(model, photo):
    own = dataclasses.replace(PRESETS["even"], name="mine", count=3)
    score = made(model, preprocess=own).score(photo)
    assert (score.preprocess, len(score.corners)) == ("mine", 3)
    assert score.quality == model.score(photo, preprocess=own).quality


def test_one_device_will_do(model, model_folder):
    device = jax.devices()[1]
    assert liqe_jax.load(model_folder, devices=device).devices == (device,)
    with jax.default_device(device):
        assert made(model, devices=None).devices == (device,)
    assert made(model, devices=None).devices == tuple(jax.local_devices())
    for wrong in ("cpu", [], ["cpu"], [0]):
        with pytest.raises(UsageError, match="devices must be one or several"):
            made(model, devices=wrong)


def test_a_function_of_the_parameters_is_compiled_once(model):
    """Also for an image that comes out of it, which would be committed to a device if the parameters were."""
    traced = []

    @jax.jit
    def moved(image):
        traced.append(image.shape)
        return image + jax.tree.leaves(model.params)[0].mean()

    moved(moved(np.zeros((4, 4, 3), np.float32)))
    assert len(traced) == 1


def test_parameters_are_on_the_chosen_devices(model, photo):
    device = jax.devices()[1]
    elsewhere = made(model, devices=device)
    assert all(leaf.devices() == {device} for leaf in jax.tree.leaves(elsewhere.weights))
    back = made(elsewhere, devices=jax.devices()[0])  # parameters that are committed to another device
    assert back.score(photo).quality == pytest.approx(model.score(photo).quality, abs=1e-6)
    everywhere = made(model, devices=None)
    assert all(len(leaf.devices()) == jax.local_device_count() for leaf in jax.tree.leaves(everywhere.weights))


@pytest.mark.parametrize("wrong", [-1, 0, 1.5, "2"])
@pytest.mark.parametrize("name", ["workers", "batch_size"])
def test_numbers_are_from_one(model, photo, name, wrong):
    with pytest.raises(UsageError, match=f"{name} must be a whole number and at least 1; got"):
        model.score_many([photo], **{name: wrong})


@pytest.mark.parametrize("wrong", [["joint"], {}, "mood"])
def test_unknown_tasks_and_presets_are_named(model, model_folder, photo, wrong):
    with pytest.raises(UsageError, match="tasks must be one of"):
        liqe_jax.load(model_folder, tasks=wrong)
    with pytest.raises(UsageError, match="preprocess must be one of"):
        model.score(photo, preprocess=wrong)


def test_a_map_of_corrupt_weights_is_refused(model, photo):
    corrupt = made(model, params=jax.tree.map(lambda leaf: leaf * np.nan, model.params))
    with pytest.raises(ModelError, match="predicts NaN"):
        corrupt.quality_map(photo)


def test_queued_images_are_without_their_pixels(model, photo):
    ready = model._ready(photo, "a", Preset("paper"), False)
    held = [ready.crops, *ready.score.keywords.values()]
    assert not any(isinstance(value, PreparedImage) for value in held)
    crops, corners = (value for value in held if isinstance(value, np.ndarray))
    # Nor do crops and corners keep them, as a view would.
    assert all(value.base is None or value.base.nbytes <= value.nbytes for value in (crops, corners))


def test_no_images_have_no_scores():
    model = liqe_jax.load(devices=jax.devices()[0])
    side = model.encoder.image_size

    @jax.jit
    def qualities_of(crops):
        out = predict(model.params, crops, model.text_features, encoder=model.encoder, tasks=model.tasks)
        return out.values["quality"]

    def qualities(*shape):
        return qualities_of(np.zeros((*shape, side, side, 3), np.uint8))

    assert qualities(0, 3).shape == (0,)
    with pytest.raises(UsageError, match="at least one crop"):
        qualities(2, 0)
