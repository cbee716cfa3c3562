"""What is trained for: a few named terms, each a function of predictions and labels.

Letters: N images of the whole batch, K terms. To train for something else, pass terms of your
own to `Plan`; a term is any function of a `Prediction` and `Labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from liqe_jax.errors import UsageError
from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.head import Prediction
from liqe_jax.tasks import TaskSet
from liqe_jax.train.losses import (
    distortion_fidelity_loss,
    label_cross_entropy,
    opinion_squared_loss,
    pairwise_fidelity_loss,
    scene_fidelity_loss,
)


class Labels(NamedTuple):
    """What is known of N images; a pytree.

    Attributes:
      mos: opinion scores, higher is better, each data set on its own scale.
      group: the data set of each image; pairs are formed within one only.
      distortion: one-hot over the categories; all zero where unknown.
      scenes: 1 for every scene that the photograph has; all zero where unknown.
    """

    mos: Float[AnyArray, " N"]
    group: Int[AnyArray, " N"]
    distortion: Float[AnyArray, "N T"]
    scenes: Float[AnyArray, "N S"]


# A few photographs show few scenes; whoever learns them by heart must not be sure of others' scenes.
SCENE_SMOOTHING = 0.3


def smooth_scenes(scenes: Float[AnyArray, "N S"]) -> Float[Array, "N S"]:
    """A distribution: scenes that are there share 1 - `SCENE_SMOOTHING`, all scenes the rest; 0 where unknown."""
    there = jnp.asarray(scenes)
    count = there.sum(-1, keepdims=True)
    uniform = SCENE_SMOOTHING / there.shape[-1] * (count > 0)
    return (1 - SCENE_SMOOTHING) * there / jnp.maximum(count, 1) + uniform


# (prediction, labels, number of data sets) -> loss
Term = Callable[[Prediction, Labels, int], Float[Array, ""]]

# LIQE's three (the paper's equations 5 to 9), and three that help a model that starts from nothing.
TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "quality": lambda p, y, groups: pairwise_fidelity_loss(p.values["quality"], y.mos, y.group, groups),
        "scene": lambda p, y, _: scene_fidelity_loss(p.marginals["scene"], y.scenes),
        "distortion": lambda p, y, _: distortion_fidelity_loss(p.marginals["distortion"], y.distortion),
        "opinion": lambda p, y, _: opinion_squared_loss(p.values["quality"], y.mos),
        "distortion_entropy": lambda p, y, _: label_cross_entropy(p.marginals["distortion"], y.distortion),
        "scene_entropy": lambda p, y, _: label_cross_entropy(p.marginals["scene"], smooth_scenes(y.scenes)),
    }
)

# The attribute that each is about.
ABOUT: Mapping[str, str] = MappingProxyType(
    {name: "quality" if name == "opinion" else name.removesuffix("_entropy") for name in TERMS}
)


def terms_of(tasks: TaskSet) -> dict[str, Term]:
    """LIQE's loss for each attribute of a task set, in the order of the attributes.

    Raises:
      UsageError: an attribute that LIQE has no loss for.
    """
    names = [attribute.name for attribute in tasks.attributes]
    unknown = [name for name in names if name not in ("quality", "scene", "distortion")]
    if unknown:
        raise UsageError(
            f"There is no ready loss for {', '.join(unknown)}. Give the plan terms of your own: functions of "
            "(Prediction, Labels, number of data sets)."
        )
    return {name: TERMS[name] for name in names}


def named_terms(names: tuple[str, ...], tasks: TaskSet) -> dict[str, Term]:
    """The terms with these names; without names, those of the task set.

    Raises:
      UsageError: no such term, or one about an attribute that the task set lacks.
    """
    if not names:
        return terms_of(tasks)
    attributes = {attribute.name for attribute in tasks.attributes}
    for name in names:
        if name not in TERMS or ABOUT[name] not in attributes:
            raise UsageError(
                f"No loss {name!r} for the attributes {', '.join(sorted(attributes))}; known are {', '.join(TERMS)}."
            )
    return {name: TERMS[name] for name in names}
