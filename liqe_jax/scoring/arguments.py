"""What callers of the scorer may pass, brought into one form; UsageError says what is wrong with anything else."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image as Pictures

from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import PRESETS, Preset


def preset_of(preprocess: str | Preset) -> Preset:
    """A preset, by its name or as it is."""
    if isinstance(preprocess, Preset):
        return preprocess
    if not isinstance(preprocess, str) or preprocess not in PRESETS:
        raise UsageError(f"preprocess must be one of {', '.join(PRESETS)}, or a Preset; got {preprocess!r}.")
    return PRESETS[preprocess]


def default_device() -> jax.Device:
    """Where JAX puts arrays: `jax_default_device` where it is set, else the first local device."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]  # set where JAX defines its options
    return jax.local_devices(backend=chosen)[0] if chosen is None or isinstance(chosen, str) else chosen


def devices_of(devices: Sequence[jax.Device] | jax.Device | None) -> tuple[jax.Device, ...]:
    """One or several devices; for None that of `jax_default_device` where it is set, else all local ones."""
    if devices is None:
        if jax.config.jax_default_device is None:  # type: ignore[attr-defined]  # set where JAX defines its options
            return tuple(jax.local_devices())
        devices = default_device()
    if isinstance(devices, jax.Device):
        return (devices,)
    if not devices or isinstance(devices, str) or not all(isinstance(device, jax.Device) for device in devices):
        raise UsageError(f"devices must be one or several of jax.devices(); got {devices!r}.")
    return tuple(devices)


def at_least_one(name: str, number: int) -> int:
    """A number that counts something."""
    if not isinstance(number, (int, np.integer)) or number < 1:
        raise UsageError(f"{name} must be a whole number and at least 1; got {number!r}.")
    return int(number)


def refuse_one_image(images: object) -> None:
    """Many images are wanted: iterated over, a path would give its letters, and an array its rows as images."""
    if isinstance(images, (str, bytes, os.PathLike, Pictures.Image)) or getattr(images, "ndim", 1) in (2, 3):
        raise UsageError(
            f"score_many takes many images, such as a list of paths; got one {type(images).__name__}. Use score, "
            "or put it into a list."
        )
