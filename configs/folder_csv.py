"""Fine-tune on your own photographs: a folder with a CSV of image, mos and, if known, distortion and scenes.

    liqe data prepare folder_csv --manual-dir MY_FOLDER --data-dir DATA
    python train.py --config=configs/folder_csv.py --workdir=runs/mine --config.data.folder=DATA \
      --config.init=liqe_mix

Needs: a prepared folder_csv set with a column `split` (train, val, test), and a model to start from.
Hardware and time: 16 images per step; a few hundred steps are a good start for a few hundred photographs.
Expected: depends on your photographs. Quality alone is trained, with a clean cosine; with labels of
scenes and distortions set --config.tasks=joint.
Verified here: a run on a small generated folder, from the command line (tests/test_train_run.py uses the
same loop).
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "liqe_folder"
    config.init = "liqe_mix"
    config.tasks = "quality"
    config.weighting = "equal"
    config.data.sets = (("folder_csv", 16),)
    config.data.split = "split"
    config.epochs = 10
    config.steps_per_epoch = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 20
    config.checkpoint.every_steps = 50
    return config
