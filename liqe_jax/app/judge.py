"""What the page says of one photograph: a judgement with its pictures, or the reason why there is none."""

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

# A hundred megapixels is twice what most phones take; decoding one takes eight bytes a pixel, deep greys up to 25.
MAX_PIXELS = 100_000_000

# A 1024x768 photograph has 204 patches, a wide panorama a thousand. More would keep everybody else
# waiting for one picture.
MAX_MAP_PATCHES = 1500

PICTURE_SIDE = 800  # longest side of a picture on the page, pixels
THUMBNAIL_SIDE = 128


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What is shown of one photograph.

    Attributes:
      name: the file's name.
      values: attribute -> expected value (a number, like `Score.quality`) or likeliest label.
      probabilities: attribute -> label -> marginal probability.
      ranges: attribute with values -> least and greatest value.
      size: width and height as decoded, pixels.
      warnings: what a reader of the score should know.
      picture, thumbnail: the photograph as it was judged, made small; WebP.
      ground: what the map is drawn on, RGB [H, W, 3], or why there is no map.
    """

    name: str
    values: Mapping[str, float | str]
    probabilities: Mapping[str, Mapping[str, float]]
    ranges: Mapping[str, tuple[float, float]]
    size: tuple[int, int]
    warnings: tuple[str, ...]
    picture: bytes = dataclasses.field(repr=False)
    thumbnail: bytes = dataclasses.field(repr=False)
    ground: UInt8[np.ndarray, "H W 3"] | Failure = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Map:
    """A map of quality over a photograph.

    Attributes:
      picture: of the same shape as the photograph's; WebP.
      least, mean, greatest: quality of a patch, 1 to 5.
    """

    picture: bytes = dataclasses.field(repr=False)
    least: float
    mean: float
    greatest: float


def judge(name: str, encoded: bytes, model: Model, preset: Preset) -> Judgement | Failure:
    """Judges an encoded image; the numbers are those of `model.score` on the same file and preset.

    Args:
      name: of the file.
      encoded: its content.
      model: what judges.
      preset: how it decodes and chooses patches.
    """
    try:
        # Once for score, map and picture.
        decoded = decode(encoded, dataclasses.replace(preset.decode_options(), max_pixels=MAX_PIXELS))
        score = model.score(decoded.pixels, preprocess=preset, name=name)
    except LiqeError as error:
        # A visitor of the page has no options.
        return Failure(name, str(error).replace(CUT_ADVICE, "Drop the whole file."))
    attributes, seen = score.tasks.attributes, seen_in_training(model.provenance, name)
    return Judgement(
        name=name,
        values={attribute.name: score[attribute.name] for attribute in attributes},
        probabilities=score.probabilities,
        ranges={a.name: (min(a.values), max(a.values)) for a in attributes if a.values is not None},
        size=(score.width, score.height),
        # What is said of the pixels is said of the file and of the decoded array.
        warnings=tuple(dict.fromkeys((*decoded.warnings, *score.warnings, *([seen] if seen else [])))),
        picture=_encoded(Image.fromarray(decoded.pixels), PICTURE_SIDE),
        thumbnail=_encoded(Image.fromarray(decoded.pixels), THUMBNAIL_SIDE),
        ground=_ground(name, decoded, model, preset),
    )


def draw_map(judgement: Judgement, model: Model, preset: Preset) -> Map | Failure:
    """The map of a judged photograph, or why there is none; arguments as in `judge`."""
    if isinstance(judgement.ground, Failure):
        return judgement.ground
    try:
        quality_map = model.quality_map(judgement.ground, preprocess=preset)
    except LiqeError as error:
        return Failure(judgement.name, str(error))
    quality = quality_map.quality
    picture = _encoded(heatmap.overlay(quality_map, PICTURE_SIDE), PICTURE_SIDE)
    return Map(picture, float(quality.min()), float(quality.mean()), float(quality.max()))


def warm_up(model: Model, preset: Preset) -> None:
    """Compiles what judging needs, so that the first visitor does not wait for it.

    Raises:
      ModelError: the model cannot judge anything.
    """
    side = model.encoder.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    model.score(pixels, preprocess=preset)
    if model_draws(model):
        model.quality_map(pixels, preprocess=preset)


def model_draws(model: Model) -> bool:
    """Whether the model predicts a number called quality, of which there can be a map."""
    return any(a.name == "quality" and a.values is not None for a in model.tasks.attributes)


def _ground(name: str, decoded: DecodedImage, model: Model, preset: Preset) -> np.ndarray | Failure:
    """The image as the map's grid lies on it: small enough to wait until the other photographs are judged."""
    if not model_draws(model):
        return Failure(name, f"No map: {model.name} does not predict quality as a number.")
    dense = dataclasses.replace(preset, even=False, count=None)
    prepared = prepare(decoded, dense, model.encoder.image_size)
    if len(prepared.corners) > MAX_MAP_PATCHES:
        hint = "" if preset.resize else " The preset 'even' shrinks large photographs."
        return Failure(name, f"No map: it has {len(prepared.corners)} patches, more than {MAX_MAP_PATCHES}.{hint}")
    return prepared.pixels


def _encoded(picture: Image.Image, side: int) -> bytes:
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()
