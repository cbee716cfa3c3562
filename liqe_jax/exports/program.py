"""The function that an export is made of, and its description. Letters: B images, P crops of S x S pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Array, UInt8

import liqe_jax
from liqe_jax.errors import UsageError
from liqe_jax.images.preprocess import Preset
from liqe_jax.model.predict import predict
from liqe_jax.scoring.arguments import preset_of
from liqe_jax.scoring.model import Model
from liqe_jax.tasks import TaskSet

OUTPUTS = ("quality", "marginals", "joint")

INPUT = "crops"

# Names of the axes whose length is free.
IMAGES, CROPS = "images", "crops"


class Program(NamedTuple):
    """A function of crops, uint8 [images, crops, S, S, 3], their shape and type, and the names of its outputs."""

    function: Callable[[UInt8[Array, "B P S S 3"]], tuple[Array, ...]]
    crops: jax.ShapeDtypeStruct
    outputs: tuple[str, ...]


def program_of(model: Model, output: str, batch: int | None) -> Program:
    """The forward pass with its parameters and text features as constants; arguments and UsageError as of `export`."""
    named = outputs_of(model.tasks, output)
    if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
        raise UsageError(f'batch must be a number of images from 1, or None ("dynamic"); got {batch!r}.')
    constants = jax.tree.map(_shortest, (model.params, model.text_features))

    def function(crops: UInt8[Array, "B P S S 3"]) -> tuple[Array, ...]:
        params, text_features = jax.tree.map(_restored, constants)
        found = predict(
            params, crops, text_features, encoder=model.encoder, tasks=model.tasks, dtype=jnp.dtype(model.dtype)
        )
        every = {
            **found.values,
            **{f"{name}_probs": marginal for name, marginal in found.marginals.items()},
            "joint": found.joint,
        }
        return tuple(every[name] for name in named)

    shape = jax_export.symbolic_shape(", ".join(map(str, _shape(model, batch))))
    return Program(function, jax.ShapeDtypeStruct(shape, jnp.uint8), tuple(named))


def _shape(model: Model, batch: int | None) -> list[Any]:
    side = model.encoder.image_size
    free = [IMAGES, CROPS] if batch is None else [batch, preset_of(model.preprocess).count]
    return [*free, side, side, 3]


def outputs_of(tasks: TaskSet, output: str) -> dict[str, list[int]]:
    """Name -> lengths of the axes after that of images; raises UsageError if there is no such output."""
    if output not in OUTPUTS:
        raise UsageError(f"output must be one of {', '.join(OUTPUTS)}; got {output!r}.")
    values: dict[str, list[int]] = {a.name: [] for a in tasks.attributes if a.values is not None}
    if output == "joint":
        return {"joint": list(tasks.shape)}
    if output == "marginals":
        return {**values, **{f"{a.name}_probs": [len(a.labels)] for a in tasks.attributes}}
    if not values:
        raise UsageError(f"No attribute of the task set {tasks.name!r} has values. Export the marginals or the joint.")
    return values


def description(model: Model, output: str, batch: int | None) -> dict[str, Any]:
    """What `export` returns, but for the type that was asked for."""
    preset, side, shape = preset_of(model.preprocess), model.encoder.image_size, _shape(model, batch)
    return {
        "format": "liqe_jax export 1",
        "liqe_jax": liqe_jax.__version__,
        "jax": jax.__version__,
        "name": model.name,
        "digest": model.digest,
        "dtype": model.dtype,
        "licence": model.provenance.licence,
        "provenance": model.provenance.to_dict(),
        "tasks": model.tasks.to_dict(),
        "output": output,
        "input": {"name": INPUT, "dtype": "uint8", "shape": shape, "values": "RGB, 0 to 255"},
        "outputs": [
            {"name": name, "dtype": "float32", "shape": [shape[0], *axes]}
            for name, axes in outputs_of(model.tasks, output).items()
        ],
        "preprocess": {**dataclasses.asdict(preset), "crop_size": side, "steps": steps(preset, side)},
    }


def steps(preset: Preset, side: int) -> list[str]:
    """How a preset makes crops of `side` pixels, in sentences for those who do it in another language."""
    found = ["Decode to 8-bit RGB, without colour management."]
    found.append("Rotate as the EXIF orientation says." if preset.apply_exif else "Ignore the EXIF orientation.")
    found.append("Put transparent pixels on white." if preset.white_background else "Drop the alpha channel.")
    if preset.whole:
        found.append(f"Resize the whole picture to {side} x {side} with Pillow's bicubic filter.")
        return [*found, "That is the only crop, whatever the aspect ratio."]
    if preset.resize:
        found.append(
            "If both sides have more than 768 pixels, resize so that the short one has 768, the long one rounded down, "
            "with Pillow's bilinear filter."
        )
    found.append(f"If a side has less than {side} pixels, enlarge to that with Pillow's bicubic filter.")
    if preset.even:
        return [*found, f"Take {preset.count} crops spread over both axes (docs/export.md)."]
    stride = preset.stride or "32, or 48 if a side has 1024 pixels or more"
    return [
        *found,
        f"Cut a grid of crops in row order with a stride of {stride}; of its N crops take number 0, s, 2s, ... with "
        f"s = max(N // {preset.count}, 1), at most {preset.count}.",
    ]


def _shortest(leaf: Array) -> np.ndarray:
    """Float32 numbers as float16 where that loses nothing: half the file."""
    array = np.asarray(leaf)
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def _restored(array: np.ndarray) -> Array:
    return jnp.asarray(array).astype(jnp.float32) if array.dtype == np.float16 else jnp.asarray(array)
