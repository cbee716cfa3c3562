"""What is refused before the first step where losses and data sets are known; `settings.check_config` comes before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import UsageError
from liqe_jax.tasks import Attribute, TaskSet
from liqe_jax.taxonomy import DISTORTION, SCENE
from liqe_jax.train.losses import ABOUT, LOSSES
from liqe_jax.train.optimizers import OPTIMIZERS
from liqe_jax.train.plan import Plan
from liqe_jax.train.sources import HeldOut

# Attributes whose labels data sets have; they are numbered as in the taxonomy.
LABELLED = (SCENE, DISTORTION)


def check_run(config: ConfigDict, plan: Plan, sets: Sequence[LabelledSet], validated: HeldOut) -> None:
    """Refuses losses that do not fit the task set, the data or the settings; losses of your own are not checked.

    Raises UsageError, which says which loss and what to do, and DataError if an image to train on has no MOS.
    """
    if config.shard_optimizer and config.optimizer.name not in OPTIMIZERS:
        raise UsageError(
            f"config.shard_optimizer cuts arrays into parts, and {config.optimizer.name} may need whole ones. "
            f"Set it to False, or config.optimizer.name to one of {', '.join(OPTIMIZERS)}."
        )
    ready = [name for name, loss in plan.losses.items() if loss is LOSSES.get(name)]
    check_loss_weights(config, plan)
    set_weights(config, plan)
    _check_attributes(ready, plan.tasks)
    if validated and not plan.tasks.has_quality:
        raise UsageError(
            f"Validation compares MOS with `quality`; task set {plan.tasks.name!r} has no attribute of that "
            "name with values. Add one, or do without: config.data.validate = ('none',)."
        )
    split, learnt = config.data.split, {"quality"}  # what training images have labels of
    for dataset in sets:
        indices = dataset.indices(split if split in dataset.splits else "all", "train")
        dataset.check_mos(indices)
        if np.asarray(dataset.scenes)[indices].any():
            learnt.add("scene")
        if (np.asarray(dataset.distortion)[indices] >= 0).any():
            learnt.add("distortion")
    counted = [name for name in ready if _counts(name, config, plan)]
    for name in counted:
        if ABOUT[name] not in learnt:
            raise UsageError(
                f"The loss {name!r} has nothing to learn from: no training image of {', '.join(s.name for s in sets)} "
                f"has a label of its {ABOUT[name]}. Prepare a set with such labels, leave the loss out "
                "(config.losses), or choose a task set without it (config.tasks)."
            )
    most = max(count for _, count in config.data.sets)
    if "quality" in counted and most < 2:
        raise UsageError(
            "The loss 'quality' compares images of one data set, and no set of config.data.sets has two in a step: "
            f"{tuple(map(tuple, config.data.sets))}. Give at least one of them 2 or more."
        )


def check_loss_weights(config: ConfigDict, plan: Plan) -> None:
    """Raises UsageError for factors of losses that are not one for each, or that a learned weighting would replace."""
    factors = tuple(config.loss_weights)
    if factors and plan.weighting.learned:
        raise UsageError(
            f"config.loss_weights is {factors}, but the weighting {config.weighting!r} finds its own weights. Leave "
            "them out, or set config.weighting to equal or dwa."
        )
    if factors and len(factors) != len(plan.losses):
        raise UsageError(
            f"config.loss_weights holds a factor for each loss, here {', '.join(plan.losses)}; got {factors}. Give "
            f"{len(plan.losses)}, in that order."
        )


def set_weights(config: ConfigDict, plan: Plan) -> Float[np.ndarray, "sets losses"] | None:
    """The weight of each data set in each loss, None where all are 1.

    Raises UsageError for an entry of `config.data.weights` that is neither a number nor one number for each loss.
    """
    rows = [(entry,) * len(plan.losses) if np.ndim(entry) == 0 else tuple(entry) for entry in config.data.weights]
    for row in rows:
        if len(row) != len(plan.losses) or not all(isinstance(one, int | float) and one >= 0 for one in row):
            raise UsageError(
                f"config.data.weights holds for each data set a number of at least 0, or one for each loss, here "
                f"{', '.join(plan.losses)}; got {row}."
            )
    return np.asarray(rows, np.float32) if rows else None


def has_known_labels(attribute: Attribute) -> bool:
    """Whether data sets' labels of scenes or distortions are this attribute's."""
    return any((attribute.name, attribute.labels) == (known.name, known.labels) for known in LABELLED)


def _counts(name: str, config: ConfigDict, plan: Plan) -> bool:
    """Whether a loss has any weight."""
    factors = dict(zip(plan.losses, config.loss_weights or [1.0] * len(plan.losses), strict=True))
    return factors[name] != 0 and (config.weighting not in plan.losses or config.weighting == name)


def _check_attributes(ready: Sequence[str], tasks: TaskSet) -> None:
    attributes = {attribute.name: attribute for attribute in tasks.attributes}
    known = {attribute.name: attribute for attribute in LABELLED}
    for name in ready:
        about = ABOUT[name]
        if about not in attributes:
            raise UsageError(
                f"The loss {name!r} is about {about!r}, and task set {tasks.name!r} has {', '.join(attributes)}. Leave "
                "it out (config.losses), or choose another task set."
            )
        if about == "quality" and not tasks.has_quality:
            raise UsageError(
                f"The loss {name!r} needs the values of the labels of `quality`; task set {tasks.name!r} has none. "
                "Give the attribute a number for each label."
            )
        if about in known and not has_known_labels(attributes[about]):
            raise UsageError(
                f"The loss {name!r} takes data sets' labels, which are {', '.join(known[about].labels)} in this order; "
                f"`{about}` of task set {tasks.name!r} has {', '.join(attributes[about].labels)}. Use those labels, or "
                "give the attribute another name and a loss of your own."
            )
