"""A data set of your own.

    liqe data prepare folder_csv --manual-dir MY_FOLDER --data-dir data --name my_photos
    python eval.py --config=configs/eval_own.py:my_photos --weights=liqe_nano --workdir=runs/own

That evaluates all images with a score. `eval_own.py:my_photos,test` evaluates those whose column `split` is test.
"""

from ml_collections import ConfigDict

from liqe_jax.evaluate.settings import default_eval_config


def get_config(argument: str = "folder_csv") -> ConfigDict:
    """The evaluation of "SET" or "SET,SPLIT"."""
    name, _, split = argument.partition(",")
    config = default_eval_config()
    config.sets = ()
    config.official = ((name, "own"),) if split else ()
    config.whole = () if split else (name,)
    config.split = split or "test"
    return config
