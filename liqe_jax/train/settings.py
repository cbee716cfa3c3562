"""Every setting of a training run, with its default: LIQE's own."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from liqe_jax.data.reading.sampling import PAIRS
from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import CROP_COUNT, PRESETS

# Images of each data set per step (train_unique_clip_weight.py:730-800).
LIQE_SETS = (("LIVE", 4), ("CSIQ", 4), ("BID", 4), ("CLIVE", 4), ("KonIQ-10k", 16), ("KADID-10k", 16))

# Settings whose lowest value is 1; other numbers are at least 0, which stands for "none" or "all" where that may be.
FROM_1 = frozenset(
    (
        "epochs",
        "steps_per_epoch",
        "micro_batches",
        "validate_every_epochs",
        "validation_batch",
        "validation_crops",
        "log_every_steps",
        "checkpoint.every_steps",
        "checkpoint.keep",
        "data.crops",
    )
)


def default_config() -> ConfigDict:
    """LIQE as the paper trained it, on session 1; locked, so that a misspelt key is an error."""
    config = ConfigDict(
        {
            "name": "liqe",  # in provenance and tables
            "notes": (),  # sentences for the users of the model, kept in its provenance
            "licence": "",  # of the trained weights; "" takes that of the starting ones
            "preprocess": "",  # preset of validation, and of the exported models; "" takes that of the starting one
            "seed": 20200626,  # train_unique_clip_weight.py:65
            "init": "openai/clip-vit-base-patch32",  # anything that liqe_jax.load reads; or "random"
            "encoder": "clip",  # of a random start; or your own, as module:Class or file.py:Class
            "architecture": {  # of a random start, as the encoder takes it; the ViT-B/32 by default
                "image_size": 224,
                "patch_size": 32,
                "projection_dim": 512,
                "vision": {"width": 768, "layers": 12, "heads": 12, "mlp_width": 3072},
                "text": {"width": 512, "layers": 12, "heads": 8, "mlp_width": 2048},
            },
            "image_weights": "",  # of a random start: a file with a pretrained image encoder alone
            "tasks": "joint",  # quality_scene, quality_distortion, quality, module:name; "" takes those of `init`
            "loss_weights": (),  # factors of the losses, in their order; (): 1
            "losses": (),  # names from train.losses.LOSSES, or module:function; () takes LIQE's for the task set
            "data": {
                "folder": "data",  # as given to `liqe data prepare --data-dir`
                "sets": LIQE_SETS,  # (name, images per step)
                "split": "1",  # a session, "official" or "all"
                "validate": (),  # names; () takes the training sets
                "test": (),  # names, or ("none",); () takes the training sets
                "crops": 3,  # per image
                "weights": (),  # of the sets in the losses: numbers, or tuples of a number for each loss; (): 1 each
                "pairs": (),  # of each set, what pairs are formed within: "set" or "photograph"; (): "set"
                "mos_scale": (),  # (lowest, highest): every set's scores are mapped to it; (): as they are
                "frozen_features": False,  # train on what the frozen part of an encoder says, computed once
                "feature_noise": 0.0,  # standard deviation of noise that is added to such features
                "mixup": (),  # of each set, a of the Beta(a, a) by which such features are mixed in pairs; (): none
                "workers": 0,  # decoding threads; 0 leaves it to tf.data
            },
            "epochs": 80,
            "steps_per_epoch": 200,
            "optimizer": {
                "name": "reference",  # PyTorch's AdamW; adamw, lion, sgd, or module:function (train.optimizers)
                "learning_rate": 5e-6,
                "schedule": "reference",  # reference, cosine, constant, or module:function of the step
                "warmup_steps": 0,  # for cosine
                "weight_decay": 1e-3,
                "betas": (0.9, 0.999),
                "epsilon": 1e-8,
                "momentum": 0.9,  # of sgd
                "clip_norm": 0.0,  # 0: none
            },
            "weighting": "dwa",  # equal, dwa, uncertainty, gradnorm, cosine, a loss's name, or module:name
            "temperature": 2.0,  # of dwa
            "freeze": (),  # parameters that are not trained, by the beginning of their names: vision_model, ...
            "train_only": (),  # if not empty, the only parameters that are trained
            "ema_decay": 0.0,  # of the moving average of parameters, which is then what is exported; 0: none
            "dtype": "float32",  # or bfloat16: operands of matrix products
            "remat": False,
            "micro_batches": 1,
            "shard_optimizer": False,  # ZeRO-1: each device keeps and updates a part of the optimizer's state
            "on_nan": "stop",  # or skip
            "checkpoint": {"every_steps": 200, "keep": 3},
            "validate_every_epochs": 1,
            "validation_batch": 8,  # images per device
            "validation_crops": CROP_COUNT,  # per image, at most; fewer where images have room for fewer
            "log_every_steps": 10,
            "devices": 0,  # local devices to use; 0: all
            "mapping": "pmap",  # or shard_map, which saves the hosts of a slice time: docs/training.md
        }
    )
    config.lock()
    return config


def check_config(config: ConfigDict) -> None:
    """Raises UsageError for settings out of range and unknown keys: the key, what it may be and what it was."""
    known = default_config()
    _check(config, known, "")
    choices = {"on_nan": ("stop", "skip"), "dtype": ("float32", "bfloat16"), "preprocess": ("", *PRESETS)}
    choices |= {"mapping": ("pmap", "shard_map")}
    for key, values in choices.items():
        if config[key] not in values:
            named = ", ".join(value or '""' for value in values)
            raise UsageError(f"config.{key} must be one of {named}; got {config[key]!r}.")
    if not config.temperature > 0:
        raise UsageError(f"config.temperature must be above 0; got {config.temperature}.")
    if config.data.weights and len(config.data.weights) != len(config.data.sets):
        raise UsageError(
            f"config.data.weights must have one number for each of config.data.sets; got {config.data.weights} for "
            f"{len(config.data.sets)} sets."
        )
    if config.data.pairs and (len(config.data.pairs) != len(config.data.sets) or not {*config.data.pairs} <= {*PAIRS}):
        raise UsageError(
            f"config.data.pairs must have one of {', '.join(PAIRS)} for each of config.data.sets; got "
            f"{config.data.pairs} for {len(config.data.sets)} sets."
        )
    _check_mixup(config.data)
    if not config.data.sets:
        raise UsageError('config.data.sets is empty; expected pairs such as ("KonIQ-10k", 16).')
    for entry in config.data.sets:
        if len(entry) != 2 or not isinstance(entry[1], int) or entry[1] < 1:
            raise UsageError(f"config.data.sets holds pairs (name, images per step); got {entry!r}.")


def _check(config: ConfigDict, known: ConfigDict, path: str) -> None:
    unknown = [f"{path}{key}" for key in config if key not in known]
    missing = [f"{path}{key}" for key in known if key not in config]
    if unknown or missing:
        raise UsageError(
            f"The configuration has unknown keys {unknown} and lacks {missing}. Start from "
            "liqe_jax.train.settings.default_config() and change its values."
        )
    for key, value in known.items():
        if isinstance(value, ConfigDict) and key != "architecture":  # which the encoder checks
            if not isinstance(config[key], ConfigDict):
                raise UsageError(f"config.{path}{key} must be a group of settings; got {config[key]!r}.")
            _check(config[key], value, f"{path}{key}.")
        lowest = int(f"{path}{key}" in FROM_1)
        if type(value) in (int, float) and not config[key] >= lowest:
            raise UsageError(f"config.{path}{key} must be at least {lowest}; got {config[key]}.")


def _check_mixup(data: ConfigDict) -> None:
    if data.mixup and (
        len(data.mixup) != len(data.sets)
        or not all(isinstance(a, (int, float)) and 0 <= a < math.inf for a in data.mixup)
    ):
        raise UsageError(
            "config.data.mixup must have one number for each of config.data.sets, 0 for none or above 0; got "
            f"{data.mixup} for {len(data.sets)} sets."
        )
    if any(data.mixup) and not data.frozen_features:
        raise UsageError(
            "config.data.mixup mixes features, not crops: it needs config.data.frozen_features=True. Set it to () for "
            "training on crops."
        )
