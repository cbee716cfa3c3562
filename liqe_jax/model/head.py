"""From features to the joint distribution, its marginals and the score.

As in the reference code, the cosine logits of all crops are averaged first, and one softmax over all prompts follows
(the paper's section 3.1; zwx8981/LIQE, LIQE.py:81-107).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from liqe_jax.encoders.products import AnyArray, einsum, matmul
from liqe_jax.tasks import TaskSet


class Prediction(NamedTuple):
    """What a model says of each image; a pytree.

    Attributes:
      logits: mean over crops, [*batch, K].
      joint: the softmax over K, with one axis per attribute, [*batch, Q, S, T, ...].
      marginals: attribute name -> distribution over its labels, [*batch, N].
      values: name -> expectation, [*batch], for attributes whose labels have values.
    """

    logits: Float[Array, "*batch K"]
    joint: Float[Array, "*batch ..."]
    marginals: dict[str, Float[Array, "*batch N"]]
    values: dict[str, Float[Array, "*batch"]]


def mean_over_crops(
    values: Float[AnyArray, "*batch P K"], crop_mask: Float[AnyArray, "*batch P"] | None = None
) -> Float[Array, "*batch K"]:
    """Mean over the crops whose mask is 1; over all of them without a mask."""
    if crop_mask is None:
        return values.mean(-2)
    crop_mask = crop_mask.astype(values.dtype)
    return einsum("...pk,...p->...k", values, crop_mask) / crop_mask.sum(-1, keepdims=True)


def predict_from_logits(logits: Float[AnyArray, "*batch K"], tasks: TaskSet) -> Prediction:
    """Joint distribution, marginals and expectations for logits that are already averaged."""
    logits = jnp.asarray(logits)
    joint = jax.nn.softmax(logits, axis=-1).reshape(*logits.shape[:-1], *tasks.shape)
    axes = range(logits.ndim - 1, joint.ndim)  # one of each attribute
    marginals = {
        attribute.name: joint.sum(tuple(other for other in axes if other != axis))
        for attribute, axis in zip(tasks.attributes, axes, strict=True)
    }
    values = {
        a.name: matmul(marginals[a.name], jnp.asarray(a.values, jnp.float32))
        for a in tasks.attributes
        if a.values is not None
    }
    return Prediction(logits, joint, marginals, values)
