"""Training from a file of what the stem makes of crops."""

from __future__ import annotations

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from jax.test_util import check_grads
from ml_collections import ConfigDict

from liqe_jax.data.crops import SPLIT, crops_set
from liqe_jax.errors import DataError, UsageError
from liqe_jax.model.clip import encode_image, init_params
from liqe_jax.model.stem import mirrored, stem_features
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.settings import check_config
from liqe_jax.train.sources import training_sets
from liqe_jax.train.squares import SQUARES, with_squares

from .conftest import photograph
from .test_stem import SMALL, stem
from .test_train_run import losses_of, tiny_config

SIDE, SQUARE, COUNT = 64, 32, 12
ANY = np.zeros(1)  # the random number that only mixtures look at


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    np.save(folder / "pixels.npy", np.stack([photograph(SIDE, SIDE, n) for n in range(COUNT)]))
    rows = [
        {"name": f"p/{n}", "photo": "p", "part": "train", "scenes": ["animal"], "mos": 1 + n / 3, "distortion": ""}
        for n in range(COUNT)
    ]
    (folder / "labels.json").write_text(json.dumps(rows))
    return folder


def run_config(folder) -> ConfigDict:
    config = tiny_config()
    config.architecture.image_size, config.architecture.patch_size = SIDE, SQUARE
    config.architecture.stem = "frequencies"
    config.tasks = "quality"
    config.weighting = "equal"
    config.data.folder = str(folder.parent)
    config.data.sets = (("crops", 4),)
    config.data.split, config.data.patches = SPLIT, 1
    config.data.test = ("none",)
    config.epochs, config.steps_per_epoch = 1, 4
    return config


def test_a_mirrored_image_has_mirrored_features():
    image = photograph(SIDE, SIDE)[None]
    features = [np.asarray(stem(i, SQUARE)) for i in (image, image[:, :, ::-1])]
    got = mirrored(features[0], SQUARE)
    right = slice(-6, -3)  # a pixel's neighbour is then the one on its other side
    np.testing.assert_allclose(got[..., right], features[1][..., right], atol=0.1)
    got[..., right] = features[1][..., right]
    np.testing.assert_allclose(got, features[1], atol=2e-3)
    assert np.abs(features[0] - features[1]).max() > 0.5  # the image is not its own mirror image
    np.testing.assert_array_equal(mirrored(mirrored(features[0], SQUARE), SQUARE), features[0])


def test_tones_of_a_known_image():
    """Left half black, right half of luma 0.4: means and histograms are what they are."""
    image = np.zeros((2, 32, 32, 3), np.uint8)
    image[:, :, 16:] = 102
    tones = np.asarray(stem(image, 32))[0, 0, -(48 + 16 + 8 + 12) : -12]
    np.testing.assert_allclose(
        tones[:48].reshape(4, 4, 3), np.repeat([-2, -2, -0.4, -0.4], 3).reshape(1, 4, 3).repeat(4, 0), atol=1e-5
    )
    luma, chroma = np.zeros(16), np.zeros(8)
    luma[[0, 6]], chroma[0] = 0.5, 1  # 0.4 is bin 6 of 0..15
    np.testing.assert_allclose(tones[48:64], 2 * np.sqrt(luma + 1e-4) - 0.5, atol=1e-4)
    np.testing.assert_allclose(tones[64:], 2 * np.sqrt(chroma + 1e-4) - 0.5, atol=1e-4)


def test_a_single_patch_compiles():
    """XLA crashed on it, the whole process with it."""
    image = photograph(224, 224)[None]
    one, two = stem(image, 32), stem(np.concatenate([image, image]), 32)
    np.testing.assert_allclose(one, two[:1], atol=1e-4)


def test_the_tower_takes_squares_as_it_takes_pixels():
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), SMALL)
    encode = jax.jit(encode_image, static_argnums=2)
    patches = np.stack([photograph(SIDE, SIDE, n) for n in range(4)]).reshape(2, 2, SIDE, SIDE, 3)
    squares = np.asarray(stem(patches.reshape(-1, SIDE, SIDE, 3), SQUARE)).reshape(2, 2, 4, -1)
    expected = encode(params, patches, SMALL)
    assert expected.shape == (2, 2, SMALL.projection_dim)
    np.testing.assert_allclose(encode(params, squares, SMALL), expected, atol=1e-6)
    check_grads(lambda s: encode(params, s, SMALL).sum(), (squares[:1, :1],), 1, ["rev"], atol=0.05, rtol=0.05)


