"""Fine-tune on your own photographs: a folder with a CSV of image, mos, split and, if known, distortion and scenes.

    liqe data prepare folder_csv --manual-dir MY_FOLDER --data-dir DATA
    python train.py --config=configs/folder_csv.py --workdir=runs/mine --config.data.folder=DATA \
      --config.init=liqe_mix
    liqe score MY_FOLDER --model runs/mine/best_quality
    python eval.py --config=configs/eval_own.py --config.set=folder_csv --config.split=test \
      --weights=runs/mine/best_quality --workdir=runs/mine_eval --config.data.folder=DATA

Needs: a prepared folder_csv set with a column `split` (train, val, test), and a model to start from. Without
the column all images are used for training, and the last model is exported instead of the best.
Hardware and time: 16 images per step; a few hundred steps are a good start for a few hundred photographs.
Expected: depends on your photographs. The model keeps its attributes and sentences; quality alone is trained,
with a clean cosine, so what it says of scenes and distortions may drift. With labels of distortions set
--config.losses="('quality','distortion')". A small model needs larger steps than CLIP: for liqe_nano set
--config.optimizer.learning_rate=1e-4.
Verified here: the commands above on small generated folders, with and without the column
(tests/test_own_photographs.py).
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "liqe_folder"
    config.init = "liqe_mix"
    config.tasks = ""
    config.losses = ("quality",)
    config.weighting = "equal"
    config.data.sets = (("folder_csv", 16),)
    config.data.split = "own"
    config.epochs = 10
    config.steps_per_epoch = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 20
    config.checkpoint.every_steps = 50
    return config
