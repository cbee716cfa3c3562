"""The training step: what devices, micro-batches and options may change, and what they may not."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from liqe_jax import UsageError
from liqe_jax.encoders.clip_prompts import pack_for_devices
from liqe_jax.model.predict import predict_from_features
from liqe_jax.taxonomy import JOINT, QUALITY_DISTORTION
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.train.losses import (
    LOSSES,
    Labels,
    distortion_fidelity_loss,
    losses_of,
    mos_squared_loss,
    named_losses,
    pairwise_fidelity_loss,
    scene_fidelity_loss,
)
from liqe_jax.train.mapped import Mapped, compiled_ahead, fetched, first_copy, spread
from liqe_jax.train.optimizers import OPTIMIZERS, find_optimizer
from liqe_jax.train.plan import Plan
from liqe_jax.train.settings import default_config
from liqe_jax.train.step import (
    Batch,
    Metrics,
    TrainState,
    exported_params,
    gradients,
    initial_state,
    train_step,
)
from liqe_jax.train.weighting import EQUAL, WEIGHT_RATE, WEIGHTINGS, Weighting, find_weighting
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance

from .tiny import TINY, plain_text_features, random_checkpoint

IMAGES, CROPS, GROUPS = 8, 2, 2
RATE = np.float32(1e-4)


# The prompts of both task sets, renumbered: a vocabulary of a few dozen words makes steps quick.
@pytest.fixture(scope="module")
def vocabulary() -> np.ndarray:
    return np.unique(Tokenizer.default()(JOINT.prompts + QUALITY_DISTORTION.prompts))


@pytest.fixture(scope="module")
def token_ids(vocabulary) -> np.ndarray:
    return np.searchsorted(vocabulary, Tokenizer.default()(QUALITY_DISTORTION.prompts)).astype(np.int32)


@pytest.fixture(scope="module")
def joint_ids(vocabulary) -> np.ndarray:
    return np.searchsorted(vocabulary, Tokenizer.default()(JOINT.prompts)).astype(np.int32)


@pytest.fixture(scope="module")
def checkpoint(vocabulary) -> Checkpoint:
    """A random model whose biases and scales are not all alike."""
    encoder = dataclasses.replace(
        TINY,
        vocab_size=len(vocabulary),
        eos_token_id=len(vocabulary) - 1,
        vision=dataclasses.replace(TINY.vision, layers=1),
    )
    return random_checkpoint(encoder, Provenance("random"))


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        rng.integers(0, 256, (IMAGES, CROPS, 224, 224, 3), np.uint8),
        Labels(
            rng.normal(size=IMAGES).astype(np.float32),
            np.asarray([0, 1, 0, 1, 1, 1, 1, 1], np.int32),
            np.eye(11, dtype=np.float32)[rng.integers(0, 11, IMAGES)],
            rng.integers(0, 2, (IMAGES, 9)).astype(np.float32),
        ),
    )


def plan_for(checkpoint, token_ids, devices: int = 1, **options) -> tuple[Plan, jax.Array]:
    packed = pack_for_devices(token_ids, checkpoint.encoder.eos_token_id, devices, checkpoint.encoder.text.width)
    tasks = options.pop("tasks", QUALITY_DISTORTION)
    losses = options.pop("losses", None) or losses_of(tasks)
    optimizer = options.pop("optimizer", None) or find_optimizer(default_config().optimizer)
    options["weighting"] = find_weighting(options.pop("weighting", "equal"), tuple(losses))
    plan = Plan(checkpoint.encoder, tasks, losses, packed.order, GROUPS, optimizer, **options)
    return plan, spread(packed.rows, devices)


def jitted(plan: Plan):
    return jax.jit(functools.partial(train_step, plan=plan))


STEPS: dict = {}


def the_same(key: tuple, again: bool, make):
    """A step that other tests take too is traced and compiled once."""
    return (STEPS.get(key) or STEPS.setdefault(key, make())) if again else make()


def first(tree):
    return jax.tree.map(lambda a: a[0], tree)


def run(checkpoint, token_ids, batch, steps: int = 1, **options) -> tuple[TrainState, Metrics]:
    plan, rows = plan_for(checkpoint, token_ids, **options)
    state = initial_state(checkpoint.params, plan)
    step = the_same(("run", options.get("weighting")), options.keys() <= {"weighting"}, lambda: jitted(plan))
    weights = np.asarray(plan.weighting.epoch([], len(plan.losses), 2.0), np.float32)
    for _ in range(steps):
        state, metrics = step(state, batch, first(rows), RATE, weights)
    return state, metrics


def run_on(
    devices: int, checkpoint, token_ids, batch, steps: int, ahead: bool = False, mapping: str = "pmap", **options
) -> tuple[TrainState, list[np.ndarray]]:
    plan, rows = plan_for(checkpoint, token_ids, devices, **options)
    mapped = Mapped(jax.local_devices()[:devices], mapping)
    state = mapped.cut(mapped.replicate(initial_state(checkpoint.params, plan)), plan)
    step = the_same((devices, mapping), not options, lambda: mapped.step(plan))
    rest = mapped.place(spread(batch, devices)), mapped.place(rows), RATE, np.ones(len(plan.losses), np.float32)
    if ahead:
        step = compiled_ahead(step, state, *rest)
    losses = []
    for _ in range(steps):
        state, metrics = step(state, *rest)
        losses.append(np.asarray(metrics.losses))
    np.testing.assert_array_equal(fetched(metrics).losses, losses[-1][0])
    return state, losses


def test_the_gradient_is_that_of_the_plain_model(checkpoint, token_ids, batch):
    """Prompts encoded one by one and one differentiation of everything: the oracle."""
    plan, rows = plan_for(checkpoint, token_ids)
    state = initial_state(checkpoint.params, plan)
    weights = np.asarray([1.0, 0.3], np.float32)

    def loss(params):
        text = plain_text_features(params, token_ids, checkpoint.encoder)
        features = checkpoint.encoder.image_features(params, batch.crops)
        prediction = predict_from_features(params, features, text, encoder=checkpoint.encoder, tasks=QUALITY_DISTORTION)
        return sum(
            w * one(prediction, batch.labels, GROUPS) for w, one in zip(weights, plan.losses.values(), strict=True)
        )

    expected = jax.jit(jax.grad(loss))(checkpoint.params)
    expected = flatten_dict(expected, sep="/")
    grads, _, metrics = jax.jit(functools.partial(gradients, plan=plan))(
        state.params, state.weighting, batch, first(rows), weights
    )
    assert set(grads) == set(expected) - {"logit_scale"}
    for path, leaf in grads.items():
        if not path.endswith("k_proj/bias"):
            # Features that differ by 3e-7 make logits, 14 times a cosine, that differ by 4e-6.
            apart = np.linalg.norm(leaf - expected[path])
            assert apart <= 1e-4 * np.linalg.norm(expected[path]), path
    assert metrics.finite


@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_that_is_compiled_ahead_is_the_same_step(checkpoint, token_ids, batch, devices):
    expected, losses = run_on(devices, checkpoint, token_ids, batch, steps=2)
    got, losses_ahead = run_on(devices, checkpoint, token_ids, batch, steps=2, ahead=True)
    np.testing.assert_array_equal(losses, losses_ahead)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_both_mappings_are_equal_bit_for_bit(checkpoint, token_ids, batch, devices):
    expected, losses = run_on(devices, checkpoint, token_ids, batch, steps=2)
    got, losses_shard_map = run_on(devices, checkpoint, token_ids, batch, steps=2, mapping="shard_map")
    np.testing.assert_array_equal(losses, losses_shard_map)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize(("devices", "mapping"), [(2, "shard_map"), (8, "pmap")])
def test_a_sharded_optimizer_takes_the_same_steps_in_less_memory(checkpoint, token_ids, batch, devices, mapping):
    options = {"ema_decay": 0.9}
    expected, losses = run_on(devices, checkpoint, token_ids, batch, steps=3, **options)
    options["shard_optimizer"] = True
    got, losses_sharded = run_on(devices, checkpoint, token_ids, batch, steps=3, mapping=mapping, **options)
    np.testing.assert_allclose(losses_sharded, losses, rtol=1e-6)
    plan, _ = plan_for(checkpoint, token_ids, **options)
    whole = Mapped(jax.local_devices()[:devices], mapping).whole(plan)(got)
    assert_near(whole, first_copy(expected), initial_state(checkpoint.params, plan))
    for name, leaf in got.params.items():
        assert (np.asarray(leaf) == np.asarray(leaf)[:1]).all(), name  # every device holds the same parameters
    for part in ("opt_state", "ema"):
        sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(getattr(state, part))) for state in (got, expected)]
        assert sizes[0] < 1.02 * sizes[1] / devices, part  # what does not divide is whole


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_sharded_and_clips_by_the_norm_of_all_parts(checkpoint, token_ids, batch, name):
    settings = default_config().optimizer
    settings.name, settings.clip_norm = name, 0.01
    options = {"optimizer": find_optimizer(settings), "freeze": ("vision_model",)}
    expected, _ = run_on(4, checkpoint, token_ids, batch, steps=2, **options)
    options["shard_optimizer"] = True
    got, _ = run_on(4, checkpoint, token_ids, batch, steps=2, **options)
    plan, _ = plan_for(checkpoint, token_ids, **options)
    whole = Mapped(jax.local_devices()[:4]).whole(plan)(got)
    assert_near(whole, first_copy(expected), initial_state(checkpoint.params, plan))


def test_parts_of_a_whole_state_are_that_state(checkpoint, token_ids):
    plan, _ = plan_for(checkpoint, token_ids, shard_optimizer=True, ema_decay=0.9)
    start = initial_state(checkpoint.params, plan)
    rng = np.random.default_rng(0)
    moments = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), start.opt_state)
    start = start._replace(opt_state=moments)
    mapped = Mapped(jax.local_devices())
    state = mapped.cut(mapped.replicate(start), plan)
    jax.tree.map(np.testing.assert_array_equal, mapped.whole(plan)(state), start)


def assert_near(got: TrainState, expected: TrainState, start: TrainState) -> None:
    """Equal but for rounding: sums over devices, and the norm, are added in another order."""
    for (path, one), other, first in zip(
        jax.tree_util.tree_leaves_with_path(got), *map(jax.tree.leaves, (expected, start)), strict=True
    ):
        if "k_proj/bias" not in str(path):  # its gradient is zero but for rounding
            apart, moved = (np.linalg.norm(np.asarray(one) - np.asarray(base)) for base in (other, first))
            assert apart <= 1e-3 * moved + 1e-12, path


def test_a_copy_of_the_state_outlives_the_next_step(checkpoint, token_ids, batch):
    plan, rows = plan_for(checkpoint, token_ids, 2)
    mapped = Mapped(jax.local_devices()[:2])
    start = initial_state(checkpoint.params, plan)
    state = mapped.replicate(start)
    copy = first_copy(state)
    mapped.step(plan)(state, spread(batch, 2), rows, RATE, np.ones(2, np.float32))
    assert state.step.is_deleted()
    jax.tree.map(np.testing.assert_array_equal, copy, start)


@pytest.fixture(scope="module")
def plain(checkpoint, token_ids, batch) -> tuple[TrainState, Metrics]:
    return run(checkpoint, token_ids, batch)


@pytest.fixture(scope="module")
def on_one_device(checkpoint, token_ids, batch) -> tuple[TrainState, list[np.ndarray]]:
    return run_on(1, checkpoint, token_ids, batch, steps=10)


@pytest.mark.parametrize("devices", [2, 8])
def test_the_number_of_devices_changes_nothing(checkpoint, token_ids, batch, on_one_device, devices):
    start = initial_state(checkpoint.params, plan_for(checkpoint, token_ids)[0]).params
    one, losses_one = on_one_device
    many, losses_many = run_on(devices, checkpoint, token_ids, batch, steps=10)
    for expected, got in zip(losses_one, losses_many, strict=True):
        np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), rtol=1e-5)
    for path, leaf in many.params.items():
        copies = np.asarray(leaf)
        assert (copies == copies[:1]).all(), path  # every device holds the same parameters
        if not path.endswith("k_proj/bias"):
            move = np.linalg.norm(np.asarray(one.params[path][0]) - np.asarray(start[path]))
            apart = np.linalg.norm(copies[0] - np.asarray(one.params[path][0]))
            assert apart <= 5e-3 * move + 1e-12, path


def test_pairs_are_formed_across_devices(checkpoint, token_ids, batch):
    """With one image per device there is no pair within any device."""
    _, (losses,) = run_on(8, checkpoint, token_ids, batch, steps=1)
    assert losses[0, 0] > 0.05


@pytest.mark.parametrize("options", [{"micro_batches": 4}, {"remat": True}, {"micro_batches": 2, "remat": True}])
def test_saving_memory_changes_nothing(checkpoint, token_ids, batch, plain, options):
    plain_state, plain = plain
    state, metrics = run(checkpoint, token_ids, batch, **options)
    np.testing.assert_allclose(metrics.losses, plain.losses, rtol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, plain.grad_norm, rtol=1e-5)
    np.testing.assert_allclose(metrics.quality, plain.quality, rtol=1e-5)
    for path, leaf in state.opt_state.mu.items():
        expected = plain_state.opt_state.mu[path]
        np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-5 * float(plain.grad_norm), err_msg=path)


def test_micro_batches_must_divide(checkpoint, token_ids, batch):
    with pytest.raises(UsageError, match="8 images do not divide into 3"):
        run(checkpoint, token_ids, batch, micro_batches=3)


def test_bfloat16_is_close_and_keeps_float32_masters(checkpoint, token_ids, batch, plain):
    _, exact = plain
    state, metrics = run(checkpoint, token_ids, batch, dtype=jnp.bfloat16)
    np.testing.assert_allclose(metrics.losses, exact.losses, rtol=3e-2)
    np.testing.assert_allclose(metrics.grad_norm, exact.grad_norm, rtol=6e-2)
    assert {leaf.dtype for leaf in state.params.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize("freeze", ["text_model", "vision_model"])
def test_frozen_towers_stay_and_have_no_moments(checkpoint, token_ids, batch, freeze):
    before = initial_state(checkpoint.params, plan_for(checkpoint, token_ids)[0]).params
    state, _ = run(checkpoint, token_ids, batch, freeze=(freeze,))
    for path, leaf in state.params.items():
        moved = not np.array_equal(leaf, before[path])
        frozen = path.startswith(freeze) or path == "logit_scale"
        assert moved != frozen or path.endswith(("k_proj/bias", "position_embedding/embedding")), path
    assert not any(path.startswith(freeze) for path in state.opt_state.mu)


def test_freezing_nothing_or_everything_is_refused(checkpoint, token_ids, batch):
    with pytest.raises(UsageError, match="no parameter begins so"):
        run(checkpoint, token_ids, batch, freeze=("txt",))
    everything = ("text_model", "vision_model", "text_projection", "visual_projection")
    with pytest.raises(UsageError, match="nothing to train"):
        run(checkpoint, token_ids, batch, freeze=everything)


def test_a_step_that_is_not_finite_is_not_taken(checkpoint, token_ids, batch):
    plan, rows = plan_for(checkpoint, token_ids)
    before = initial_state(checkpoint.params, plan)
    step = the_same(("run", None), True, lambda: jitted(plan))
    broken = batch._replace(labels=batch.labels._replace(distortion=np.full((IMAGES, 11), np.inf, np.float32)))
    state, metrics = step(before, broken, first(rows), RATE, np.ones(2, np.float32))
    assert not metrics.finite
    assert state.step == 1
    for path, leaf in state.params.items():
        assert np.array_equal(leaf, before.params[path]), path
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_single_task_trains_for_it_alone(checkpoint, token_ids, batch):
    alone, _ = run(checkpoint, token_ids, batch, weighting="quality")
    losses = named_losses(("quality",), QUALITY_DISTORTION)
    only, metrics = run(checkpoint, token_ids, batch, losses=losses)
    # Gradients, since Adam's first step magnifies what is next to nothing.
    for path, leaf in alone.opt_state.mu.items():
        expected = only.opt_state.mu[path]
        np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-5 * float(metrics.grad_norm), err_msg=path)


def test_uncertainty_weights_follow_their_gradient(checkpoint, token_ids, batch):
    state, metrics = run(checkpoint, token_ids, batch, weighting="uncertainty")
    np.testing.assert_array_equal(metrics.weights, 1.0)  # exp(-0)
    np.testing.assert_allclose(state.weighting.values, WEIGHT_RATE * (metrics.losses - 0.5), rtol=1e-5)


def test_gradnorm_raises_the_weight_of_the_weaker_gradient(checkpoint, token_ids, batch):
    state, metrics = run(checkpoint, token_ids, batch, weighting="gradnorm")
    np.testing.assert_array_equal(metrics.weights, 1.0)
    assert float(state.weighting.values.sum()) == pytest.approx(2, rel=1e-5)
    plan, rows = plan_for(checkpoint, token_ids)
    start = initial_state(checkpoint.params, plan)
    grad = jax.jit(functools.partial(gradients, plan=plan))
    norms = [
        float(grad(start.params, start.weighting, batch, first(rows), one_hot)[2].grad_norm)
        for one_hot in np.eye(2, dtype=np.float32)
    ]
    weaker = int(np.argmin(norms))
    assert state.weighting.values[weaker] > 1 > state.weighting.values[1 - weaker]
    np.testing.assert_allclose(state.weighting.first_losses, metrics.losses)


def test_gradnorm_waits_for_a_loss_without_labels(checkpoint, token_ids, batch):
    bare = batch._replace(labels=batch.labels._replace(distortion=np.zeros((IMAGES, 11), np.float32)))
    state, metrics = run(checkpoint, token_ids, bare, weighting="gradnorm")
    assert metrics.losses[1] == 0
    assert metrics.finite
    assert np.isfinite(state.weighting.values).all()
    np.testing.assert_allclose(state.weighting.first_losses, metrics.losses)
    nothing = {
        "none": lambda p, y, g: 0 * p.values["quality"].sum(),
        "nor": lambda p, y, g: 0 * p.values["quality"].sum(),
    }
    state, _ = run(checkpoint, token_ids, bare, losses=nothing, weighting="gradnorm")
    np.testing.assert_array_equal(state.weighting.values, 1)


def test_weights_that_are_not_finite_are_not_kept(checkpoint, token_ids, batch):
    plan, rows = plan_for(checkpoint, token_ids, weighting="gradnorm")
    before = initial_state(checkpoint.params, plan)
    # Whatever has broken a weight, the losses and the gradient of this step may still be finite.
    broken = before._replace(weighting=before.weighting._replace(first_losses=np.array([np.inf, 1], np.float32)))
    step = the_same(("run", "gradnorm"), True, lambda: jitted(plan))
    _, metrics = step(broken, batch, first(rows), RATE, np.ones(2, np.float32))
    assert np.isfinite(metrics.losses).all()
    assert np.isfinite(metrics.grad_norm)
    assert not metrics.finite


def test_cosine_weights_drop_a_task_that_disagrees(checkpoint, token_ids, batch):
    losses = {
        "quality": lambda p, y, g: p.values["quality"].mean(),
        "same": lambda p, y, g: 3 * p.values["quality"].mean(),
        "against": lambda p, y, g: -p.values["quality"].mean(),
    }
    _, metrics = run(checkpoint, token_ids, batch, losses=losses, weighting="cosine")
    np.testing.assert_allclose(metrics.weights, [1, 1, 0], atol=1e-5)


def test_unknown_names_are_refused(checkpoint, token_ids):
    with pytest.raises(UsageError, match="weighting must be one of"):
        plan_for(checkpoint, token_ids, weighting="pcgrad")
    packed = pack_for_devices(token_ids, checkpoint.encoder.eos_token_id, 1, 128)
    with pytest.raises(UsageError, match="do not divide among"):
        spread(packed.rows, packed.rows.token_ids.shape[0] + 1)


def test_images_without_a_label_do_not_count():
    p = jnp.asarray([[0.9, 0.1], [0.2, 0.8]])
    target = jnp.asarray([[1.0, 0.0], [0.0, 0.0]])
    for loss in (distortion_fidelity_loss, scene_fidelity_loss):
        np.testing.assert_allclose(loss(p, target), loss(p[:1], target[:1]), rtol=1e-6)
        assert float(loss(p, jnp.zeros((2, 2)))) == 0
        assert np.isfinite(jax.grad(lambda q, loss=loss: loss(q, target))(p)).all()


def test_weights_of_images_are_shares_of_the_mean(batch):
    """An image of weight 2 counts as two images; a data set of weight 0 not at all."""
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(11), IMAGES).astype(np.float32), rng.normal(size=IMAGES).astype(np.float32)
    y, twice = batch.labels, np.asarray([2, 1, 1, 1, 1, 1, 1, 1], np.float32)
    again = np.r_[0, np.arange(IMAGES)]
    for loss, found, target in ((distortion_fidelity_loss, p, y.distortion), (mos_squared_loss, q, y.mos)):
        np.testing.assert_allclose(loss(found, target, twice), loss(found[again], target[again]), rtol=1e-5)
        np.testing.assert_allclose(loss(found, target, np.full(IMAGES, 3.0)), loss(found, target), rtol=1e-5)
    of_second = np.asarray(y.group, np.float32)
    alone = pairwise_fidelity_loss(q[y.group == 1], y.mos[y.group == 1], y.group[y.group == 1], GROUPS)
    np.testing.assert_allclose(pairwise_fidelity_loss(q, y.mos, y.group, GROUPS, weight=of_second), alone, rtol=1e-5)


def test_every_loss_is_finite_for_the_joint_task_set(checkpoint, joint_ids, batch):
    _, metrics = run(checkpoint, joint_ids, batch, tasks=JOINT, losses=dict(LOSSES))
    assert metrics.finite
    assert (np.asarray(metrics.losses) > 0).all()


def test_plans_can_be_varied(checkpoint, token_ids):
    plan, _ = plan_for(checkpoint, token_ids)
    assert dataclasses.replace(plan, micro_batches=2).micro_batches == 2
    with pytest.raises(UsageError, match="micro_batches"):
        dataclasses.replace(plan, micro_batches=0)
    for wrong in (-0.1, 1.0):
        with pytest.raises(UsageError, match="ema_decay must be at least 0 and below 1"):
            dataclasses.replace(plan, ema_decay=wrong)


def test_only_what_is_named_is_trained(checkpoint, token_ids, batch, plain):
    before = initial_state(checkpoint.params, plan_for(checkpoint, token_ids)[0]).params
    named = {
        "train_only": ("visual_projection", "vision_model/post_layernorm"),
        "freeze": ("vision_model/post_layernorm/bias",),
    }
    state, metrics = run(checkpoint, token_ids, batch, **named)
    moved = {path for path, leaf in state.params.items() if not np.array_equal(leaf, before[path])}
    assert moved == {"visual_projection/kernel", "vision_model/post_layernorm/scale"}
    assert set(state.opt_state.mu) == moved
    _, everything = plain
    np.testing.assert_allclose(metrics.losses, everything.losses, rtol=1e-6)
    with pytest.raises(UsageError, match="no parameter begins so"):
        run(checkpoint, token_ids, batch, train_only=("vision_mode",))
    with pytest.raises(UsageError, match="nothing to train"):
        run(checkpoint, token_ids, batch, train_only=("text_model",), freeze=("text_model",))
    with pytest.raises(UsageError, match="nothing to train"):  # the encoder never trains its scale
        run(checkpoint, token_ids, batch, train_only=("logit_scale",))


@pytest.mark.parametrize("devices", [1, 4])
def test_moving_averages_are_those_of_the_parameters(checkpoint, token_ids, batch, devices):
    plan, rows = plan_for(checkpoint, token_ids, devices, ema_decay=0.15, freeze=("text_model",))
    mapped = Mapped(jax.local_devices()[:devices])
    state = initial_state(checkpoint.params, plan)
    expected = {path: np.asarray(leaf) for path, leaf in state.params.items() if plan.is_trained(path)}
    assert state.ema.keys() == expected.keys()
    state, step = mapped.replicate(state), mapped.step(plan)
    for decay in (1 / 10, 0.15, 0.15):  # shorter at first
        state, _ = step(state, spread(batch, devices), rows, np.float32(1e-2), np.ones(2, np.float32))
        expected = {path: x + (1 - decay) * (np.asarray(state.params[path][0]) - x) for path, x in expected.items()}
    exported = exported_params(jax.tree.map(lambda leaf: np.asarray(leaf)[0], state))
    assert exported.keys() == state.params.keys()
    for path, leaf in exported.items():
        np.testing.assert_allclose(leaf, expected.get(path, state.params[path][0]), rtol=1e-4, atol=1e-5, err_msg=path)
    last = np.asarray(state.params["visual_projection/kernel"][0])
    assert np.abs(exported["visual_projection/kernel"] - last).max() > 1e-3


def test_a_step_that_is_not_taken_leaves_the_averages(checkpoint, token_ids, batch):
    plan, rows = plan_for(checkpoint, token_ids, ema_decay=0.5)
    step = jitted(plan)
    rest = first(rows), np.float32(1e-2), np.ones(2, np.float32)
    before, _ = step(initial_state(checkpoint.params, plan), batch, *rest)
    broken = batch._replace(labels=batch.labels._replace(distortion=np.full((IMAGES, 11), np.inf, np.float32)))
    after, metrics = step(before, broken, *rest)
    assert not metrics.finite
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=before.step), before)


def test_a_weighting_of_ones_own(checkpoint, token_ids, batch):
    """One object: what it remembers, and the weights of each step."""

    def alternate(state, losses, fixed, gradient_of):
        first = state.values[0] % 2 == 0
        return jnp.where(first, jnp.asarray([1.0, 0]), jnp.asarray([0, 2.0])), state._replace(values=state.values + 1)

    own = Weighting(EQUAL.epoch, EQUAL.init, alternate, learned=True)
    plan, rows = plan_for(checkpoint, token_ids)
    plan = dataclasses.replace(plan, weighting=own)
    state, step = initial_state(checkpoint.params, plan), jitted(plan)
    seen = []
    for _ in range(3):
        state, metrics = step(state, batch, first(rows), RATE, np.ones(2, np.float32))
        seen.append(np.asarray(metrics.weights).tolist())
    assert seen == [[1, 0], [0, 2], [1, 0]]


def test_weightings_are_found_by_name_and_import_path():
    losses = ("quality", "distortion")
    assert find_weighting("gradnorm", losses) is WEIGHTINGS["gradnorm"]
    assert find_weighting("distortion", losses).epoch([], 2, 2.0).tolist() == [0, 1]
    assert find_weighting("liqe_jax.train.weighting:EQUAL", losses) is EQUAL
    with pytest.raises(UsageError, match=r"config\.weighting must be one of quality, distortion, equal, dwa"):
        find_weighting("scene", losses)
    with pytest.raises(UsageError, match=r"must be a liqe_jax\.train\.weighting\.Weighting; got 0\.025"):
        find_weighting("liqe_jax.train.weighting:WEIGHT_RATE", losses)
    with pytest.raises(UsageError, match=r"config\.weighting names .* has no 'PCGRAD'"):
        find_weighting("liqe_jax.train.weighting:PCGRAD", losses)
