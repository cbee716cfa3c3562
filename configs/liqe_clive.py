"""LIQE on CLIVE alone, the set of the six that anyone can get without asking: LIQE's ten sessions, any encoder.

    python train.py --config=configs/liqe_clive.py --workdir='runs/clive-{session}'
    python eval.py --config=configs/eval_clive.py --weights='runs/clive-{session}/best_quality' --workdir=runs/eval

Needs: CLIVE, prepared with LIQE's label files, and openai/clip-vit-base-patch32 (or --config.init=FOLDER of a CLIP,
SigLIP or SigLIP 2 model). Both commands continue where they were interrupted.
Hardware and time: 12 epochs of 51 steps of 16 images; `python benchmarks/training.py --full` measures a step on your
machine.
Expected: the paper's models, trained on all six sets, have SRCC .904 on CLIVE. There is no published result of training
on CLIVE alone.
Verified here: three steps and a validation on the real photographs, with a small random model. The whole run was not
made, since CLIP's weights cannot be shipped.
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config(session: str = "1") -> ConfigDict:
    """The run for one session; with {session} in --workdir, all ten."""
    config = default_config()
    config.name = "liqe_clive"
    config.data.sets = (("CLIVE", 16),)
    config.data.split = session or "1"
    config.epochs = 12
    config.steps_per_epoch = 51
    config.checkpoint.every_steps = 51
    return config
