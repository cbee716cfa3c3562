"""A scored photograph as the page and the gallery show it: JSON for the script, and WebP pictures."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from liqe_jax.errors import ImageError
from liqe_jax.images.decode import DecodedImage, decode
from liqe_jax.images.preprocess import Preset, prepare
from liqe_jax.markup import data_url
from liqe_jax.messages import storable
from liqe_jax.scoring import heatmap
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.shown import shown_label
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.provenance import seen_in_training

# Most phones take half as many pixels. Decoding takes 8 bytes per pixel, 25 for 16-bit grey.
MAX_PIXELS = 100_000_000

# A 1024x768 photograph has 204 crops, a wide panorama a thousand. The limit bounds the time of one request.
MAX_MAP_CROPS = 1500

PICTURE_SIDE, THUMBNAIL_SIDE = 800, 320  # longest sides, pixels


def card(row: Mapping[str, Any], tasks: TaskSet) -> dict[str, Any]:
    """What the script shows of a result, a row of `Score.to_dict` or `Failure.to_dict`.

    It has `name`, and either `error`, or `values` (attribute -> number or likeliest label), `shown` (label for people),
    `ranges` (lowest and highest value), `probabilities`, `size`, `warnings`, and `percentile` where the row has one.
    """
    name = storable(str(row["image"]))
    if "error" in row:
        return {"name": name, "error": row["error"]}
    names = [attribute.name for attribute in tasks.attributes]
    return {
        "name": name,
        "values": {key: row[key] for key in names},
        "shown": {
            key: shown_label(row, key, tasks.attributes).replace("_", " ") for key in names if isinstance(row[key], str)
        },
        "ranges": {a.name: (min(a.values), max(a.values)) for a in tasks.attributes if a.values is not None},
        "probabilities": {key: row[f"{key}_probs"] for key in names},
        "size": (row["width"], row["height"]),
        "warnings": row["warnings"],
        **({"percentile": row["percentile"]} if "percentile" in row else {}),
    }


def score_upload(name: str, encoded: bytes, model: Model, preset: Preset) -> dict[str, Any]:
    """The card of an encoded image, with `thumb` and `picture` as data URLs; the numbers are those of `model.score`.

    Raises LiqeError if it cannot be decoded or scored.
    """
    decoded = _decoded(encoded, preset)
    score = model.score(decoded.pixels, preprocess=preset, name=name)
    seen = seen_in_training(model.provenance, name)
    # Warnings about the pixels occur twice: for the file and for the decoded array.
    warnings = dict.fromkeys((*decoded.warnings, *score.warnings, *([seen] if seen else [])))
    return {
        **card(dataclasses.replace(score, warnings=tuple(warnings)).to_dict(), model.tasks),
        "thumb": data_url("image/webp", webp(decoded.pixels, THUMBNAIL_SIDE)),
        "picture": data_url("image/webp", webp(decoded.pixels, PICTURE_SIDE)),
    }


def map_upload(encoded: bytes, model: Model, preset: Preset) -> dict[str, Any]:
    """`map` of an encoded image, a data URL, and `levels` (lowest, mean and highest quality); raises as `draw_map`."""
    picture, levels = draw_map(_decoded(encoded, preset), model, preset)
    return {"map": data_url("image/webp", picture), "levels": levels}


def draw_map(decoded: DecodedImage, model: Model, preset: Preset) -> tuple[bytes, tuple[float, float, float]]:
    """The quality map over a photograph as WebP, and the lowest, mean and highest quality of its crops.

    Raises LiqeError if the model predicts no quality, or the photograph has more than `MAX_MAP_CROPS` crops.
    """
    if model.tasks.has_quality:
        side = model.encoder.image_size
        crops = len(prepare(decoded, preset.dense(side), side).corners)
        if crops > MAX_MAP_CROPS:
            hint = "" if preset.resize else " The preset 'even' shrinks large photographs."
            raise ImageError(f"No map: it has {crops} crops, more than {MAX_MAP_CROPS}.{hint}")
    quality_map = model.quality_map(decoded.pixels, preprocess=preset)
    quality = quality_map.quality
    picture = webp(np.asarray(heatmap.overlay(quality_map, PICTURE_SIDE)), PICTURE_SIDE)
    return picture, (float(quality.min()), float(quality.mean()), float(quality.max()))


def warm_up(model: Model, preset: Preset) -> None:
    """Compiles the forward pass, so that the first visitor does not wait for it."""
    side = model.encoder.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    model.score(pixels, preprocess=preset)
    if model.tasks.has_quality:
        model.quality_map(pixels, preprocess=preset)


def webp(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> bytes:
    """RGB pixels as a WebP file, no side longer than `side`."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()


def _decoded(encoded: bytes, preset: Preset) -> DecodedImage:
    return decode(encoded, dataclasses.replace(preset.decode_options(), max_pixels=MAX_PIXELS))
