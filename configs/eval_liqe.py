"""The tests of the paper and of the public leaderboard, for one model or for ten.

    python eval.py --config=configs/eval_liqe.py --weights=liqe_mix --workdir=runs/eval --config.data.folder=DATA
    python eval.py --config=configs/eval_liqe.py --weights='runs/mix_{session}/best_quality' --workdir=runs/eval_ten \
      --config.data.folder=DATA
    python eval.py --config=configs/eval_liqe.py --workdir=runs/eval --config.from_predictions   # tables again

Needs: LIVE, CSIQ, KADID-10k, BID, CLIVE, KonIQ-10k, TID2013, SPAQ, PIPAL, AGIQA-3K, FLIVE, prepared (`liqe data
list`); with --config.missing=skip, those that are there. A trial on generated pictures needs nothing:
--config.sets="('generated',)" --config.sessions="('1',)" --config.official="()" --config.whole="('generated-2',)".
Hardware and time: about 110,000 images, each predicted once per model; `python benchmarks/evaluation.py` measures
images/s on your machine. `liqe_mix` is one session's model: sessions 2 to 10 contain its training images and are
marked, not averaged.
Expected: SRCC LIVE .970, CSIQ .936, KADID-10k .930, BID .875, CLIVE .904, KonIQ-10k .919 with ten models, as later
papers quote the authors; printed beside what is measured.
Verified here: every table cell against models of known answers, resuming, any number of devices and hosts
(tests/test_evaluate_*.py), on generated pictures. Not verified: any figure on the real data sets or weights, which
cannot be shipped.
"""

from ml_collections import ConfigDict

from liqe_jax.evaluate.settings import default_eval_config


def get_config() -> ConfigDict:
    """The whole evaluation."""
    return default_eval_config()
