"""Encoders by name. Those of this package are found in a table; anyone else's is named by its user."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from liqe_jax.encoders.base import Encoder
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.imports import load_object

# `model_type` in config.json -> class.
ENCODERS: Mapping[str, str] = {
    "clip": "liqe_jax.encoders.clip:CLIP",
    "efficientnet_lite": "liqe_jax.encoders.efficientnet:EfficientNetLite",
    "siglip": "liqe_jax.encoders.siglip:SigLIP",
    "siglip2": "liqe_jax.encoders.siglip:SigLIP2",
}


def encoder_class(encoder: type[Encoder] | str) -> type[Encoder]:
    """The class that is meant: itself, a name in `ENCODERS`, or `module:Class`; UsageError if it is not an encoder."""
    found = encoder
    if isinstance(encoder, str):
        if encoder not in ENCODERS and ":" not in encoder:
            raise UsageError(
                f"No encoder {encoder!r}. Known are {', '.join(ENCODERS)}; name your own as module:Class or "
                "file.py:Class."
            )
        found = load_object(ENCODERS.get(encoder, encoder), "The encoder")
    if not (inspect.isclass(found) and issubclass(found, Encoder)):
        raise UsageError(f"An encoder is a subclass of liqe_jax.encoders.base.Encoder; got {found!r}.")
    return found


def encoder_of(model_type: str, encoder: type[Encoder] | str | None = None) -> type[Encoder]:
    """The class for the `model_type` of config.json; ModelError where there is none, or the user gives another one.

    A file never makes us import anything: its user has to name that.
    """
    if encoder is not None:
        chosen = encoder_class(encoder)
        if chosen.name != model_type:
            raise ModelError(
                f"config.json says model_type {model_type!r}; expected {chosen.name!r}, the encoder of the weights or "
                "the one that you name. Give the config.json that belongs to the weights."
            )
        return chosen
    if model_type not in ENCODERS:
        raise ModelError(
            f"The model's encoder is {model_type!r}, and liqe_jax has {', '.join(ENCODERS)}. If it is your own, name "
            "its class: encoder=... in Python, --encoder module:Class or file.py:Class on the command line."
        )
    return encoder_class(model_type)


def recognise(names: Iterable[str], model_type: str | None = None) -> tuple[type[Encoder], str] | None:
    """The encoder and the layout of arrays of these names, or None; `model_type` decides where several fit."""
    names = set(names)
    for encoder in map(encoder_class, sorted(ENCODERS, key=lambda name: name != model_type)):
        for layout, table in encoder.layouts.items():
            if table.signature in names:
                return encoder, layout
    return None


def signatures() -> list[str]:
    """A name of each layout that can be recognised, for messages."""
    return [table.signature for encoder in map(encoder_class, ENCODERS) for table in encoder.layouts.values()]
