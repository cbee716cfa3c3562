"""The losses by name, each a function of predictions and labels.

Letters: N images of the whole batch, S scenes, T distortions. To train for something else, name a function of your own
in `config.losses` by its import path, or pass it to `train_and_evaluate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Array, Float, Int

from liqe_jax.encoders.products import AnyArray
from liqe_jax.errors import UsageError
from liqe_jax.imports import is_import_path, load_object
from liqe_jax.model.head import Prediction
from liqe_jax.tasks import TaskSet
from liqe_jax.train.losses import (
    distortion_fidelity_loss,
    mos_squared_loss,
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
      weight: of each image in the losses, the same for all images of a data set; None: 1 for all.
    """

    mos: Float[AnyArray, " N"]
    group: Int[AnyArray, " N"]
    distortion: Float[AnyArray, "N T"]
    scenes: Float[AnyArray, "N S"]
    weight: Float[AnyArray, " N"] | None = None


# (prediction, labels, number of data sets) -> loss
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
ABOUT: Mapping[str, str] = MappingProxyType(
    {"quality": "quality", "scene": "scene", "distortion": "distortion", "mos": "quality"}
)


def losses_of(tasks: TaskSet) -> dict[str, Loss]:
    """LIQE's loss for each attribute of a task set, in the order of the attributes.

    Raises:
      UsageError: an attribute that LIQE has no loss for.
    """
    names = [attribute.name for attribute in tasks.attributes]
    unknown = [name for name in names if name not in ("quality", "scene", "distortion")]
    if unknown:
        raise UsageError(
            f"LIQE has no loss for {', '.join(unknown)}. Name losses of your own in config.losses: functions of "
            "(Prediction, Labels, number of data sets), as module:function."
        )
    return {name: LOSSES[name] for name in names}


def named_losses(names: Sequence[str], tasks: TaskSet) -> dict[str, Loss]:
    """The losses with these names; without names, those of the task set.

    Args:
      names: keys of `LOSSES`, or import paths of functions of (Prediction, Labels, number of data sets).
      tasks: what is predicted.

    Raises:
      UsageError: no such loss, one about an attribute that the task set lacks, or a function that cannot be imported
        or does not take three arguments.
    """
    if not names:
        return losses_of(tasks)
    attributes = {attribute.name for attribute in tasks.attributes}
    losses: dict[str, Loss] = {}
    for name in names:
        if is_import_path(name):
            losses[name.rpartition(":")[2]] = _own_loss(name)
        elif name not in LOSSES or ABOUT[name] not in attributes:
            raise UsageError(
                f"No loss {name!r} for the attributes {', '.join(sorted(attributes))}; known are {', '.join(LOSSES)}, "
                "and your own as module:function or file.py:function."
            )
        else:
            losses[name] = LOSSES[name]
    if len(losses) != len(names):
        raise UsageError(f"Losses need different names; config.losses is {tuple(names)}.")
    return losses


def _own_loss(path: str) -> Loss:
    loss = load_object(path, "config.losses")
    try:
        inspect.signature(loss).bind(None, None, 1)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"config.losses: {path} must be a function of (prediction, labels, number of data sets) that returns a "
            f"scalar ({error})."
        ) from error
    return loss
