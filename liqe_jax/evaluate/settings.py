"""The settings of an evaluation; the defaults reproduce the tests of the paper and the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from liqe_jax.data.labelled import SPLITS
from liqe_jax.data.sets.spec import SESSIONS
from liqe_jax.errors import UsageError
from liqe_jax.evaluate.protocol import SIX_SETS, WHOLE_SETS
from liqe_jax.images.preprocess import PRESETS


def default_eval_config() -> ConfigDict:
    """The default settings, locked: setting an unknown key is an error."""
    config = ConfigDict(
        {
            "name": "",  # name of the model in tables; "" takes it from its provenance
            "data": {"folder": "data"},  # as given to `liqe data prepare --data-dir`
            "set": "",  # one data set in place of `sets`, `official` and `whole`
            "session": "own",  # of `set`, where `split` is not all; that of a column `split` is "own"
            "sets": SIX_SETS,  # evaluated on each session
            "sessions": SESSIONS,
            "split": "test",  # train, val or test; of `set` also all
            "official": (("KonIQ-10k", "official"),),  # (set, session)
            "whole": WHOLE_SETS,
            "whole_models": "first",  # which of ten models predict whole and official sets: first or all
            "missing": "stop",  # if a set is not prepared: stop or skip
            "tasks": "",  # joint, quality, ...; "" takes the tasks of the model
            "trained_on": (),  # (set, "session {session}") pairs, if the provenance does not state them
            "on_seen": "mark",  # results on images that the model has seen: mark or refuse
            "preset": "",  # "" takes the preset of each model
            "dtype": "float32",
            "images_per_device": 0,  # 0: one on a CPU, sixteen elsewhere
            "devices": 0,  # local devices to use; 0: all
            "workers": 0,  # decoding threads; 0: one per core
            "bootstrap": {"resamples": 1000, "confidence": 0.95, "method": "percentile", "seed": 0},
            "against": "",  # workdir of another evaluation to compare with
            "pictures": True,  # scatter plots and confusion matrices
            "from_predictions": False,  # write tables and report again, without model and data
        }
    )
    config.lock()
    return config


def check_eval_config(config: ConfigDict) -> None:
    """Raises UsageError if a key is unknown or missing, or a value is invalid."""
    from liqe_jax.metrics.bootstrap import check_options

    known = default_eval_config()
    for section, expected in ((config, known), (config.get("bootstrap", {}), known.bootstrap)):
        if set(section) != set(expected):
            unknown, lacking = sorted(set(section) - set(expected)), sorted(set(expected) - set(section))
            raise UsageError(
                f"The configuration has unknown keys {unknown} and lacks {lacking}. Start from "
                "liqe_jax.evaluate.settings.default_eval_config() and change its values."
            )
    choices = {
        "split": (*SPLITS, "all") if config.set else SPLITS,
        "whole_models": ("first", "all"),
        "missing": ("stop", "skip"),
        "on_seen": ("mark", "refuse"),
        "preset": ("", *PRESETS),
        "dtype": ("float32", "bfloat16", "int8"),
    }
    for key, values in choices.items():
        if config[key] not in values:
            named = ", ".join(value or '""' for value in values)
            raise UsageError(f"config.{key} must be one of {named}; got {config[key]!r}.")
    try:
        check_options(**config.bootstrap)
    except UsageError as error:
        raise UsageError(f"config.bootstrap: {error}") from error
    for key in ("images_per_device", "devices", "workers"):
        if config[key] < 0:
            raise UsageError(f"config.{key} must be at least 0; got {config[key]}.")
    for key in ("official", "trained_on"):
        if not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in config[key]):
            raise UsageError(f"config.{key} must hold pairs (set, session); got {config[key]!r}.")
    if config.sets and not config.sessions:
        raise UsageError("config.sessions is empty, but config.sets is not; expected sessions such as ('1', '2').")
    if not (config.set or config.sets or config.official or config.whole):
        raise UsageError("Nothing to evaluate: config.set, sets, official and whole are all empty.")
