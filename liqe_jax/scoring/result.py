"""What is known of an image after scoring it, or of why it could not be scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from liqe_jax.errors import UsageError
from liqe_jax.images.grid import Grid
from liqe_jax.tasks import TaskSet


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A model's judgement of one image; equal to itself alone, since arrays have no single answer to that.

    Attributes:
      image: path, or what the caller named it.
      joint: the joint distribution, one axis per attribute; LIQE's is [5, 9, 11].
      logits: mean logits of the prompts, [K].
      corners: (top, left) of the crops, in the image as resized.
      width, height: of the image as decoded, in pixels.
      model, preprocess: names of the model and the preset.
      tasks: the attributes and their labels.
      warnings: what a reader of the score should know.
    """

    image: str
    joint: Float[np.ndarray, ...]
    logits: Float[np.ndarray, " K"]
    corners: Int[np.ndarray, "P 2"]
    width: int
    height: int
    model: str
    preprocess: str
    tasks: TaskSet = dataclasses.field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def probabilities(self) -> dict[str, dict[str, float]]:
        """Attribute -> label -> marginal probability."""
        result = {}
        for axis, attribute in enumerate(self.tasks.attributes):
            others = tuple(other for other in range(self.joint.ndim) if other != axis)
            marginal = self.joint.sum(others, dtype=np.float64)
            result[attribute.name] = dict(zip(attribute.labels, marginal.tolist(), strict=True))
        return result

    def __getitem__(self, attribute: str) -> float | str:
        """Expected value of an attribute if its labels have values, else its likeliest label; UsageError if unknown."""
        axis = next((a for a in self.tasks.attributes if a.name == attribute), None)
        if axis is None:
            names = ", ".join(a.name for a in self.tasks.attributes)
            raise UsageError(f"This model predicts {names}; it knows nothing of {attribute!r}.")
        probabilities = self.probabilities[attribute]
        if axis.values is not None:
            return sum(p * value for p, value in zip(probabilities.values(), axis.values, strict=True))
        return max(probabilities, key=probabilities.__getitem__)

    @property
    def quality(self) -> float:
        """Expected quality level, 1 (bad) to 5 (perfect); UsageError where there is none, or levels have no values."""
        value = self["quality"]
        if isinstance(value, str):
            raise UsageError(
                f"The levels of this model's quality have no values, so there is no number: it is {value!r}. Take "
                'score["quality"], or give Attribute("quality", ..., values=...).'
            )
        return value

    @property
    def scene(self) -> str:
        """The likeliest scene."""
        return str(self["scene"])

    @property
    def distortion(self) -> str:
        """The likeliest distortion category."""
        return str(self["distortion"])

    @property
    def quality_probs(self) -> dict[str, float]:
        """Level -> probability."""
        return self.probabilities["quality"]

    @property
    def scene_probs(self) -> dict[str, float]:
        """Scene -> probability."""
        return self.probabilities["scene"]

    @property
    def distortion_probs(self) -> dict[str, float]:
        """Distortion category -> probability."""
        return self.probabilities["distortion"]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this image: the attributes, their distributions, and the rest."""
        names = [attribute.name for attribute in self.tasks.attributes]
        probabilities: Mapping[str, Any] = self.probabilities
        return {
            "image": self.image,
            **{name: self[name] for name in names},
            **{f"{name}_probs": probabilities[name] for name in names},
            "crops": len(self.corners),
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "preprocess": self.preprocess,
            "warnings": list(self.warnings),
        }


@dataclasses.dataclass(frozen=True)
class Failure:
    """An image that could not be scored."""

    image: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this image."""
        return {"image": self.image, "error": self.error}


@dataclasses.dataclass(frozen=True, eq=False)
class QualityMap:
    """Expected quality, 1 to 5, of crops of `crop_size` pixels on a dense grid over an image as resized."""

    pixels: UInt8[np.ndarray, "H W 3"]
    grid: Grid
    quality: Float[np.ndarray, "rows cols"]
    crop_size: int
