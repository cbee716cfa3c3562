"""Quality alone, on KonIQ-10k's official split.

    python train.py --config=configs/liqe_koniq.py --workdir=runs/koniq --config.data.folder=DATA

Needs: KonIQ-10k, prepared with its official split, and openai/clip-vit-base-patch32.
Hardware and time: as liqe_mix, a third of the images per step.
Expected: the leaderboard lists SRCC 0.928 on the official test part for LIQE; not reproduced here.
Verified here: the quality-only step equals the reference's (trajectory "3" of the parity tests).
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "liqe_koniq"
    config.tasks = "quality"
    config.weighting = "equal"
    config.data.sets = (("KonIQ-10k", 16),)
    config.data.split = "official"
    return config
