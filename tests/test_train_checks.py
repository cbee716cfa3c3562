"""What a run refuses or says before its first step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from liqe_jax import Attribute, TaskSet, UsageError
from liqe_jax.data.generated import generated_set
from liqe_jax.errors import DataError
from liqe_jax.evaluate.run import evaluate
from liqe_jax.evaluate.settings import default_eval_config
from liqe_jax.taxonomy import DISTORTION, JOINT, QUALITY, SCENE
from liqe_jax.train.checks import check_run
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.losses import LOSSES, named_losses
from liqe_jax.train.optimizers import find_optimizer
from liqe_jax.train.plan import Plan
from liqe_jax.train.settings import default_config
from liqe_jax.train.sources import check_split, held_out
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.train.weighting import find_weighting
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import open_checkpoint, with_text_features

from .runs import tiny_config
from .tiny import TINY

SET = generated_set()


def without(dataset, **fields):
    return dataclasses.replace(dataset, **fields)


def test_every_set_that_is_used_whole_is_named():
    bare, other = without(SET, name="bare", splits={}), without(SET, name="other", splits={"own": SET.splits["1"]})
    notes = check_split([SET, bare, other], "1")
    assert notes == [
        "bare has no split '1', nor any other: all its images are trained on.",
        "other has no split '1', only own: all its images are trained on.",
    ]
    assert check_split([bare], "1") == notes[:1]
    assert check_split([SET, bare], "all") == []
    with pytest.raises(UsageError, match="No data set has the split"):
        check_split([bare, other], "1")


def check(
    tasks=JOINT,
    *,
    losses=None,
    sets=(SET,),
    counts=(2,),
    validated=(),
    weighting="equal",
    loss_weights=(),
    set_weights=(),
    optimizer="reference",
    shard_optimizer=False,
):
    config = default_config()
    config.optimizer.name, config.shard_optimizer = optimizer, shard_optimizer
    config.data.sets = tuple((one.name, count) for one, count in zip(sets, counts, strict=True))
    config.loss_weights, config.weighting, config.data.weights = loss_weights, weighting, set_weights
    losses = named_losses((), tasks) if losses is None else losses
    found = find_weighting(weighting, tuple(losses))
    plan = Plan(TINY, tasks, losses, np.arange(1), len(sets), find_optimizer(config.optimizer), weighting=found)
    check_run(config, plan, sets, list(validated))


def unlabelled(about: str, part: str = "train"):
    """The set without labels in one part."""
    there = np.asarray(SET.splits["1"]) == part
    if about == "scene":
        return without(SET, scenes=np.where(there[:, None], False, SET.scenes))
    return without(SET, distortion=np.where(there, -1, SET.distortion))


def test_ordinary_runs_are_let_through():
    for weighting in ("equal", "dwa", "uncertainty", "quality"):
        check(weighting=weighting)
    check(loss_weights=(1.0, 0.5, 2.0))
    check(losses={"mine": LOSSES["quality"]}, counts=(1,), loss_weights=(0.5,))  # whatever it is
    check(losses=LOSSES, validated=[(SET, np.arange(9))])


@pytest.mark.parametrize("name", ["scene", "distortion"])
def test_a_loss_without_labels_is_refused(name):
    losses = {"quality": LOSSES["quality"], name: LOSSES[name]}
    message = rf"The loss '{name}' has nothing to learn from: no training image of generated .*leave the loss out"
    with pytest.raises(UsageError, match=message):
        check(losses=losses, sets=[unlabelled(name)])
    other = without(SET, name="other")
    check(losses=losses, sets=[unlabelled(name), other], counts=(2, 1))  # some have them
    check(losses=losses, sets=[unlabelled(name)], weighting="quality")  # no weight, no harm
    check(losses=losses, sets=[unlabelled(name)], loss_weights=(1, 0))
    check(losses=losses, sets=[unlabelled(name, "test")])


def test_an_optimizer_that_may_need_whole_arrays_is_not_sharded():
    check(optimizer="lion", shard_optimizer=True)
    check(optimizer="optax:adamw")
    with pytest.raises(UsageError, match=r"optax:adamw may need whole ones\. Set it to False, or .*one of reference, "):
        check(optimizer="optax:adamw", shard_optimizer=True)


def test_pairs_need_two_images():
    other = without(SET, name="other")
    with pytest.raises(UsageError, match=r"no set of config\.data\.sets has two in a step"):
        check(sets=[SET, other], counts=(1, 1))
    check(sets=[SET, other], counts=(1, 2))


def test_factors_of_losses():
    with pytest.raises(UsageError, match=r"a factor for each loss, here quality, scene, distortion; got \(1\.0,\)"):
        check(loss_weights=(1.0,))
    for weighting in ("uncertainty", "gradnorm", "cosine"):
        with pytest.raises(UsageError, match=f"but the weighting '{weighting}' finds its own weights"):
            check(weighting=weighting, loss_weights=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("wrong", [(1.0, 2.0), (1.0, 2.0, -1.0), -1.0, ("a", 1.0, 1.0)])
def test_weights_of_sets(wrong):
    other = without(SET, name="other")
    check(sets=[SET, other], counts=(2, 2), set_weights=(1.0, (1.0, 0.0, 2)))
    with pytest.raises(UsageError, match="or one for each loss, here quality, scene, distortion; got"):
        check(sets=[SET, other], counts=(2, 2), set_weights=(1.0, wrong))


@pytest.mark.parametrize("known", [SCENE, DISTORTION])
def test_labels_of_ones_own_need_a_loss_of_ones_own(known):
    own = Attribute(known.name, known.labels[::-1])
    tasks = TaskSet("own", (QUALITY, own), f"a {{{own.name}}} of {{quality}} quality")
    message = rf"The loss '{own.name}' takes data sets' labels, which are .* a loss of your own"
    with pytest.raises(UsageError, match=message):
        check(tasks)
    check(tasks, losses={"quality": LOSSES["quality"], own.name: lambda p, y, g: 0.0})


def test_quality_needs_values():
    nominal = TaskSet("nominal", (Attribute("quality", QUALITY.labels),), "{quality}")
    none = TaskSet("none", (Attribute("grain", ("clean", "grainy")),), "{grain}")
    own = {"mine": lambda p, y, g: 0.0}
    with pytest.raises(UsageError, match="needs the values of the labels"):
        check(nominal)
    with pytest.raises(UsageError, match="The loss 'quality' is about 'quality', and task set 'none' has grain"):
        check(none, losses={"quality": LOSSES["quality"]})
    for tasks in (nominal, none):
        check(tasks, losses=own)
        with pytest.raises(UsageError, match=r"Validation compares .*config\.data\.validate = \('none',\)"):
            check(tasks, losses=own, validated=[(SET, np.arange(9))])


def test_runs_are_checked(tmp_path):
    config = tiny_config()
    config.data.sets = (("generated", 1), ("generated-2", 1))
    with pytest.raises(UsageError, match="has two in a step"):
        train_and_evaluate(config, str(tmp_path))


def test_data_sets_in_memory(tmp_path):
    """By the names that the configuration gives; nothing is read from the data folder."""
    config = tiny_config()
    config.data.folder = str(tmp_path / "absent")
    config.data.sets, config.data.validate = (("mine", 4),), ("mine", "yours")
    config.epochs, config.steps_per_epoch, config.losses = 1, 2, ("quality",)
    yours = without(generated_set("generated-2", 20), name="yours")
    best = train_and_evaluate(config, str(tmp_path / "run"), sets=[yours, without(SET, name="mine")])
    assert set(best) == {"quality", "distortion", "average"}
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "val/mine/srcc" in text
    assert "val/yours/srcc" in text
    trained_on = open_checkpoint(tmp_path / "run" / "last").provenance.trained_on
    assert [entry.dataset for entry in trained_on] == ["mine"]
    config.data.sets = (("nine", 4),)
    with pytest.raises(UsageError, match=r"config\.data names nine, and the data sets that were given are yours, mine"):
        train_and_evaluate(config, str(tmp_path / "other"), sets=[yours, without(SET, name="mine")])


def test_accuracies_of_other_labels_are_left_out(tmp_path):
    """In another order every number stands for another distortion."""
    config = tiny_config()
    start = starting_checkpoint(config)
    own = Attribute("distortion", DISTORTION.labels[::-1])
    tasks = TaskSet("own", (QUALITY, own), "a photo with {distortion} artifacts, which is of {quality} quality")
    write_native(tmp_path / "start", with_text_features(start, tasks))
    config.init, config.tasks, config.losses, config.weighting = str(tmp_path / "start"), "", ("quality",), "equal"
    config.data.validate = ("generated",)
    config.epochs, config.steps_per_epoch = 1, 1
    assert set(train_and_evaluate(config, str(tmp_path / "run"))) == {"quality", "average"}
    assert "distortion_accuracy" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_without_a_mos_are_refused_before_the_first_step(value):
    def with_gap(part: str):
        mos = np.array(SET.mos)
        mos[np.flatnonzero(np.asarray(SET.splits["1"]) == part)[1]] = value
        return without(SET, mos=mos)

    with pytest.raises(DataError, match=r"1 of \d+ images of generated have a MOS that is NaN .* first is 0"):
        check(sets=(with_gap("train"),))
    check(sets=(with_gap("val"),))
    config = default_config()
    for part in ("val", "test"):
        assert held_out((), [with_gap("train")], config, part)
        with pytest.raises(DataError, match="NaN or infinite"):
            held_out((), [with_gap(part)], config, part)


def test_images_without_a_mos_are_refused_before_anything_is_predicted(tmp_path):
    mos = np.array(SET.mos)
    mos[np.flatnonzero(np.asarray(SET.splits["1"]) == "test")[0]] = np.nan
    config = default_eval_config()
    config.sets, config.official, config.whole, config.sessions = ("generated",), (), (), (1,)

    def never(name: str):
        raise AssertionError("a model is loaded")

    with pytest.raises(DataError, match="NaN or infinite"):
        evaluate(config, "liqe_nano", tmp_path, load_model=never, load_set=lambda name: without(SET, mos=mos))
