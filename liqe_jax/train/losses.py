"""The losses, and how they are named: functions of predictions and labels.

LIQE's three are fidelity between probabilities, for pairs, labels and sets of labels. Fidelity of Bernoulli
distributions p and g is sqrt(p g) + sqrt((1 - p)(1 - g)); the loss is one minus it (Tsai et al., SIGIR 2007, for
ranking; zwx8981/LIQE, MNL_Loss.py). Letters: N images of a batch, S scenes, T distortions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.products import AnyArray
from liqe_jax.errors import UsageError
from liqe_jax.imports import find_object, is_import_path
from liqe_jax.model.head import Prediction
from liqe_jax.tasks import TaskSet

# Under every root, where the derivative would otherwise be infinite (MNL_Loss.py:7).
EPSILON = 1e-8


def _fidelity_loss(p: Float[Array, "*shape"], g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # A marginal is a sum, which rounding can take above 1; the reference then has the root of a negative number, NaN.
    rest = jnp.where(p > 1, 0, 1 - p)
    return 1 - jnp.sqrt(p * g + EPSILON) - jnp.sqrt(rest * (1 - g) + EPSILON)


def pairwise_fidelity_loss(
    quality: Float[AnyArray, " N"],
    mos: Float[AnyArray, " N"],
    group: Int[AnyArray, " N"],
    groups: int,
    sigma: float = 1.0,
    weight: Float[AnyArray, " N"] | None = None,
) -> Float[Array, ""]:
    """How often predicted and true order disagree, within each group of images, averaged over the groups.

    For a pair i < j, p = Phi((q_i - q_j) / sigma) is the predicted probability that image i is the better one, and g is
    1, 1/2 or 0 by the order of their MOS. Every group counts alike, however many pairs it has. A group with fewer than
    two images has no pairs and is left out; the reference gets NaN there (MNL_Loss.py:137-159).

    Args:
      quality, mos: predictions on any common scale, and MOS, higher is better.
      group, groups: the group of each image, 0 to groups - 1, and their number, which is static. A group is a data set,
        or the copies of one photograph.
      sigma: standard deviation of the difference of two ratings: 1 in LIQE's code (MNL_Loss.py:154), the
        square root of 2 in UNIQUE, where every rating has variance 1.
      weight: of each group in the average, given for each of its images; None: all alike.
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

    `target` is any distribution, such as a one-hot one, and all zero for an image without a label.
    """
    target = jnp.asarray(target)
    return _mean_over_labelled(1 - jnp.sqrt(jnp.asarray(p) * target + EPSILON).sum(-1), target, weight)


def scene_fidelity_loss(
    p: Float[AnyArray, "N S"], target: Float[AnyArray, "N S"], weight: Float[AnyArray, " N"] | None = None
) -> Float[Array, ""]:
    """Mean of one binary fidelity per scene, since a photograph can have several.

    `target` is 1 for every scene that the photograph has, else 0; all zero without a label.
    """
    target = jnp.asarray(target)
    return _mean_over_labelled(_fidelity_loss(jnp.asarray(p), target).mean(-1), target, weight)


def mos_squared_loss(
    quality: Float[AnyArray, " N"], mos: Float[AnyArray, " N"], weight: Float[AnyArray, " N"] | None = None
) -> Float[Array, ""]:
    """Mean squared difference, for MOS on the scale of `quality` (`config.data.mos_scale`); not in the paper."""
    squares = jnp.square(jnp.asarray(quality) - mos)
    return squares.mean() if weight is None else (squares * weight).sum() / jnp.maximum(jnp.sum(weight), EPSILON)


class Labels(NamedTuple):
    """What is known of N images; a pytree.

    Attributes:
      mos: MOS, higher is better, each data set on its own scale.
      group: equal for images that form pairs: those of a data set, or its copies of one photograph.
      distortion: one-hot over the categories; all zero where unknown.
      scenes: 1 for every scene that the photograph has; all zero where unknown.
      weight: of each image in the losses, the same for all images of a data set, or a column for each loss; None: 1
        for all. A loss gets its own column (`for_loss`).
    """

    mos: Float[AnyArray, " N"]
    group: Int[AnyArray, " N"]
    distortion: Float[AnyArray, "N T"]
    scenes: Float[AnyArray, "N S"]
    weight: Float[AnyArray, " N"] | Float[AnyArray, "N losses"] | None = None


def for_loss(labels: Labels, place: int) -> Labels:
    """The labels with the weights of the loss at a place of the training run's."""
    if labels.weight is None or labels.weight.ndim == 1:
        return labels
    return labels._replace(weight=labels.weight[:, place])


# (prediction, labels, number of groups) -> loss
Loss = Callable[[Prediction, Labels, int], Float[Array, ""]]

# LIQE's three (the paper's equations 5 to 9), and one that ties the score to its scale.
LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "quality": lambda p, y, groups: pairwise_fidelity_loss(
            p.values["quality"], y.mos, y.group, groups, weight=y.weight
        ),
        "scene": lambda p, y, _: scene_fidelity_loss(p.marginals["scene"], y.scenes, y.weight),
        "distortion": lambda p, y, _: distortion_fidelity_loss(p.marginals["distortion"], y.distortion, y.weight),
        "mos": lambda p, y, _: mos_squared_loss(p.values["quality"], y.mos, y.weight),
    }
)

# The attribute that each is about.
ABOUT: Mapping[str, str] = MappingProxyType({**{name: name for name in LOSSES}, "mos": "quality"})


def losses_of(tasks: TaskSet) -> dict[str, Loss]:
    """LIQE's loss for each attribute of a task set, in its order; raises UsageError where LIQE has none."""
    names = [attribute.name for attribute in tasks.attributes]
    unknown = [name for name in names if name not in ("quality", "scene", "distortion")]
    if unknown:
        raise UsageError(
            f"LIQE has no loss for {', '.join(unknown)}. Name losses of your own in config.losses: functions of "
            "(Prediction, Labels, number of data sets), as module:function."
        )
    return {name: LOSSES[name] for name in names}


def named_losses(names: Sequence[str], tasks: TaskSet) -> dict[str, Loss]:
    """The losses with these names, keys of `LOSSES` or import paths of a `Loss`; without names, `losses_of` the tasks.

    Raises UsageError if there is no such loss, or it takes other arguments. `checks.check_run` compares them with the
    tasks.
    """
    if not names:
        return losses_of(tasks)
    own = "a function of (prediction, labels, number of data sets) that returns a scalar"
    losses: dict[str, Loss] = {}
    for name in names:
        loss = losses[name.rpartition(":")[2]] = find_object(name, "config.losses", LOSSES, own)
        if is_import_path(name):
            try:
                inspect.signature(loss).bind(None, None, 1)
            except (TypeError, ValueError) as error:
                raise UsageError(f"config.losses: {name} must be {own} ({error}).") from error
    if len(losses) != len(names):
        raise UsageError(f"Losses need different names; config.losses is {tuple(names)}.")
    return losses
