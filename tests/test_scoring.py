"""The public scorer: independence of batch, order, devices and history; results; maps; imports."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

import liqe_jax
from liqe_jax import PRESETS, Attribute, Failure, ImageError, ModelError, Score, TaskSet, UsageError
from liqe_jax.images.stream import map_ahead
from liqe_jax.scoring.forward import _predict
from liqe_jax.scoring.heatmap import colours_of, per_pixel, render
from liqe_jax.scoring.model import Model
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import open_checkpoint, with_text_features
from liqe_jax.weights.read import read_model
from liqe_jax.weights.write import write_model

from .conftest import SAMPLES, photograph

# One rounding of a sum of 500 logits of size 30.
SAME = 2e-5


@pytest.fixture(scope="module")
def pictures():
    """Seven pictures of different sizes: more than a crop, exactly one, and less."""
    sizes = [(300, 400), (224, 224), (400, 300), (500, 224), (224, 600), (150, 200), (320, 320)]
    return [photograph(*size, seed=seed) for seed, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def alone(model, pictures):
    """Each picture scored by itself."""
    return [model.score(picture) for picture in pictures]


def assert_same(got, expected):
    assert [score.quality for score in got] == pytest.approx([score.quality for score in expected], abs=SAME)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=2e-4)
        np.testing.assert_array_equal(a.corners, b.corners)
        assert a.warnings == b.warnings


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16])
def test_the_batch_changes_nothing(model, pictures, alone, batch_size):
    assert_same(list(model.score_many(pictures, batch_size=batch_size)), alone)


def test_the_order_and_the_history_change_nothing(model, pictures, alone):
    # pyiqa's scorer keeps a smaller number of crops for ever after one small image.
    backwards = list(model.score_many(pictures[::-1], batch_size=3))
    assert_same(backwards[::-1], alone)
    assert [model.score(picture).quality for picture in pictures] == [score.quality for score in alone]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_with_one_batch_size_other_images_change_not_a_bit(model, pictures, batch_size):
    forwards = list(model.score_many(pictures, batch_size=batch_size))
    backwards = list(model.score_many(pictures[::-1], batch_size=batch_size))
    for a, b in zip(forwards, backwards[::-1], strict=True):
        np.testing.assert_array_equal(a.joint, b.joint)
        np.testing.assert_array_equal(a.logits, b.logits)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_the_number_of_devices_changes_nothing(model_folder, pictures, alone, devices):
    several = liqe_jax.load(model_folder, devices=jax.devices()[:devices])
    assert several.batch_size() == devices
    assert several.batch_size(devices + 1) == 2 * devices
    assert_same(list(several.score_many(pictures)), alone)
    np.testing.assert_allclose(
        several.quality_map(pictures[0]).quality,
        liqe_jax.load(model_folder, devices=jax.devices()[:1]).quality_map(pictures[0]).quality,
        atol=SAME,
    )


def test_new_image_sizes_do_not_compile_again(model, pictures):
    list(model.score_many(pictures[:1], batch_size=1))
    before = _predict._cache_size()
    for picture in pictures:
        model.score(picture)
        list(model.score_many([picture], batch_size=1, preprocess="even"))
    assert _predict._cache_size() == before


def test_results_say_everything(model, photo):
    score = model.score(photo, name="a photo")
    assert score.joint.shape == (5, 9, 11)
    assert score.joint.sum() == pytest.approx(1, abs=1e-6)
    assert score.quality == pytest.approx((score.joint.sum((1, 2)) * [1, 2, 3, 4, 5]).sum(), abs=1e-6)
    row = json.loads(json.dumps(score.to_dict()))
    assert list(row) == [
        *("image", "quality", "scene", "distortion", "quality_probs", "scene_probs", "distortion_probs"),
        *("crops", "width", "height", "model", "preprocess", "warnings"),
    ]
    assert (row["image"], row["crops"], row["width"], row["height"]) == ("a photo", 15, 400, 300)
    assert (row["model"], row["preprocess"], row["warnings"]) == ("tiny", "paper", [])
    assert list(row["quality_probs"]) == ["bad", "poor", "fair", "good", "perfect"]
    assert row["scene"] == max(row["scene_probs"], key=row["scene_probs"].get) == score.scene
    assert score["distortion"] == score.distortion
    with pytest.raises(UsageError, match="knows nothing of 'mood'"):
        score["mood"]


def test_what_cannot_be_scored_is_a_row_and_the_rest_goes_on(model, photo, tmp_path):
    good, empty, missing = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    Image.fromarray(photo).save(good)
    empty.touch()
    images = [empty, good, missing, b"no image", good, np.full((9, 9, 3), np.nan), good, 7]
    results = list(model.score_many(images, batch_size=2))
    assert [type(result) for result in results] == [Failure, Score, Failure, Failure, Score, Failure, Score, Failure]
    assert results[0].image == str(empty)
    assert "empty" in results[0].error
    assert "No such file" in results[2].error
    assert "NaN" in results[5].error
    assert len({results[k].quality for k in (1, 4, 6)}) == 1
    assert results[1].quality == pytest.approx(model.score(photo).quality, abs=SAME)
    with pytest.raises(ImageError, match="empty"):
        model.score(empty)


def test_nothing_but_failures(model):
    assert [type(r) for r in model.score_many([b""] * 40)] == [Failure] * 40
    assert list(model.score_many([])) == []


def test_images_are_taken_lazily(model, photo):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield photo

    results = model.score_many(endless(), batch_size=1, workers=2)
    for _ in range(3):
        next(results)
    assert len(taken) < 16
    results.close()
    assert not any(thread.name.startswith("liqe-decode") for thread in threading.enumerate())


def test_map_ahead_keeps_order_and_passes_errors_on():
    assert list(map_ahead(lambda x: x * x, range(50), 4, 7)) == [x * x for x in range(50)]

    def fail_at_three(x):
        if x == 3:
            raise ValueError("three")
        return x

    results = map_ahead(fail_at_three, range(9), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_files_bytes_images_and_arrays_agree(model, photo, tmp_path):
    path = tmp_path / "photo one.png"
    Image.fromarray(photo).save(path)
    sources = [path, str(path), path.read_bytes(), Image.fromarray(photo), photo, photo / 255.0]
    assert len({model.score(source).quality for source in sources}) == 1
    assert model.score(path).image == str(path)
    assert model.score(photo).image == "<ndarray>"


def test_rgb_and_bgr_differ(model, photo):
    assert model.score(photo).quality != model.score(photo[..., ::-1]).quality


def test_presets(model, photo):
    thirty = dataclasses.replace(PRESETS["even"], name="thirty", count=30)
    assert len(model.score(photo, preprocess=thirty).corners) == 30
    dense = dataclasses.replace(PRESETS["paper"], name="dense", count=None)
    everything = model.score(photo, preprocess=dense)
    assert len(everything.corners) == 3 * 6
    # The mean over all crops has to be the mean of the map's logits, however they are chunked.
    assert everything.quality == pytest.approx(
        model.score(photo, preprocess=dataclasses.replace(PRESETS["paper"], count=18)).quality, abs=SAME
    )
    with pytest.raises(UsageError, match="preprocess must be one of paper, pyiqa, even"):
        model.score(photo, preprocess="nonsense")


def test_the_number_of_crops_is_a_choice(model, photo):
    whole = model.score(photo, crops="all")
    assert (whole.preprocess, len(whole.corners)) == ("paper-all", 3 * 6)
    (few,) = model.score_many([photo], preprocess="even", crops=4)
    assert (few.preprocess, len(few.corners)) == ("even-4", 4)
    assert few.quality != whole.quality
    assert model.score(photo, crops=15).preprocess == "paper"
    for wrong in (0, -1, "many", 2.5, True):
        with pytest.raises(UsageError, match="crop"):
            model.score(photo, crops=wrong)


def test_degenerate_crops_are_reported(model):
    portrait = photograph(2532, 1170)
    assert any("'even' spreads them" in warning for warning in model.score(portrait).warnings)
    assert model.score(portrait, preprocess="even").warnings == ()


def test_images_of_training_sets_are_reported(model, photo, tmp_path):
    seen, unseen = tmp_path / "I02_01_03.png", tmp_path / "holiday.png"
    for path in (seen, unseen):
        Image.fromarray(photo).save(path)
    (warning,) = model.score(seen).warnings
    assert "KADID-10k" in warning
    assert "session 1" in warning
    assert model.score(unseen).warnings == ()


def test_one_s_own_task_set(model_folder, photo):
    tasks = TaskSet(
        "wear",
        (
            Attribute("wear", ("new", "used", "broken"), (0, 1, 2)),
            Attribute("thing", ("cup", "cat")),
            Attribute("light", ("day", "night")),
            Attribute("place", ("in", "out")),
        ),
        "a {wear} {thing} by {light} {place} doors",
    )
    score = liqe_jax.load(model_folder, tasks=tasks).score(photo)
    assert score.joint.shape == (3, 2, 2, 2)
    assert 0 <= score["wear"] <= 2
    assert score["thing"] in ("cup", "cat")
    assert set(score.to_dict()) >= {"wear", "wear_probs", "thing_probs", "light_probs", "place_probs"}
    with pytest.raises(UsageError):
        _ = score.scene


def test_crops_are_those_of_the_score(model, photo):
    """With `predict` they give the score again, and a gradient: LIQE as a loss."""
    score = model.score(photo, preprocess="even")
    crops = model.crops(photo, preprocess="even")
    assert (crops.shape, crops.dtype) == ((len(score.corners), 224, 224, 3), np.uint8)
    (top, left), first = score.corners[0], crops[0]
    np.testing.assert_array_equal(first, photo[top : top + 224, left : left + 224])

    def quality(pixels):
        out = liqe_jax.predict(model.params, pixels, model.text_features, encoder=model.encoder, tasks=model.tasks)
        return out.values["quality"]

    value, gradient = jax.jit(jax.value_and_grad(quality))(crops.astype(np.float32))
    assert float(value) == pytest.approx(score.quality, abs=SAME)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    with pytest.raises(ImageError):
        model.crops(b"no image")


def test_a_map_needs_quality(model_folder, photo):
    tasks = TaskSet("kind", (Attribute("kind", ("a", "b")),), "a {kind}")
    with pytest.raises(UsageError, match="needs an attribute 'quality'"):
        liqe_jax.load(model_folder, tasks=tasks).quality_map(photo)


def test_the_map_is_the_scores_of_its_crops(model, photo):
    result = model.quality_map(photo)
    assert result.quality.shape == (3, 6)
    single = model.score(photo[32 : 32 + 224, 64 : 64 + 224])
    assert result.quality[1, 2] == pytest.approx(single.quality, abs=SAME)


def test_the_picture_of_a_map(model, photo):
    result = model.quality_map(photo)
    flat = per_pixel(dataclasses.replace(result, quality=np.full((3, 6), 2.5)))
    np.testing.assert_allclose(flat, 2.5)
    ramp = per_pixel(dataclasses.replace(result, quality=np.tile(np.linspace(1, 5, 6), (3, 1))))
    assert (np.diff(ramp, axis=1) >= -1e-9).all()
    assert ramp[0, 0] == 1
    assert ramp[0, -1] == 5
    ends_and_middle = colours_of(np.array([1.0, 3.0, 5.0]))
    np.testing.assert_array_equal(ends_and_middle, [[215, 25, 28], [255, 255, 191], [44, 123, 182]])
    picture = render(result, "a title that is far too long for so small a picture " * 5)
    assert picture.width > 400
    assert picture.height > 300
    # The right-hand margin holds the colour bar: blue at the top, red at the bottom.
    bar_x = 400 + 12
    red, _, blue = picture.getpixel((bar_x, 5))
    assert blue > red
    red, _, blue = picture.getpixel((bar_x, 295))
    assert red > blue


def test_bfloat16_stays_close(model_folder, pictures, alone):
    rounded = liqe_jax.load(model_folder, dtype="bfloat16", devices=jax.devices()[:1])
    kernels = {leaf.dtype.name for name, leaf in flatten_dict(rounded.params).items() if name[-1] == "kernel"}
    assert kernels == {"bfloat16"}
    for picture, exact in zip(pictures, alone, strict=True):
        assert rounded.score(picture).quality == pytest.approx(exact.quality, abs=0.02)


def test_corrupt_weights_give_a_failure_not_a_number(model, checkpoint, photo):
    flat = dict(checkpoint.flat)
    name = "vision_model/encoder/layers/0/mlp/fc2/kernel"
    flat[name] = np.full_like(flat[name], np.nan)
    broken = Model(
        unflatten_dict(flat, sep="/"),
        checkpoint.text_features,
        checkpoint.encoder,
        checkpoint.tasks,
        checkpoint.provenance,
        devices=jax.devices()[:1],
    )
    (result,) = broken.score_many([photo])
    assert isinstance(result, Failure)
    assert "NaN" in result.error
    with pytest.raises(ModelError, match="NaN"):
        broken.score(photo)


def test_arguments_are_checked(model_folder, model):
    with pytest.raises(UsageError, match="dtype must be one of"):
        liqe_jax.load(model_folder, dtype="float8")
    with pytest.raises(UsageError, match="tasks must be one of"):
        liqe_jax.load(model_folder, tasks="nonsense")
    with pytest.raises(UsageError, match="at least 1"):
        model.batch_size(0)
    with pytest.raises(ModelError, match="No model 'nowhere'"):
        liqe_jax.load("nowhere")


def test_the_conversion_of_a_known_model_heals(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    source, converted = tmp_path / "models" / "liqe_mix.pt", tmp_path / "models" / "liqe_mix"
    write_model(source, checkpoint, "pyiqa-pt")
    first = open_checkpoint("liqe_mix")
    assert open_checkpoint("liqe_mix").text_features is not None
    weights = converted / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert open_checkpoint("liqe_mix").provenance == first.provenance
    assert read_model(converted).provenance == first.provenance
    # Another file put in the place of the first one must not be answered by the old conversion.
    other = {name: np.asarray(array * np.float32(1.5)) for name, array in checkpoint.flat.items()}
    source.unlink()
    write_model(source, dataclasses.replace(checkpoint, flat=other), "pyiqa-pt")
    second = open_checkpoint("liqe_mix")
    assert second.provenance.source_sha256 != first.provenance.source_sha256
    np.testing.assert_array_equal(read_model(converted).flat["logit_scale"], other["logit_scale"])


def test_the_sample_photographs_can_be_scored(model):
    files = sorted(SAMPLES.glob("*.jpg"))
    assert len(files) >= 4
    scores = [model.score(file) for file in files]
    shapes = {(score.height / score.width > 2, min(score.width, score.height) < 224) for score in scores}
    assert (True, False) in shapes  # a phone's portrait
    assert (False, True) in shapes  # a small one


def test_imports_are_thin():
    program = (
        "import sys, liqe_jax; light = set(sys.modules);"
        "import liqe_jax.scoring.load, liqe_jax.cli.main; heavy = set(sys.modules);"
        "print([m for m in ('jax', 'numpy', 'PIL') if m in light],"
        " [m for m in ('torch', 'tensorflow', 'transformers', 'matplotlib', 'pandas', 'scipy') if m in heavy])"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[] []"


def test_public_names_exist():
    for name in liqe_jax.__all__:
        assert getattr(liqe_jax, name) is not None
    assert set(liqe_jax.__all__) <= set(dir(liqe_jax))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = liqe_jax.nonsense


def test_one_image_is_not_taken_for_many(model: Model, tmp_path, photo):
    """A path would give its letters, an array its rows."""
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    for one in (str(path), path, path.read_bytes(), photo, photo[..., 0], Image.fromarray(photo), jnp.asarray(photo)):
        with pytest.raises(UsageError, match=r"got one \w+\. Use score"):
            model.score_many(one)
    for many in ([str(path)], np.asarray([str(path)]), (path,), photo[None]):
        assert [type(result) for result in model.score_many(many)] == [Score]


def test_scores_can_be_looked_up_and_counted(model: Model, photo):
    first, second = model.score(photo), model.score(photo)
    assert first in [first]
    assert first != second  # of arrays there is no single answer to whether they are equal
    assert second in [first, second]
    assert len({first, second}) == 2


def test_the_digest_is_of_all_that_a_score_depends_on(checkpoint: Checkpoint, model_folder):
    def digest(this: Checkpoint = checkpoint, dtype: str = "float32") -> str:
        features, tasks = this.text_features, this.tasks
        return Model(this.params, features, this.encoder, tasks, this.provenance, dtype, jax.devices()[:1]).digest

    usual = digest()
    assert usual == digest() == liqe_jax.load(model_folder, devices=jax.devices()).digest
    flat = dict(checkpoint.flat)
    name = next(iter(flat))
    flat[name] = flat[name] + 1e-3
    others = [
        dataclasses.replace(checkpoint, flat=flat),
        dataclasses.replace(checkpoint, text_features=checkpoint.text_features[::-1]),
        dataclasses.replace(checkpoint, tasks=dataclasses.replace(checkpoint.tasks, name="other")),
        dataclasses.replace(checkpoint, encoder=dataclasses.replace(checkpoint.encoder, eos_token_id=1)),
    ]
    found = [usual, digest(dtype="bfloat16"), *map(digest, others)]
    assert len(set(found)) == len(found)
    renamed = dataclasses.replace(checkpoint, provenance=dataclasses.replace(checkpoint.provenance, name="other"))
    assert digest(renamed) == usual


def test_tuned_parameters_have_their_own_text_features(checkpoint: Checkpoint, tmp_path):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf) * 1.01, checkpoint.params)
    tuned = liqe_jax.with_params(checkpoint, params, name="mine")
    assert tuned.provenance.source == "tuned from made by the tests"
    flat = flatten_dict(params, sep="/")
    np.testing.assert_array_equal(liqe_jax.with_params(checkpoint, flat).text_features, tuned.text_features)
    assert np.abs(tuned.text_features - checkpoint.text_features).max() > 1e-4
    assert tuned.provenance.name == "mine"
    assert tuned.provenance.trained_on is None
    write_native(tmp_path / "mine", tuned)
    # From a format without features they are computed from the weights.
    write_model(tmp_path / "mine.safetensors", tuned, "hf-safetensors")
    read = read_model(tmp_path / "mine.safetensors")
    fresh = liqe_jax.load(tmp_path / "mine.safetensors", tasks=checkpoint.tasks).text_features
    np.testing.assert_allclose(liqe_jax.load(tmp_path / "mine").text_features, fresh, atol=1e-6)
    assert read.parameter_count == checkpoint.parameter_count
    wrong = dict(params) | {"logit_scale": jnp.zeros((2,))}
    with pytest.raises(ModelError, match="logit_scale"):
        liqe_jax.with_params(checkpoint, wrong)
    with pytest.raises(ModelError, match="Expected floating parameters"):
        liqe_jax.with_params(checkpoint, jax.tree.map(lambda leaf: np.asarray(leaf, np.int8), params))
    with pytest.raises(UsageError, match="must be a dictionary of arrays"):
        liqe_jax.with_params(checkpoint, [1])


def test_features_of_other_parameters_are_not_written(checkpoint: Checkpoint, tmp_path):
    def changed(name):
        return dataclasses.replace(checkpoint, flat=checkpoint.flat | {name: checkpoint.flat[name] * 1.5})

    other = changed("text_model/embeddings/token_embedding/embedding")
    with pytest.raises(ModelError, match=r"of other parameters.*liqe_jax\.with_params"):
        write_native(tmp_path / "other", other)
    mended = with_text_features(other)
    assert np.abs(mended.text_features - checkpoint.text_features).max() > 1e-4
    write_native(tmp_path / "mended", mended)
    # Features do not depend on the other tower, nor does a copy make other parameters.
    write_native(tmp_path / "vision", changed("visual_projection/kernel"))
    copied = dataclasses.replace(checkpoint, flat={name: array.copy() for name, array in checkpoint.flat.items()})
    assert with_text_features(copied) is copied


def test_a_quality_without_values_is_no_number(checkpoint: Checkpoint, photo):
    tasks = TaskSet("words", (Attribute("quality", ("bad", "good")),), "a {quality} photo")
    bare = dataclasses.replace(checkpoint, tasks=None, text_features=None)
    named = with_text_features(bare, tasks)
    model = Model(named.params, named.text_features, named.encoder, tasks, named.provenance, devices=jax.devices()[:1])
    score = model.score(photo)
    assert score["quality"] in ("bad", "good")
    with pytest.raises(UsageError, match="there is no number"):
        score.quality  # noqa: B018


def test_bytes_can_have_names(model):
    encoded = (SAMPLES / "cat.jpg").read_bytes()
    results = [*model.score_many([("first", encoded), ("second", b"no image"), encoded])]
    assert [result.image for result in results] == ["first", "second", "<bytes>"]
    assert isinstance(results[1], liqe_jax.Failure)
