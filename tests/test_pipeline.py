"""Batches: which images, in which order, on how many hosts, from which step; and their pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from liqe_jax.data.generated import generated_set
from liqe_jax.data.labelled import UNKNOWN, LabelledSet
from liqe_jax.data.reading.evaluation import PADDING, evaluation_images
from liqe_jax.data.reading.sampling import Sampler, number_of_groups, sampler_for, share
from liqe_jax.data.reading.training import MOST_REPLACEMENTS, Broken, pixels_of, random_crops, training_batches
from liqe_jax.errors import DataError, ImageError
from liqe_jax.images.grid import grid
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.taxonomy import DISTORTION

from .known import crops_of

SETS = (generated_set("generated", 30), generated_set("generated-2", 20))
COUNTS = (3, 1)
SMALL = {"session": "1", "seed": 7, "crops": 2, "image_size": 32}


def batches(steps: int, start: int = 0, sets=SETS, counts=COUNTS, **options):
    return list(training_batches(sets, counts, start_step=start, steps=steps, **{**SMALL, **options}))


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def with_broken(dataset: LabelledSet, bad: set[int]) -> LabelledSet:
    def read(indices):
        return [b"no image" if i in bad else dataset.read([i])[0] for i in indices]

    return dataclasses.replace(dataset, read=read)


def test_tensorflow_is_imported_without_keras_which_is_still_there():
    code = (
        "import gc, os, sys\n"
        "from liqe_jax.data.reading.tensorflow import import_tensorflow\n"
        "tf = import_tensorflow()\n"
        "assert import_tensorflow() is tf\n"
        "assert 'keras' not in sys.modules\n"
        "assert gc.isenabled() and 'TF_USE_LEGACY_KERAS' not in os.environ\n"
        "assert tf.keras.layers.Dense(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def test_tensorflow_leaves_accelerators_alone(monkeypatch):
    import tensorflow as tf

    hidden = []

    def hide(devices, kind):
        hidden.append((devices, kind))
        if kind == "GPU":
            raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", hide)
    batches(1)
    assert hidden == [([], "GPU"), ([], "TPU")]


# ---------------------------------------------------------------- which images


def test_every_image_once_a_pass():
    sampler = sampler_for(SETS, COUNTS, session="1", seed=7, crops=2)
    mine = SETS[0].indices("1", "train")
    steps = [sampler.sample(step) for step in range(3 * len(mine))]  # nine passes
    drawn = np.concatenate([sample.index[sample.dataset == 0] for sample in steps])
    passes = drawn.reshape(-1, len(mine))
    assert (np.sort(passes, axis=1) == mine).all()
    assert len({tuple(one) for one in passes.tolist()}) == len(passes)  # each in another order
    assert all(len(sample.index) == sum(COUNTS) for sample in steps)  # B12: full where a pass ends inside a batch


def test_a_sample_depends_on_seed_session_set_and_step_only():
    def sample(step=5, seed=7, session="1", sets=SETS, counts=COUNTS):
        return sampler_for(sets, counts, session=session, seed=seed, crops=2).sample(step)

    first = sample()
    sampler = sampler_for(SETS, COUNTS, session="1", seed=7, crops=2)
    for step in (9, 0, 5):  # whatever was asked before
        last = sampler.sample(step)
    assert same(dataclasses.astuple(first), dataclasses.astuple(last))
    for other in (sample(step=6), sample(seed=8), sample(session="2")):
        assert not np.array_equal(first.where, other.where)
    # A set's own stream stays what it is when another set is added before it.
    alone = sample(sets=SETS[1:], counts=COUNTS[1:])
    np.testing.assert_array_equal(alone.index, first.index[first.dataset == 1])
    np.testing.assert_array_equal(alone.where, first.where[first.dataset == 1])


def test_pairs_within_a_photograph():
    first, second = SETS
    copies = dataclasses.replace(second, reference=[f"photograph {index % 3}" for index in range(len(second))])
    sets, counts, pairs = [first, copies], (3, 4), ("set", "photograph")
    sampler = sampler_for(sets, counts, session="all", seed=7, crops=2, pairs=pairs)
    taken = []
    for step in range(3 * len(copies)):
        sample = sampler.sample(step)
        assert sample.group.max() < number_of_groups(counts, pairs)
        assert (sample.group[sample.dataset == 0] == 0).all()
        mine, index = sample.group[sample.dataset == 1], sample.index[sample.dataset == 1]
        assert (mine > 1).all()
        names = [copies.reference[one] for one in index]
        for a in range(len(index)):
            for b in range(len(index)):
                assert (mine[a] == mine[b]) == (names[a] == names[b])
        taken += index.tolist()
    passes = np.reshape(taken, (-1, len(copies)))
    assert (np.sort(passes, axis=1) == np.arange(len(copies))).all()  # every copy once a pass
    for one in passes.tolist():  # copies of one photograph follow each other
        names = [copies.reference[index] for index in one]
        assert sum(a != b for a, b in itertools.pairwise(names)) == 2
    assert len({tuple(one) for one in passes.tolist()}) == len(passes)
    (batch,) = batches(1, sets=sets, counts=counts, session="all", pairs=pairs)
    np.testing.assert_array_equal(batch.group, sampler.sample(0).group)


def of_features(dataset: LabelledSet, **labels) -> LabelledSet:
    """A set whose images are one number: their position i, and -i - 1 for the mirror image."""

    def ready(index, flip, where):
        return np.full(1, -index - 1 if flip else index, np.float32)

    return dataclasses.replace(dataset, ready=ready, **labels)


def test_features_and_labels_are_mixed_within_a_group():
    first = of_features(SETS[0])
    copies = of_features(SETS[1], reference=[f"photograph {index % 3}" for index in range(len(SETS[1]))])
    sets, counts = [first, copies], (6, 6)
    options = {"session": "all", "pairs": ("set", "photograph"), "crops": 1}
    sampler = sampler_for(sets, counts, seed=7, mixup=(0.4, 2.0), **options)
    plain = sampler_for(sets, counts, seed=7, **options)
    weights, mixed_with_others = [], 0
    for step, batch in enumerate(batches(20, sets=sets, counts=counts, mixup=(0.4, 2.0), **options)):
        sample = sampler.sample(step)
        np.testing.assert_array_equal(sample.index, plain.sample(step).index)  # the same images, in the same order
        np.testing.assert_array_equal(sample.where, plain.sample(step).where)
        np.testing.assert_array_equal(np.sort(sample.partner), np.arange(12))
        np.testing.assert_array_equal(sample.group[sample.partner], sample.group)
        own = [sets[d].ready(i, f, None) for d, i, f in zip(sample.dataset, sample.index, sample.flip, strict=True)]
        weight = sample.mix_weight[:, None]
        expected = weight * own + (1 - weight) * np.take(own, sample.partner, 0)
        np.testing.assert_allclose(batch.crops, expected, rtol=1e-5, atol=1e-5)
        for name in ("mos", "scenes", "distortion"):
            labels = [getattr(sets[d], name)[i] for d, i in zip(sample.dataset, sample.index, strict=True)]
            if name == "distortion":
                labels = np.eye(len(DISTORTION.labels))[labels] * (np.asarray(labels) != UNKNOWN)[:, None]
            labels = np.asarray(labels, float).reshape(12, -1)
            expected = weight * labels + (1 - weight) * labels[sample.partner]
            np.testing.assert_allclose(getattr(batch, name).reshape(12, -1), expected, rtol=1e-5, atol=1e-6)
        alone = np.unique(sample.group, return_counts=True)
        lonely = np.isin(sample.group, alone[0][alone[1] == 1])
        np.testing.assert_array_equal(sample.partner == np.arange(12), lonely)
        weights.append(sample.mix_weight)
        mixed_with_others += (~lonely).sum()
    assert mixed_with_others > 100
    # Beta(a, a) has mean 1/2 and variance 1 / (8 a + 4).
    for rows, variance in ((slice(6), 1 / 7.2), (slice(6, 12), 1 / 20)):
        found = np.concatenate([weight[rows] for weight in weights])
        assert found.mean() == pytest.approx(0.5, abs=0.1)
        assert found.var() == pytest.approx(variance, rel=0.3)


def test_crops_are_not_mixed():
    with pytest.raises(DataError, match=r"Crops cannot be mixed.*Set mixup to 0 for generated-2"):
        batches(1, sets=[of_features(SETS[0]), SETS[1]], mixup=(0.4, 0.4))
    with pytest.raises(DataError, match="2 data sets, 1 of mixup"):
        batches(1, mixup=(0.0,))


def test_mixtures_do_not_depend_on_the_number_of_hosts():
    sets, options = [of_features(dataset) for dataset in SETS], {"counts": (6, 2), "mixup": (0.4, 0.0)}
    whole = batches(4, sets=sets, **options)
    shares = [batches(4, sets=sets, host=host, hosts=2, **options) for host in (0, 1)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name, found in batch._asdict().items():
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), found)
        np.testing.assert_array_equal(batch.crops[6:] % 1, 0)  # the second set is as it is
    assert any((batch.crops[:6] % 1).any() for batch in whole)
    assert same(batches(1, 3, sets=sets, **options)[0], whole[3])


def test_copies_of_unknown_photographs_form_no_pairs_within_them():
    unknown = dataclasses.replace(SETS[1], reference=[""] * len(SETS[1]))
    with pytest.raises(DataError, match=r"have no reference.*config\.data\.pairs"):
        sampler_for([SETS[0], unknown], COUNTS, session="1", seed=7, crops=2, pairs=("set", "photograph"))


def test_flips_and_places_are_uniform():
    sampler = sampler_for(SETS, (8, 8), session="1", seed=1, crops=3)
    samples = [sampler.sample(step) for step in range(200)]
    flips = np.concatenate([sample.flip for sample in samples])
    where = np.concatenate([sample.where.ravel() for sample in samples])
    assert abs(flips.mean() - 0.5) < 4 * 0.5 / len(flips) ** 0.5
    counts, _ = np.histogram(where, bins=10, range=(0, 1))
    expected = len(where) / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-squared, 9 degrees, p = 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": (1,)}, "one count per data set"),
        ({"names": ("a", "a")}, "appears twice"),
        ({"counts": (1, 0)}, "must be above 0"),
        ({"indices": (np.arange(3), np.arange(0))}, "has 0 images"),
    ],
)
def test_senseless_samplers(options, message):
    good = {"names": ("a", "b"), "indices": (np.arange(3), np.arange(4)), "counts": (1, 2)}
    with pytest.raises(DataError, match=message):
        Sampler(**{**good, **options}, seed=0, session="1", crops=1)


# ---------------------------------------------------------------- training


def test_a_batch_depends_on_the_step_alone():
    whole = batches(8)
    for start in (0, 3, 7):
        for one, other in zip(whole[start:], batches(8 - start, start), strict=True):
            assert same(one, other)
    assert not np.array_equal(whole[0].crops, whole[1].crops)
    assert same(batches(1, workers=1)[0], whole[0])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_batch(hosts):
    whole = batches(4)
    parts = [batches(4, host=host, hosts=hosts) for host in range(hosts)]
    for step, batch in enumerate(whole):
        for column, joined in enumerate(zip(*(part[step] for part in parts), strict=True)):
            expected = batch[column]
            if isinstance(expected, list):
                assert list(itertools.chain(*joined)) == expected
            else:
                np.testing.assert_array_equal(np.concatenate(joined), expected)


def test_hosts_that_do_not_divide_the_batch():
    with pytest.raises(DataError, match="batch of 4 images cannot be divided among 3 hosts"):
        batches(1, hosts=3)
    assert share(48, 63 % 4, 4) == slice(36, 48)


def test_step_one_hundred_thousand_needs_no_replay():
    read: list[int] = []

    def counted(dataset):
        def reading(indices):
            read.extend(indices)
            return dataset.read(indices)

        return dataclasses.replace(dataset, read=reading)

    (batch,) = batches(1, 100_000, sets=[counted(dataset) for dataset in SETS])
    assert len(read) == len(batch.mos) == 4
    sample = sampler_for(SETS, COUNTS, session="1", seed=7, crops=2).sample(100_000)
    chosen = zip(sample.dataset, sample.index, strict=True)
    assert batch.names == [f"{SETS[g].name}/{SETS[g].names[i]}" for g, i in chosen]


def test_another_process_makes_the_same_batches():
    code = (
        "import hashlib, json; from tests.test_pipeline import batches\n"
        "print(json.dumps([hashlib.sha256(b.crops.tobytes()).hexdigest() for b in batches(3, 2)]))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    digests = [hashlib.sha256(batch.crops.tobytes()).hexdigest() for batch in batches(3, 2)]
    assert json.loads(result.stdout) == digests


def test_labels_belong_to_their_images():
    for batch in batches(6):
        assert batch.crops.shape == (4, 2, 32, 32, 3)
        assert batch.crops.dtype == np.uint8
        assert batch.dataset.tolist() == [0, 0, 0, 1]
        for row, name in enumerate(batch.names):
            dataset = SETS[batch.dataset[row]]
            index = dataset.names.index(name.split("/", 1)[1])
            assert batch.mos[row] == dataset.mos[index]
            known = dataset.distortion[index] != UNKNOWN
            expected = np.eye(len(DISTORTION.labels))[dataset.distortion[index]] * known
            np.testing.assert_array_equal(batch.distortion[row], expected)
            assert batch.scenes[row].tolist() == dataset.scenes[index].tolist()
            assert dataset.splits["1"][index] == "train"
            (encoded,) = dataset.read([index])
            pixels = pixels_of(encoded, 32)
            windows = np.lib.stride_tricks.sliding_window_view(pixels, (32, 32), (0, 1))[::32, ::32]
            cells = {np.moveaxis(cell, 0, -1).tobytes() for line in windows for cell in line}
            cells |= {np.moveaxis(cell, 0, -1)[:, ::-1].tobytes() for line in flipped_windows(pixels) for cell in line}
            assert all(crop.tobytes() in cells for crop in batch.crops[row])


def flipped_windows(pixels: np.ndarray) -> np.ndarray:
    """Windows whose mirror images lie on the grid of the mirrored picture."""
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (32, 32), (0, 1))[::32, ::32]
    return windows[..., ::-1]


def test_broken_images_are_named_counted_and_replaced(caplog):
    bad = set(SETS[0].indices("1", "train")[:4].tolist())
    broken = Broken()
    with caplog.at_level("WARNING"):
        got = batches(10, sets=[with_broken(SETS[0], bad), SETS[1]], broken=broken)
    expected = {f"generated/{SETS[0].names[i]}" for i in bad}
    assert set(broken.names) == expected
    assert all("is excluded from training" in record.message for record in caplog.records)
    assert len(caplog.records) == len(bad)  # once each
    assert all(len(batch.mos) == 4 for batch in got)
    assert not expected & {name for batch in got for name in batch.names}
    # Whatever is whole stays where it was.
    for one, other in zip(got, batches(10), strict=True):
        for row, name in enumerate(other.names):
            if name not in expected:
                assert one.names[row] == name
                np.testing.assert_array_equal(one.crops[row], other.crops[row])
                assert one.mos[row] == other.mos[row]


def test_a_set_that_cannot_be_read_at_all():
    everything = set(range(len(SETS[0])))
    with pytest.raises(DataError, match=rf"{MOST_REPLACEMENTS} consecutive images of generated cannot be decoded"):
        batches(1, sets=[with_broken(SETS[0], everything), SETS[1]])


# ---------------------------------------------------------------- evaluation


def images(dataset, indices, batch_size=1, side=64, **options):
    """As evaluation reads them."""
    preset = PRESETS["paper"]
    return evaluation_images(dataset, indices, batch_size=batch_size, preset=preset, image_size=side, **options)


@pytest.mark.parametrize("hosts", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_every_image_exactly_once(hosts, batch_size):
    dataset, indices = SETS[1], np.arange(11)
    seen, lengths = [], set()
    whole = dict(images(dataset, indices))
    for host in range(hosts):
        own = list(images(dataset, indices, batch_size, host=host, hosts=hosts))
        lengths.add(len(own))
        assert len(own) % batch_size == 0
        for index, crops in own:
            if index == PADDING:
                assert crops.shape == (1, 64, 64, 3)
                continue
            seen.append(index)
            np.testing.assert_array_equal(crops, whole[index])
    assert sorted(seen) == indices.tolist()
    assert len(lengths) == 1  # or a collective would wait for ever


def test_small_images_have_fewer_crops_than_fifteen():
    def read(indices):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((70, 130, 3), np.uint8)).save(buffer, "png")
        return [buffer.getvalue()] * len(indices)

    dataset = dataclasses.replace(SETS[0], read=read)
    ((index, crops),) = images(dataset, np.arange(1))
    assert index == 0
    assert len(crops) == len(grid(70, 130, crop_size=64)) == 3


def test_a_broken_image_is_an_error_in_evaluation():
    dataset = with_broken(SETS[0], {3})
    with pytest.raises(DataError, match=f"generated/{SETS[0].names[3]} cannot be decoded"):
        list(images(dataset, np.arange(5), batch_size=2, side=32))


# ---------------------------------------------------------------- pixels


@pytest.mark.goldens
def test_evaluation_crops_are_the_reference_s(golden, golden_images):
    """Sizes and the fifteen corners, and the pixels there as Pillow alone gives them."""
    figures = golden("scores_tiny.json")["images"]
    names = list(figures)
    dataset = dataclasses.replace(
        SETS[0], names=names, read=lambda indices: [(golden_images / names[i]).read_bytes() for i in indices]
    )
    seen = 0
    for index, crops in images(dataset, np.arange(len(names)), side=224):
        expected = figures[names[index]]["paper"]
        image = Image.open(golden_images / names[index]).convert("RGB")
        image = image.resize((expected["width"], expected["height"]), Image.Resampling.BILINEAR)
        for crop, (top, left) in zip(crops, expected["top_left"], strict=True):
            np.testing.assert_array_equal(crop, np.asarray(image.crop((left, top, left + 224, top + 224))))
        seen += 1
    assert seen == len(names) >= 1


@pytest.mark.goldens
def test_training_crops_are_the_reference_s(golden, golden_images):
    """Every crop of the golden batches is a cell of the grid, and Pillow flips and cuts it the same."""
    from PIL import ImageOps

    seen = 0
    for row in (row for run in golden("training.json").values() for batch in run["batches"] for row in batch):
        path = golden_images / row["image"]
        encoded = path.read_bytes()
        height, width = pixels_of(encoded).shape[:2]
        cells = grid(height, width)
        numbers = [top // cells.stride * cells.cols + left // cells.stride for top, left in row["top_left"]]
        np.testing.assert_array_equal(cells.corners(np.array(numbers)), row["top_left"])
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        image = ImageOps.mirror(image) if row["flip"] else image
        for number, (top, left) in zip(numbers, row["top_left"], strict=True):
            crop = random_crops(encoded, np.array([(number + 0.5) / len(cells)]), row["flip"])[0]
            np.testing.assert_array_equal(crop, np.asarray(image.crop((left, top, left + 224, top + 224))))
        seen += 1
        if seen == 24:
            return
    raise AssertionError(f"only {seen} images")


def test_random_crops_are_cells_of_the_grid(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "png")
    cells = grid(*photo.shape[:2])
    where = np.array([0.0, 0.5, np.nextafter(1, 0)])
    chosen = [0, len(cells) // 2, len(cells) - 1]
    for flip in (False, True):
        expected = crops_of(buffer.getvalue(), cells.corners(np.array(chosen)), flip)
        np.testing.assert_array_equal(random_crops(buffer.getvalue(), where, flip), expected)
    assert len(cells) == 18


@pytest.mark.parametrize("size", [(100, 400), (8, 8)])
def test_tiny_images_are_enlarged(size):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(buffer, "png")
    assert random_crops(buffer.getvalue(), np.array([0.1, 0.9]), False).shape == (2, 224, 224, 3)
    with pytest.raises(ImageError):
        random_crops(b"", np.array([0.1]), False)
