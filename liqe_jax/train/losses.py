"""LIQE's three losses: fidelity between probabilities, for pairs, labels and sets of labels.

Fidelity of Bernoulli distributions p and g is sqrt(p g) + sqrt((1 - p)(1 - g)); the loss is one
minus it (Tsai et al., SIGIR 2007, for ranking; zwx8981/LIQE, MNL_Loss.py). Letters: N images
of a batch, S scenes, T distortions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.products import AnyArray

# Under every root, where the derivative would otherwise be infinite (MNL_Loss.py:7).
EPSILON = 1e-8


def _fidelity_loss(p: Float[Array, "*shape"], g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return 1 - jnp.sqrt(p * g + EPSILON) - jnp.sqrt((1 - p) * (1 - g) + EPSILON)


def pairwise_fidelity_loss(
    quality: Float[AnyArray, " N"],
    mos: Float[AnyArray, " N"],
    group: Int[AnyArray, " N"],
    groups: int,
    sigma: float = 1.0,
    weight: Float[AnyArray, " N"] | None = None,
) -> Float[Array, ""]:
    """How often predicted and true order disagree, within each data set, averaged over the sets.

    For a pair i < j, p = Phi((q_i - q_j) / sigma) is the predicted probability that image i is the better
    one, and g is 1, 1/2 or 0 by the order of their MOS. Every data set counts alike,
    however many pairs it has. A set with fewer than two images has no pairs and is left out; the
    reference gets NaN there (MNL_Loss.py:137-159).

    Args:
      quality: predictions, on any common scale.
      mos: MOS, higher is better; compared within a group only.
      group: the data set of each image, 0 to groups - 1.
      groups: number of data sets; static.
      sigma: standard deviation of the difference of two ratings: 1 in LIQE's code (MNL_Loss.py:154), the
        square root of 2 in UNIQUE, where every rating has variance 1.
      weight: of each data set in the average, given for each of its images; None: all alike.
    """
    p = jax.scipy.stats.norm.cdf((jnp.asarray(quality)[:, None] - jnp.asarray(quality)[None]) / sigma)
    mos, group = jnp.asarray(mos), jnp.asarray(group)
    g = (jnp.sign(mos[:, None] - mos[None]) + 1) / 2
    counts_NxN = (group[:, None] == group[None]) & jnp.triu(jnp.ones(p.shape, bool), k=1)
    loss_N = jnp.where(counts_NxN, _fidelity_loss(p, g), 0).sum(1)
    pairs_N = counts_NxN.sum(1)
    loss = jax.ops.segment_sum(loss_N, group, groups)
    pairs = jax.ops.segment_sum(pairs_N, group, groups)
    means = loss / jnp.maximum(pairs, 1)
    if weight is None:
        return means.sum() / jnp.maximum((pairs > 0).sum(), 1)
    weights = jnp.where(pairs > 0, jax.ops.segment_max(jnp.asarray(weight), group, groups), 0)
    return (means * weights).sum() / jnp.maximum(weights.sum(), EPSILON)


def _mean_over_labelled(
    loss_N: Float[Array, " N"], target: Float[Array, "N C"], weight: Float[AnyArray, " N"] | None
) -> Float[Array, ""]:
    """Mean over the images whose target is not all zero, by weight; 0 where there is none."""
    labelled_N = target.sum(-1) > 0
    if weight is None:
        return jnp.where(labelled_N, loss_N, 0).sum() / jnp.maximum(labelled_N.sum(), 1)
    weight_N = jnp.where(labelled_N, weight, 0)
    return (loss_N * weight_N).sum() / jnp.maximum(weight_N.sum(), EPSILON)


def distortion_fidelity_loss(
    p: Float[AnyArray, "N T"], target: Float[AnyArray, "N T"], weight: Float[AnyArray, " N"] | None = None
) -> Float[Array, ""]:
    """1 - sum sqrt(p g): fidelity of two distributions over distortions, mean over labelled images.

    Args:
      p: predicted distribution.
      target: one-hot, or any distribution; all zero for an image without a label.
    """
    target = jnp.asarray(target)
    return _mean_over_labelled(1 - jnp.sqrt(jnp.asarray(p) * target + EPSILON).sum(-1), target, weight)


def scene_fidelity_loss(
    p: Float[AnyArray, "N S"], target: Float[AnyArray, "N S"], weight: Float[AnyArray, " N"] | None = None
) -> Float[Array, ""]:
    """Mean of one binary fidelity per scene, since a photograph can have several.

    Args:
      p: predicted distribution over scenes.
      target: 1 for every scene that the photograph has, else 0; all zero without a label.
    """
    target = jnp.asarray(target)
    return _mean_over_labelled(_fidelity_loss(jnp.asarray(p), target).mean(-1), target, weight)


def mos_squared_loss(
    quality: Float[AnyArray, " N"], mos: Float[AnyArray, " N"], weight: Float[AnyArray, " N"] | None = None
) -> Float[Array, ""]:
    """Mean squared difference, for MOS on the scale of `quality`. Not the paper's: it gives scores a meaning.

    Args:
      quality: predictions.
      mos: mean opinion scores (`config.data.mos_scale`).
      weight: of each image in the mean; None: all alike.
    """
    squares = jnp.square(jnp.asarray(quality) - mos)
    return squares.mean() if weight is None else (squares * weight).sum() / jnp.maximum(jnp.sum(weight), EPSILON)
