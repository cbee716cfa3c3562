"""Every setting of a training run, with its default: LIQE's own."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import PATCH_COUNT, PRESETS
from liqe_jax.model.config import CLIPConfig, TowerConfig

# Images of each data set per step (train_unique_clip_weight.py:730-800).
LIQE_SETS = (("LIVE", 4), ("CSIQ", 4), ("BID", 4), ("CLIVE", 4), ("KonIQ-10k", 16), ("KADID-10k", 16))


# Below these a setting makes no sense. 0 stands for "none" or "all" where it is allowed.
LOWEST = MappingProxyType(
    {
        "seed": 0,
        "epochs": 1,
        "steps_per_epoch": 1,
        "micro_batches": 1,
        "validate_every_epochs": 1,
        "validation_batch": 1,
        "validation_patches": 1,
        "log_every_steps": 1,
        "devices": 0,
        "checkpoint.every_steps": 1,
        "checkpoint.keep": 1,
        "data.patches": 1,
        "data.workers": 0,
        "optimizer.learning_rate": 0,
        "optimizer.warmup_steps": 0,
        "optimizer.weight_decay": 0,
        "optimizer.epsilon": 0,
        "optimizer.clip_norm": 0,
    }
)


def default_config() -> ConfigDict:
    """LIQE as the paper trained it, on session 1; locked, so that a misspelt key is an error."""
    config = ConfigDict(
        {
            "name": "liqe",  # in provenance and tables
            "licence": "",  # of the trained weights; "" takes that of the starting ones
            "preprocess": "",  # preset of validation, and of the exported models; "" takes that of the starting one
            "seed": 20200626,  # train_unique_clip_weight.py:65
            "init": "openai/clip-vit-base-patch32",  # anything that liqe_jax.load reads; "random" with architecture
            "architecture": {  # of a random start; the ViT-B/32 by default
                "image_size": 224,
                "patch_size": 32,
                "projection_dim": 512,
                "stem": "pixels",  # or frequencies, for models that start from nothing
                "vision": {"width": 768, "layers": 12, "heads": 12, "mlp_width": 3072},
                "text": {"width": 512, "layers": 12, "heads": 8, "mlp_width": 2048},
            },
            "tasks": "joint",  # or quality_scene, quality_distortion, quality; "" takes those of the model in `init`
            "loss_weights": (),  # factors of the losses, in their order; (): 1
            "losses": (),  # names from train.objective.TERMS; () takes LIQE's for the task set
            "data": {
                "folder": "data",  # as given to `liqe data prepare --data-dir`
                "sets": LIQE_SETS,  # (name, images per step)
                "split": "1",  # a session, "official" or "all"
                "validate": (),  # names; () takes the training sets
                "test": (),  # names, or ("none",); () takes the training sets
                "patches": 3,  # per image
                "stored_stem": False,  # the stem of frequencies from a file, for sets of crops
                "mosaic": 0.0,  # share of such images that are mixed of two photographs (train/squares.py)
                "workers": 0,  # decoding threads; 0 leaves it to tf.data
            },
            "epochs": 80,
            "steps_per_epoch": 200,
            "optimizer": {
                "learning_rate": 5e-6,
                "schedule": "reference",  # reference, cosine, constant
                "warmup_steps": 0,  # for cosine
                "weight_decay": 1e-3,
                "betas": (0.9, 0.999),
                "epsilon": 1e-8,
                "clip_norm": 0.0,  # 0: none
            },
            "weighting": "dwa",  # equal, dwa, uncertainty, gradnorm, cosine, or a loss's name
            "temperature": 2.0,  # of dwa
            "freeze": (),  # vision_model, text_model, ...
            "dtype": "float32",  # or bfloat16: operands of matrix products
            "square_dropout": 0.0,  # share of every patch's squares that a step leaves out (train/dropout.py)
            "remat": False,
            "micro_batches": 1,
            "fp16_round_trip": False,
            "on_nan": "stop",  # or skip
            "checkpoint": {"every_steps": 200, "keep": 3},
            "validate_every_epochs": 1,
            "validation_batch": 8,  # images per device
            "validation_patches": PATCH_COUNT,  # per image, at most; fewer where images have room for fewer
            "log_every_steps": 10,
            "devices": 0,  # local devices to use; 0: all
        }
    )
    config.lock()
    return config


def check_config(config: ConfigDict) -> None:
    """Refuses settings that make no sense, and keys that nobody reads.

    Raises:
      UsageError: names the key, what it may be and what it was.
    """
    known = default_config()
    _check_keys(config, known, "")
    choices = {"on_nan": ("stop", "skip"), "dtype": ("float32", "bfloat16"), "preprocess": ("", *PRESETS)}
    for key, values in choices.items():
        if config[key] not in values:
            named = ", ".join(value or '""' for value in values)
            raise UsageError(f"config.{key} must be one of {named}; got {config[key]!r}.")
    schedules = ("reference", "cosine", "constant")
    if config.optimizer.schedule not in schedules:
        raise UsageError(
            f"config.optimizer.schedule must be one of {', '.join(schedules)}; got {config.optimizer.schedule!r}."
        )
    for key, lowest in LOWEST.items():
        value = functools.reduce(lambda group, name: group[name], key.split("."), config)
        if not value >= lowest:
            raise UsageError(f"config.{key} must be at least {lowest}; got {value}.")
    if not config.temperature > 0:
        raise UsageError(f"config.temperature must be above 0; got {config.temperature}.")
    if not 0 <= config.square_dropout < 1:
        raise UsageError(f"config.square_dropout must be at least 0 and below 1; got {config.square_dropout}.")
    if not 0 <= config.data.mosaic <= 1:
        raise UsageError(f"config.data.mosaic must be from 0 to 1; got {config.data.mosaic}.")
    if not config.data.sets:
        raise UsageError('config.data.sets is empty; expected pairs such as ("KonIQ-10k", 16).')
    for entry in config.data.sets:
        if len(entry) != 2 or not isinstance(entry[1], int) or entry[1] < 1:
            raise UsageError(f"config.data.sets holds pairs (name, images per step); got {entry!r}.")


def _check_keys(config: ConfigDict, known: ConfigDict, path: str) -> None:
    unknown = [f"{path}{key}" for key in config if key not in known]
    missing = [f"{path}{key}" for key in known if key not in config]
    if unknown or missing:
        raise UsageError(
            f"The configuration has unknown keys {unknown} and lacks {missing}. Start from "
            "liqe_jax.train.settings.default_config() and change its values."
        )
    for key, value in known.items():
        if isinstance(value, ConfigDict):
            if not isinstance(config[key], ConfigDict):
                raise UsageError(f"config.{path}{key} must be a group of settings; got {config[key]!r}.")
            _check_keys(config[key], value, f"{path}{key}.")


def architecture(config: ConfigDict, vocab_size: int, eos_token_id: int) -> CLIPConfig:
    """The model that a random start makes."""
    section: dict[str, Any] = config.architecture.to_dict()
    vision, text = (TowerConfig(**section.pop(name)) for name in ("vision", "text"))
    return CLIPConfig(vision=vision, text=text, **section, vocab_size=vocab_size, eos_token_id=eos_token_id)
