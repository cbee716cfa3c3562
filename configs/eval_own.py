"""A data set of your own.

    liqe data prepare folder_csv --manual-dir MY_FOLDER --data-dir data --name my_photos
    python eval.py --config=configs/eval_own.py --config.set=my_photos --weights=liqe_nano --workdir=runs/own

That evaluates all images with a score; `--config.split=test` evaluates those whose column `split` is test.
"""

from ml_collections import ConfigDict

from liqe_jax.evaluate.settings import default_eval_config


def get_config() -> ConfigDict:
    """The evaluation of one set."""
    config = default_eval_config()
    config.set = "folder_csv"
    config.split = "all"
    return config
