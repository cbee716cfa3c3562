"""Losses, also by name and import path, weights of losses and learning rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liqe_jax import Attribute, TaskSet, UsageError
from liqe_jax.taxonomy import JOINT, QUALITY, QUALITY_DISTORTION
from liqe_jax.train.losses import (
    ABOUT,
    LOSSES,
    Labels,
    distortion_fidelity_loss,
    for_loss,
    losses_of,
    named_losses,
    pairwise_fidelity_loss,
    scene_fidelity_loss,
)
from liqe_jax.train.schedule import dynamic_weights, reference_learning_rate


def close(got, expected, relative=1e-5):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=relative, atol=relative * scale)


@pytest.mark.goldens
def test_pairwise_loss_and_gradient_of_the_reference(golden):
    figures = golden("losses.json")["pairwise_fidelity"]
    sizes = figures["group_sizes"]
    group = np.repeat(np.arange(len(sizes)), sizes)
    quality, mos = (np.asarray(figures[name], np.float32) for name in ("prediction", "mos"))
    loss = jax.jit(jax.value_and_grad(lambda q: pairwise_fidelity_loss(q, mos, group, len(sizes))))
    value, gradient = loss(quality)
    close(value, figures["loss"])
    close(gradient, figures["grad"])


@pytest.mark.goldens
@pytest.mark.parametrize(
    ("name", "function"),
    [("distortion_fidelity", distortion_fidelity_loss), ("scene_fidelity", scene_fidelity_loss)],
)
def test_label_losses_and_gradients_of_the_reference(golden, name, function):
    figures = golden("losses.json")[name]
    p, target = (np.asarray(figures[key], np.float32) for key in ("p", "target"))
    value, gradient = jax.jit(jax.value_and_grad(function))(p, target)
    close(value, figures["loss"])
    close(gradient.ravel(), figures["grad"])


@pytest.mark.goldens
def test_learning_rates_of_the_reference(golden):
    figures = golden("learning_rate.json")
    for epochs in (80, 6):
        rates = [reference_learning_rate(epoch, figures["initial"], figures["t_max"]) for epoch in range(epochs)]
        np.testing.assert_allclose(rates, figures[f"epochs_{epochs}"], rtol=0, atol=1e-12)
        assert min(rates) > 0


@pytest.mark.goldens
def test_dynamic_weights_of_the_reference(golden):
    figures = golden("dynamic_weight_average.json")
    means = [np.mean(epoch, axis=0) for epoch in figures["losses"]]
    for epoch, expected in enumerate(figures["lambdas_per_epoch"]):
        weights = dynamic_weights(means[:epoch], 3, figures["temperature"])
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_only_pairs_within_a_data_set_count():
    quality, mos = jnp.asarray([1.0, 2.0, 3.0, 4.0]), jnp.asarray([1.0, 2.0, 9.0, 8.0])
    group = jnp.asarray([0, 0, 1, 1])
    whole = pairwise_fidelity_loss(quality, mos, group, 2)
    parts = [pairwise_fidelity_loss(quality[k : k + 2], mos[k : k + 2], jnp.zeros(2, int), 1) for k in (0, 2)]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-6)
    assert parts[0] < parts[1]  # the first pair is in the right order, the second is not


def test_a_loss_gets_its_own_weights():
    labels = Labels(np.zeros(2), np.arange(2), np.zeros((2, 11)), np.zeros((2, 9)))
    assert for_loss(labels, 1) is labels
    of_all = labels._replace(weight=np.asarray([1.0, 2.0]))
    assert for_loss(of_all, 1) is of_all
    of_each = labels._replace(weight=np.asarray([[1.0, 3.0], [2.0, 4.0]]))
    np.testing.assert_array_equal(for_loss(of_each, 1).weight, [3.0, 4.0])


def test_sigma_is_the_unit_of_differences():
    quality, mos, group = jnp.asarray([1.0, 2.5, 2.0]), jnp.asarray([1.0, 2.0, 3.0]), jnp.zeros(3, int)
    expected = pairwise_fidelity_loss(quality / 2**0.5, mos, group, 1)
    assert float(pairwise_fidelity_loss(quality, mos, group, 1, sigma=2**0.5)) == pytest.approx(float(expected))
    assert float(pairwise_fidelity_loss(quality, mos, group, 1)) != pytest.approx(float(expected), rel=1e-3)


def test_order_and_scale_of_the_opinions_change_nothing():
    rng = np.random.default_rng(0)
    quality, mos = rng.normal(3, 1, 12).astype(np.float32), rng.permutation(12).astype(np.float32)
    group = np.arange(12) % 3
    expected = pairwise_fidelity_loss(quality, mos, group, 3)
    order = rng.permutation(12)
    np.testing.assert_allclose(pairwise_fidelity_loss(quality[order], mos[order], group[order], 3), expected, rtol=1e-5)
    np.testing.assert_allclose(pairwise_fidelity_loss(quality, mos**3 * 7 + 1, group, 3), expected, rtol=1e-6)


def test_a_data_set_with_one_image_or_none_is_left_out():
    # The reference divides zero by zero here and drops the step.
    quality, mos = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([2.0, 1.0, 5.0])
    loss = jax.value_and_grad(lambda q: pairwise_fidelity_loss(q, mos, jnp.asarray([0, 0, 1]), 3))
    value, gradient = loss(quality)
    assert float(value) == pytest.approx(float(pairwise_fidelity_loss(quality[:2], mos[:2], jnp.zeros(2, int), 1)))
    assert np.isfinite(gradient).all()
    assert gradient[2] == 0
    assert float(pairwise_fidelity_loss(quality[:1], mos[:1], jnp.zeros(1, int), 1)) == 0


def test_ties_ask_for_equal_predictions():
    mos, group = jnp.asarray([3.0, 3.0]), jnp.zeros(2, int)
    equal = pairwise_fidelity_loss(jnp.asarray([2.0, 2.0]), mos, group, 1)
    apart = pairwise_fidelity_loss(jnp.asarray([2.0, 4.0]), mos, group, 1)
    assert float(equal) == pytest.approx(0, abs=1e-6)
    assert apart > 0.1


def test_perfect_predictions_cost_nothing():
    one_hot = jnp.eye(4)
    # A root of 1e-8 for each class that is absent: 3 x 1e-4, or 4 x 1e-4 for binary fidelities.
    assert float(distortion_fidelity_loss(one_hot, one_hot)) == pytest.approx(-3e-4, abs=1e-5)
    assert float(scene_fidelity_loss(one_hot, one_hot)) == pytest.approx(-1e-4, abs=1e-5)
    assert distortion_fidelity_loss(one_hot[::-1], one_hot) > 0.99


def test_a_marginal_that_rounding_takes_above_1_is_no_nan():
    """The reference has NaN there, and drops the step."""
    target = jnp.asarray([[0.0, 1.0]])
    loss = jax.value_and_grad(lambda p: scene_fidelity_loss(jnp.stack([p, jnp.zeros(())])[None], target))
    certain, slope = loss(jnp.float32(1))
    above, slope_above = loss(jnp.nextafter(jnp.float32(1), jnp.float32(2)))
    assert above == pytest.approx(float(certain), abs=1e-3)
    assert np.isfinite([slope, slope_above]).all()
    # At 1 itself the slope is that of the formula, for one of two scenes.
    assert slope == pytest.approx(1 / (2 * 1e-4) / 2, rel=0.1)


def test_weights_follow_the_slower_task():
    weights = dynamic_weights([np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.9, 1.2])], 3)
    assert weights.sum() == pytest.approx(3)
    assert (np.diff(weights) > 0).all()
    np.testing.assert_array_equal(dynamic_weights([np.ones(3)], 3), 1)


@pytest.mark.parametrize("epochs", [(0, 0), (0, 0.5), (0.5, 0), (-3e-4, -3e-4), (-3e-4, 0.1)])
def test_a_loss_that_is_learnt_or_has_no_labels_counts_as_steady(epochs):
    before, last = epochs
    got = dynamic_weights([np.array([1.0, before, 1.0]), np.array([0.5, last, 1.0])], 3)
    np.testing.assert_array_equal(got, dynamic_weights([np.array([1.0, 1, 1]), np.array([0.5, 1, 1])], 3))


def test_senseless_arguments_are_refused():
    for losses in ([np.ones(2)] * 2, [np.ones(3), np.array([1, np.nan, 1])]):
        with pytest.raises(UsageError, match="3 finite mean losses"):
            dynamic_weights(losses, 3)
    with pytest.raises(UsageError, match="epoch must be"):
        reference_learning_rate(-1)


def spread(prediction, labels, groups):
    """A loss of one's own."""
    return prediction.values["quality"].var()