def test_the_file_is_made_once_and_checked(crops):
    with_squares(crops_set(crops), crops, SQUARE)
    made = (crops / SQUARES).stat()
    dataset = with_squares(crops_set(crops), crops, SQUARE)
    assert (crops / SQUARES).stat().st_mtime_ns == made.st_mtime_ns
    assert [path.name for path in crops.glob("*.part.npy")] == []
    image = photograph(SIDE, SIDE, 3)[None]
    got = dataset.ready(3, False, ANY)
    assert got.dtype == np.float16
    assert got.shape == (1, (SIDE // SQUARE) ** 2, stem_features(SQUARE))
    np.testing.assert_allclose(got, stem(image, SQUARE), atol=0.005)
    np.testing.assert_array_equal(dataset.ready(3, True, ANY), mirrored(got, SQUARE))

    squares = np.load(crops / SQUARES)
    np.save(crops / SQUARES, squares[:-1])
    with pytest.raises(DataError, match=r"has shape \(11, 4, .*expected \(12, 4"):
        with_squares(crops_set(crops), crops, SQUARE)
    np.save(crops / SQUARES, squares[::-1])
    with pytest.raises(DataError, match="of another stem or of other crops"):
        with_squares(crops_set(crops), crops, SQUARE)


def test_a_run_from_the_file_is_the_run_from_pixels(crops, tmp_path):
    losses = {}
    for stored, dropout in itertools.product((False, True), (0.0, 0.5)):
        config = run_config(crops)
        config.data.stored_stem = stored
        config.square_dropout = dropout
        workdir = tmp_path / f"{stored} {dropout}"
        train_and_evaluate(config, str(workdir))
        assert list(losses_of(workdir)) == [1, 2, 3, 4]
        losses[stored, dropout] = list(losses_of(workdir).values())
    for dropout in (0.0, 0.5):
        # Both flip some crops; the file is rounded to float16.
        np.testing.assert_allclose(losses[True, dropout], losses[False, dropout], rtol=1e-2)
    assert np.abs(np.subtract(losses[True, 0.5], losses[True, 0.0])).max() > 0.02 * max(losses[True, 0.0])


def test_a_run_goes_on_from_a_model_of_another_run(crops, tmp_path):
    config = run_config(crops)
    config.data.stored_stem = True
    train_and_evaluate(config, str(tmp_path / "first"))
    config.init = str(tmp_path / "first" / "last")
    config.architecture.stem = "pixels"  # of a random start, which this is not
    train_and_evaluate(config, str(tmp_path / "second"))
    first, second = (losses_of(tmp_path / name) for name in ("first", "second"))
    assert len(second) == 4
    assert second[1] != first[1]


def test_several_crops_of_a_view_make_one_image(crops, tmp_path):
    rows = json.loads((crops / "labels.json").read_text())
    for number, row in enumerate(rows):
        row["view"] = number // 3
    (crops / "labels.json").write_text(json.dumps(rows))
    single = with_squares(crops_set(crops), crops, SQUARE)
    pairs = with_squares(crops_set(crops), crops, SQUARE, patches=2)
    for index, other in ((0, 1), (1, 2), (2, 0), (11, 9)):
        for flip in (False, True):
            expected = np.concatenate([single.ready(index, flip, ANY), single.ready(other, flip, ANY)])
            np.testing.assert_array_equal(pairs.ready(index, flip, np.zeros(2)), expected)
    with pytest.raises(DataError, match=r"has 3 crops of each view; config.data.patches wants 4. Ask for fewer"):
        with_squares(crops_set(crops), crops, SQUARE, patches=4)

    config = run_config(crops)
    config.data.stored_stem, config.data.patches, config.square_dropout = True, 3, 0.5
    train_and_evaluate(config, str(tmp_path / "run"))
    assert np.isfinite(list(losses_of(tmp_path / "run").values())).all()

    for damage in ({"view": 0}, {"view": None}):
        (crops / "labels.json").write_text(json.dumps([rows[0] | damage, *({**row, "view": 7} for row in rows[1:])]))
        with pytest.raises(DataError, match="does not say which crops belong together"):
            with_squares(crops_set(crops), crops, SQUARE, patches=2)


def test_mixtures_are_of_crops_with_the_same_damage(crops, tmp_path):
    rows = json.loads((crops / "labels.json").read_text())
    for number, row in enumerate(rows):  # alike: 0, 3, 9 and 1, 4, 7, 10 and 2, 5, 8, 11; 6 stands alone
        row.update(mos=1.5 + number % 3, part="val" if number == 6 else "train", view=number // 2)
    (crops / "labels.json").write_text(json.dumps(rows))
    plain = with_squares(crops_set(crops), crops, SQUARE)
    own = np.stack([plain.ready(n, False, ANY)[0] for n in range(COUNT)])
    mixed = with_squares(crops_set(crops), crops, SQUARE, mosaic=1.0)
    rng = np.random.default_rng(0)
    for index, alike in ((0, {0, 3, 9}), (4, {1, 4, 7, 10}), (6, {6})):
        met, shares = set(), []
        for where in rng.random((40, 1)):
            got = mixed.ready(index, False, where)
            np.testing.assert_array_equal(mixed.ready(index, False, where), got)
            np.testing.assert_array_equal(mixed.ready(index, True, where), mirrored(got, SQUARE))
            sources = (got == own).all(-1)  # [crop, square]
            assert sources.any(0).all()
            others = set(np.flatnonzero(sources.any(1)).tolist())
            assert len(others - {index}) <= 1
            met |= others
            shares.append(sources[index].mean())
        assert met == alike
        assert index == 6 or 0.4 < np.mean(shares) < 0.9  # half, and all where the partner is the crop itself
    some = with_squares(crops_set(crops), crops, SQUARE, mosaic=0.3)
    untouched = [(some.ready(0, False, where)[0] == own[0]).all() for where in rng.random((60, 1))]
    assert 0.6 < np.mean(untouched) < 1

    config = run_config(crops)
    config.data.mosaic = 0.5
    with pytest.raises(UsageError, match=r"config.data.mosaic is for stored stems; got 0.5 without"):
        training_sets(config, SMALL)
    config.data.stored_stem, config.data.patches = True, 2
    for name in ("run", "again"):
        train_and_evaluate(config, str(tmp_path / name))
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "again")
    config.data.mosaic = 1.5
    with pytest.raises(UsageError, match=r"config\.data\.mosaic must be from 0 to 1; got 1\.5"):
        check_config(config)


def test_where_a_stored_stem_makes_no_sense(crops):
    config = run_config(crops)
    config.data.stored_stem = True
    with pytest.raises(UsageError, match="got init 'random', stem 'pixels'"):
        training_sets(config, dataclasses.replace(SMALL, stem="pixels"))
    config.data.sets = (("crops", 4), ("KADID-10k", 4))
    with pytest.raises(UsageError, match=r"is for sets of crops; got crops, KADID-10k\. Leave it out"):
        training_sets(config, SMALL)
