"""Small models for all tests, and the plain forms of what the package computes in a faster way."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from liqe_jax.encoders.base import random_params
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.clip_prompts import PackedRows
from liqe_jax.encoders.clip_towers import CLIPTowers
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.taxonomy import QUALITY_ONLY
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance

# CLIP's own vocabulary and input size, everything else as small as it goes: heads are 64 wide in OpenAI's layout, and
# one of the towers should have more than one.
TINY = CLIP(
    vision=TowerConfig(width=128, layers=1, heads=2, mlp_width=96),
    text=TowerConfig(width=64, layers=1, heads=1, mlp_width=80),
    projection_dim=24,
)


# Of a random draw whose scores of the sample photographs differ.
SEED = 4

# A model of two megabytes, with a vocabulary too small for any prompt; every size differs from every other.
SMALL = CLIP(
    vision=TowerConfig(width=128, layers=3, heads=2, mlp_width=160),
    text=TowerConfig(width=64, layers=2, heads=1, mlp_width=96),
    image_size=96,
    patch_size=16,
    vocab_size=50,
    context_length=20,
    eos_token_id=49,
    projection_dim=40,
)

# A model small enough for finite differences over many pixels.
FEW_PIXELS = CLIP(
    vision=TowerConfig(width=16, layers=2, heads=2, mlp_width=32),
    text=TowerConfig(width=16, layers=2, heads=2, mlp_width=32),
    image_size=32,
    patch_size=8,
    vocab_size=60,
    context_length=12,
    eos_token_id=59,
    projection_dim=8,
)


def random_checkpoint(encoder: CLIP, provenance: Provenance) -> Checkpoint:
    """A random model whose biases and scales are not all alike.

    Flax starts biases at zero and scales at one; a mix-up of those would go unnoticed.
    """
    flat = flatten_dict(random_params(encoder, jax.random.key(SEED)), sep="/")
    rng = np.random.default_rng(0)
    flat = {name: np.asarray(a + rng.normal(0, 0.05, a.shape), np.float32) for name, a in flat.items()}
    return Checkpoint(flat, encoder, provenance)


def foreign_checkpoint(encoder: CLIP, seed: int = 0) -> Checkpoint:
    """A model with no parameter at zero or one, whose text features are random numbers too."""
    rng = np.random.default_rng(seed)
    shapes = encoder.param_shapes(1000)
    flat = {name: np.asarray(rng.normal(0.1, 0.1, shape), np.float32) for name, shape in shapes.items()}
    features = rng.normal(size=(len(QUALITY_ONLY.prompts), encoder.projection_dim)).astype(np.float32)
    return Checkpoint(flat, encoder, Provenance("random"), QUALITY_ONLY, text_features=features)


def plain_text_features(params, token_ids, encoder: CLIP, dtype=jnp.float32):
    """CLIP's text features the long way: every position of every sentence, no shared prefixes. [K, D]."""
    token_ids = jnp.asarray(token_ids)
    length = token_ids.shape[1]
    positions = jnp.broadcast_to(jnp.arange(length), token_ids.shape)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    ends = jnp.argmax(token_ids == encoder.eos_token_id, axis=1)[:, None]
    apply = functools.partial(CLIPTowers(encoder, dtype).apply, method=CLIPTowers.text_features)
    return jnp.asarray(apply({"params": params}, PackedRows(token_ids, positions, mask, ends)))[:, 0]