def of_two(prediction, labels):
    return 0.0


OWN = f"{__name__}:spread"


def test_without_names_every_attribute_has_liqe_s_loss():
    assert (
        named_losses((), JOINT)
        == losses_of(JOINT)
        == {name: LOSSES[name] for name in ("quality", "scene", "distortion")}
    )
    own = TaskSet("own", (QUALITY, Attribute("grain", ("clean", "grainy"))), "{grain} {quality}")
    with pytest.raises(UsageError, match=r"LIQE has no loss for grain\. Name losses of your own in config\.losses"):
        losses_of(own)


def test_losses_of_ones_own_stand_beside_liqe_s(tmp_path, monkeypatch):
    assert named_losses(("quality", OWN), QUALITY_DISTORTION) == {"quality": LOSSES["quality"], "spread": spread}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(prediction, labels, groups=1):\n    return 0.0\n")
    assert list(named_losses(("mine.py:mine", "mos"), QUALITY_DISTORTION)) == ["mine", "mos"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("sharpness",),
            r"config\.losses must be one of quality, scene, distortion, mos, or the .*; got 'sharpness'",
        ),
        ((f"{__name__}:absent",), r"config\.losses names '.*:absent', and .* has no 'absent'"),
        ((f"{__name__}:of_two",), r"of_two must be a function of \(prediction, labels, number of data sets\)"),
        ((f"{__name__}:OWN",), r"OWN must be a function of \(prediction, labels, number of data sets\)"),
        ((OWN, OWN), "Losses need different names"),
        (("quality", "quality"), "Losses need different names"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(UsageError, match=message):
        named_losses(names, QUALITY_DISTORTION)


def test_every_loss_is_about_an_attribute():
    assert ABOUT.keys() == LOSSES.keys()
    assert set(ABOUT.values()) == {"quality", "scene", "distortion"}
