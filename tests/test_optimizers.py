"""Optimizers: steps as optax has them, not taken where something is not finite, in the memory that they are given."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from liqe_jax import UsageError
from liqe_jax.train.optimizers import OPTIMIZERS, Optimizer, clipped, find_optimizer
from liqe_jax.train.settings import default_config

RATE = jnp.float32(1e-2)
YES, NO = jnp.ones((), bool), jnp.zeros((), bool)


def adafactor(rate):
    """An optimizer of one's own, by import path."""
    return optax.adafactor(rate, min_dim_size_to_factor=8)


def not_one(rate):
    return {"rate": rate}


def of_two(rate, decay):
    return optax.adamw(rate, weight_decay=decay)


OWN = f"{__name__}:adafactor"


def settings(name: str, **changed):
    config = default_config().optimizer
    config.update({"name": name, "weight_decay": 0.1, **changed})
    return config


def tree(seed: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 8)
    return {f"layers/{n}/kernel": jax.random.normal(key, (256, 256)) for n, key in enumerate(keys)}


def plain_reference():
    """Decay first, then Adam's step: PyTorch's order."""
    return optax.chain(
        optax.scale_by_adam(0.9, 0.999, 1e-8), optax.scale(-RATE), optax.add_decayed_weights(-RATE * 0.1)
    )


PEERS = {
    "reference": plain_reference,
    "adamw": lambda: optax.adamw(RATE, weight_decay=0.1),
    "lion": lambda: optax.lion(RATE, 0.9, 0.999, weight_decay=0.1),
    "sgd": lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(RATE, 0.9)),
    OWN: lambda: adafactor(RATE),
}


def test_every_optimizer_has_a_peer():
    assert PEERS.keys() == {*OPTIMIZERS, OWN}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_three_steps_are_those_of_optax(name, clip_norm):
    optimizer = find_optimizer(settings(name, clip_norm=clip_norm))
    peer = optax.chain(optax.clip_by_global_norm(clip_norm), PEERS[name]()) if clip_norm else PEERS[name]()
    params = expected = tree(0)
    state, theirs = optimizer.init(params), peer.init(expected)
    step = jax.jit(optimizer.step)
    for seed in (1, 2, 3):
        grads = tree(seed)
        ours = clipped(grads, optax.tree.norm(grads), optimizer.clip_norm)
        params, state = step(params, state, ours, RATE, YES)
        updates, theirs = peer.update(grads, theirs, expected)
        expected = optax.apply_updates(expected, updates)
    for path, leaf in expected.items():
        np.testing.assert_allclose(params[path], leaf, rtol=1e-5, atol=1e-6)
        assert np.abs(leaf - tree(0)[path]).max() > 1e-3


@pytest.mark.parametrize("name", PEERS)
def test_the_rate_of_a_step_counts(name):
    """It is an argument of the step, not a constant of the optimizer."""
    optimizer = find_optimizer(settings(name))
    params, grads = tree(0), tree(1)
    rates = (jnp.float32(0), RATE, 2 * RATE)
    moved = [optimizer.step(params, optimizer.init(params), grads, rate, YES)[0] for rate in rates]
    path = "layers/0/kernel"
    np.testing.assert_array_equal(moved[0][path], params[path])
    first, second = (np.asarray(tree[path] - params[path]) for tree in moved[1:])
    np.testing.assert_allclose(second, 2 * first, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_a_step_that_is_not_finite_is_not_taken(name):
    optimizer = find_optimizer(settings(name))
    params, grads = tree(0), tree(1)
    before = optimizer.step(params, optimizer.init(params), grads, RATE, YES)
    broken = {path: leaf * jnp.nan for path, leaf in grads.items()}
    after = optimizer.step(*before, broken, RATE, NO)
    jax.tree.map(np.testing.assert_array_equal, after, before)


def naive() -> Optimizer:
    peer = plain_reference()

    def step(params, state, grads, rate, finite):
        updates, moved = peer.update(grads, state, params)
        stepped = optax.apply_updates(params, updates)
        return jax.tree.map(functools.partial(jnp.where, finite), (stepped, moved), (params, state))

    return Optimizer(peer.init, step)


@pytest.mark.parametrize("name", ["reference", "adamw", "sgd", "naive"])
def test_nothing_is_copied(name):
    """Beside donated parameters and moments a step needs no memory; written plainly, it does."""
    optimizer = naive() if name == "naive" else find_optimizer(settings(name))
    params, grads = tree(0), tree(1)
    state = optimizer.init(params)
    jitted = jax.jit(optimizer.step, donate_argnums=(0, 1))
    needed = jitted.lower(params, state, grads, RATE, YES).compile().memory_analysis().temp_size_in_bytes
    size = sum(leaf.nbytes for leaf in params.values())
    assert (needed > size) if name == "naive" else (needed < size / 50)


def test_unknown_optimizers_are_refused():
    with pytest.raises(UsageError, match=r"config\.optimizer\.name must be one of reference, adamw, .*'adam'"):
        find_optimizer(settings("adam"))
    with pytest.raises(UsageError, match=r"config\.optimizer\.name names 'optax:none', and optax has no 'none'"):
        find_optimizer(settings("optax:none"))
    with pytest.raises(UsageError, match="must return an optax transformation; got"):
        find_optimizer(settings(f"{__name__}:not_one"))
    with pytest.raises(UsageError, match="must be a function of the learning rate alone"):
        find_optimizer(settings(f"{__name__}:of_two"))
