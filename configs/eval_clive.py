"""CLIVE alone, LIQE's ten sessions: the first set that anyone can get without asking.

python eval.py --config=configs/eval_clive.py --weights='runs/nano-{session}/last' --workdir=runs/nano-eval
"""

from ml_collections import ConfigDict

from liqe_jax.evaluate.settings import default_eval_config


def get_config() -> ConfigDict:
    """The test parts of ten sessions."""
    config = default_eval_config()
    config.sets = ("CLIVE",)
    config.official = ()
    config.whole = ()
    # The recipe of liqe_nano also trains on synthetic copies of other photographs, of which no provenance can know.
    config.trained_on = (("CLIVE", "session {session}"),)
    return config
