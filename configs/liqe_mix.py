"""LIQE as the paper trained it: six data sets together, one of the ten sessions.

    python train.py --config=configs/liqe_mix.py --workdir=runs/mix_1 --config.data.folder=DATA
    for s in 1 2 3 4 5 6 7 8 9 10; do \
      python train.py --config=configs/liqe_mix.py:$s --workdir=runs/mix_$s --config.data.folder=DATA; done

Needs: the six data sets, prepared (`liqe data list`), and openai/clip-vit-base-patch32.
Hardware and time: 80 epochs of 200 steps of 48 images. `python benchmarks/training.py --full` measures
a step on your machine; with its seconds per step t, a run takes 16,000 t plus validation.
Expected: SRCC LIVE .970, CSIQ .936, KADID-10k .930, BID .875, CLIVE .904, KonIQ-10k .919 (medians or means
over ten sessions, as later papers quote the authors; this project has not reproduced them).
Verified here: the steps equal the reference's (tests/test_train_goldens.py); the whole run was not made,
since data and weights cannot be shipped.
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config(session: str = "1") -> ConfigDict:
    """The run for one session."""
    config = default_config()
    config.name = f"liqe_mix_session_{session or 1}"
    config.data.split = session or "1"
    return config
