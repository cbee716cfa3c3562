"""A loss and an attribute of your own: appeal, trained by its correlation with opinion scores.

    python train.py --config=configs/smoke.py --workdir=runs/appeal \
        --config.tasks=examples/own_loss.py:TASKS \
        --config.losses="('quality','examples/own_loss.py:plcc')"
    liqe score samples --model runs/appeal/last

The model folder holds the task set, so that scoring needs no import path.
"""

import jax.numpy as jnp

from liqe_jax import Attribute, TaskSet
from liqe_jax.taxonomy import QUALITY

# Labels with values have an expectation, as quality has: `prediction.values["appeal"]`.
APPEAL = Attribute("appeal", ("boring", "pleasant", "beautiful"), values=(1, 2, 3))
TASKS = TaskSet("quality_appeal", (QUALITY, APPEAL), "a {appeal} photo of {quality} quality")


def plcc(prediction, labels, groups):
    """1 - Pearson's correlation of appeal and MOS within each group, averaged over the groups of the batch.

    Args:
      prediction: `liqe_jax.model.head.Prediction` of N images.
      labels: `liqe_jax.train.losses.Labels` of the same images; `labels.group` is the group of each.
      groups: number of groups, which are data sets unless `config.data.pairs` says otherwise.
    """
    member = (labels.group == jnp.arange(groups)[:, None]).astype(jnp.float32)  # [groups, N]
    count = jnp.maximum(member.sum(1, keepdims=True), 1)

    def centred(values):
        return (values - (member * values).sum(1, keepdims=True) / count) * member

    appeal, mos = centred(prediction.values["appeal"]), centred(labels.mos)
    # The small number keeps the gradient finite where all values of a data set are the same.
    norms = jnp.sqrt((appeal**2).sum(1) * (mos**2).sum(1) + 1e-8)
    return 1 - ((appeal * mos).sum(1) / norms).mean()
