"""Scores one photograph for the page: predictions and pictures, or an error."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from liqe_jax.errors import LiqeError
from liqe_jax.images.decode import CUT_ADVICE, DecodedImage, decode
from liqe_jax.images.preprocess import Preset, prepare
from liqe_jax.scoring import heatmap
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.result import Failure
from liqe_jax.weights.provenance import seen_in_training

# Most phones take half as many pixels. Decoding takes 8 bytes per pixel, 25 for 16-bit grey.
MAX_PIXELS = 100_000_000

# A 1024x768 photograph has 204 crops, a wide panorama a thousand. The limit bounds the time of one request.
MAX_MAP_CROPS = 1500

PICTURE_SIDE = 800  # longest side of a picture on the page, pixels
THUMBNAIL_SIDE = 128


@dataclasses.dataclass(frozen=True)
class ScoredPhotograph:
    """Predictions and pictures of one photograph.

    Attributes:
      name: name of the file.
      values: attribute -> expected value (a number, like `Score.quality`) or most probable label.
      probabilities: attribute -> label -> marginal probability.
      ranges: attribute with values -> lowest and highest value.
      size: decoded width and height, pixels.
      warnings: warnings about the score.
      picture, thumbnail: the photograph as it was scored, downscaled; WebP.
      base: the image that the map is computed on, RGB [H, W, 3], or the reason why there is no map.
    """

    name: str
    values: Mapping[str, float | str]
    probabilities: Mapping[str, Mapping[str, float]]
    ranges: Mapping[str, tuple[float, float]]
    size: tuple[int, int]
    warnings: tuple[str, ...]
    picture: bytes = dataclasses.field(repr=False)
    thumbnail: bytes = dataclasses.field(repr=False)
    base: UInt8[np.ndarray, "H W 3"] | Failure = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Map:
    """A quality map over a photograph.

    Attributes:
      picture: the map over the photograph; WebP.
      lowest, mean, highest: quality of the crops, 1 to 5.
    """

    picture: bytes = dataclasses.field(repr=False)
    lowest: float
    mean: float
    highest: float


def score_photograph(name: str, encoded: bytes, model: Model, preset: Preset) -> ScoredPhotograph | Failure:
    """Scores an encoded image; the predictions equal those of `model.score` on the same file and preset.

    Args:
      name: name of the file.
      encoded: content of the file.
      model: the model.
      preset: how the image is decoded and how crops are chosen.
    """
    try:
        # Decoded once for score, map and picture.
        decoded = decode(encoded, dataclasses.replace(preset.decode_options(), max_pixels=MAX_PIXELS))
        score = model.score(decoded.pixels, preprocess=preset, name=name)
    except LiqeError as error:
        # The advice about options does not apply to the page.
        return Failure(name, str(error).replace(CUT_ADVICE, "Drop the whole file."))
    attributes, seen = score.tasks.attributes, seen_in_training(model.provenance, name)
    return ScoredPhotograph(
        name=name,
        values={attribute.name: score[attribute.name] for attribute in attributes},
        probabilities=score.probabilities,
        ranges={a.name: (min(a.values), max(a.values)) for a in attributes if a.values is not None},
        size=(score.width, score.height),
        # Warnings about the pixels occur twice: for the file and for the decoded array.
        warnings=tuple(dict.fromkeys((*decoded.warnings, *score.warnings, *([seen] if seen else [])))),
        picture=_encoded(Image.fromarray(decoded.pixels), PICTURE_SIDE),
        thumbnail=_encoded(Image.fromarray(decoded.pixels), THUMBNAIL_SIDE),
        base=_base(name, decoded, model, preset),
    )


def draw_map(scored: ScoredPhotograph, model: Model, preset: Preset) -> Map | Failure:
    """Draws the quality map of a scored photograph; arguments as in `score_photograph`."""
    if isinstance(scored.base, Failure):
        return scored.base
    try:
        quality_map = model.quality_map(scored.base, preprocess=preset)
    except LiqeError as error:
        return Failure(scored.name, str(error))
    quality = quality_map.quality
    picture = _encoded(heatmap.overlay(quality_map, PICTURE_SIDE), PICTURE_SIDE)
    return Map(picture, float(quality.min()), float(quality.mean()), float(quality.max()))


def warm_up(model: Model, preset: Preset) -> None:
    """Compiles the forward pass, so that the first visitor does not wait for it.

    Raises:
      ModelError: the model cannot score images.
    """
    side = model.encoder.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    model.score(pixels, preprocess=preset)
    if has_quality(model):
        model.quality_map(pixels, preprocess=preset)


def has_quality(model: Model) -> bool:
    """Whether the model predicts quality as a number, which a map needs."""
    return any(a.name == "quality" and a.values is not None for a in model.tasks.attributes)


def _base(name: str, decoded: DecodedImage, model: Model, preset: Preset) -> np.ndarray | Failure:
    """The image at the resolution of the map; it stays in memory until the other photographs are scored."""
    if not has_quality(model):
        return Failure(name, f"No map: {model.name} does not predict quality as a number.")
    dense = preset.dense(model.encoder.image_size)
    prepared = prepare(decoded, dense, model.encoder.image_size)
    if len(prepared.corners) > MAX_MAP_CROPS:
        hint = "" if preset.resize else " The preset 'even' shrinks large photographs."
        return Failure(name, f"No map: it has {len(prepared.corners)} crops, more than {MAX_MAP_CROPS}.{hint}")
    return prepared.pixels


def _encoded(picture: Image.Image, side: int) -> bytes:
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()
