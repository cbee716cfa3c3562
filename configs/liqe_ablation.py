"""The paper's ablations: fewer tasks, or another way to weigh them.

    python train.py --config=configs/liqe_ablation.py:quality_scene --workdir=runs/qs
    python train.py --config=configs/liqe_ablation.py:quality_distortion --workdir=runs/qd
    python train.py --config=configs/liqe_ablation.py:quality --workdir=runs/q
    python train.py --config=configs/liqe_ablation.py:joint,equal --workdir=runs/equal

The argument is a task set and, after a comma, a weighting: equal, dwa, uncertainty, gradnorm, cosine, or
the name of a loss to train for it alone. `quality_distortion` trains with the distortion loss; the
reference called the scene loss there by mistake (train_unique_clip_weight.py:283).

Needs, hardware and time: as liqe_mix.
Expected: no figures are published per ablation that this project could verify.
Verified here: each task set's steps equal the reference's with the intended losses (parity tests); each
weighting's rule has a test of its own (tests/test_train_step.py).
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config(argument: str = "quality_scene") -> ConfigDict:
    """The run for "TASKS" or "TASKS,WEIGHTING"."""
    tasks, _, weighting = argument.partition(",")
    config = default_config()
    config.tasks = tasks
    config.weighting = weighting or "dwa"
    config.name = f"liqe_{tasks}_{config.weighting}"
    return config
