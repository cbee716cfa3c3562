"""AdamW's step: as optax has it, not taken where something is not finite, and in the memory that it is given."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.taxonomy import QUALITY_DISTORTION
from liqe_jax.train.objective import terms_of
from liqe_jax.train.plan import Plan
from liqe_jax.train.update import adamw_step

TOWER = TowerConfig(width=64, layers=1, heads=1, mlp_width=64)
TASKS = QUALITY_DISTORTION
PLAN = Plan(CLIP(TOWER, TOWER), TASKS, terms_of(TASKS), np.zeros(len(TASKS.prompts), np.int32), groups=1)
RATE = jnp.float32(1e-2)
YES, NO = jnp.ones((), bool), jnp.zeros((), bool)


def tree(seed: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 8)
    return {f"layers/{n}/kernel": jax.random.normal(key, (256, 256)) for n, key in enumerate(keys)}


def test_three_steps_are_those_of_optax():
    params = {**tree(0), "frozen": jnp.ones(3)}
    trained = tree(0)
    peer = optax.chain(optax.scale_by_adam(*PLAN.betas, PLAN.epsilon), optax.scale(-RATE))
    moments, theirs = PLAN.optimizer().init(trained), peer.init(trained)
    for seed in (1, 2, 3):
        grads = tree(seed)
        params, moments = adamw_step(params, moments, grads, RATE, YES, PLAN)
        updates, theirs = peer.update(grads, theirs)
        decayed = {path: leaf * (1 - RATE * PLAN.weight_decay) for path, leaf in trained.items()}
        trained = optax.apply_updates(decayed, updates)
    for path, leaf in trained.items():
        np.testing.assert_allclose(params[path], leaf, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(params["frozen"], 1)


def test_a_step_that_is_not_finite_is_not_taken():
    params, grads = tree(0), tree(1)
    moments = PLAN.optimizer().init(params)
    params, moments = adamw_step(params, moments, grads, RATE, YES, PLAN)
    broken = {path: leaf * jnp.nan for path, leaf in grads.items()}
    after = adamw_step(params, moments, broken, RATE, NO, PLAN)
    jax.tree.map(np.testing.assert_array_equal, after, (params, moments))


def naive(params, moments, grads, rate, finite, plan):
    updates, moved = plan.optimizer().update(grads, moments)
    stepped = {path: leaf - rate * updates[path] for path, leaf in params.items()}
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), (stepped, moved), (params, moments))


@pytest.mark.parametrize(("step", "copies"), [(adamw_step, False), (naive, True)])
def test_nothing_is_copied(step, copies):
    """Beside donated parameters and moments a step needs no memory; written plainly, it does."""
    params, grads = tree(0), tree(1)
    moments = PLAN.optimizer().init(params)
    jitted = jax.jit(functools.partial(step, plan=PLAN), donate_argnums=(0, 1))
    needed = jitted.lower(params, moments, grads, RATE, YES).compile().memory_analysis().temp_size_in_bytes
    size = sum(leaf.nbytes for leaf in params.values())
    assert (needed > size) if copies else (needed < size / 50)
