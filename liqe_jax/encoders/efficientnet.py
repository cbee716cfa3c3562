"""EfficientNet-Lite0 beside a bag of words: a small encoder for processors and browsers.

The network is pretrained (ImageNet) and frozen. LIQE learns from the means and standard deviations of its depthwise
activations over the whole picture, through a mixture of two hidden layers; its output times the sum of a sentence's
word vectors is the sentence's logit. The whole picture is squeezed into one square crop (the preset `whole`).

A gate mixes the two hidden layers. It says whether a picture resembles the first data set or the others, such as
photographs with human scores and synthetic distortions, whose quality is not the same function of the statistics.
Letters beside those of `base.py`: F pooled statistics, k principal components, r = k + 1 with the gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from liqe_jax.encoders.bag_of_words import WordRows, init_words, pack_words, sum_of_words
from liqe_jax.encoders.base import Crops, Encoder, ImageFeatures, Params, Prompts, TextFeatures
from liqe_jax.encoders.depthwise import convolution, depthwise, shifts
from liqe_jax.encoders.efficientnet_names import BLOCKS, LAYOUTS, STEM_WIDTH
from liqe_jax.encoders.layers import dot
from liqe_jax.encoders.layout import Layout
from liqe_jax.encoders.products import AnyArray, is_one_form, matmul
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import BaseTokenizer, Tokenizer

# Of pixels in 0..255 (tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py).
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0

# Of batch normalisation (the same repository, efficientnet_builder.py).
BATCH_NORM_EPSILON = 1e-3

# Standardised statistics further from 0 are outliers of a few pictures.
LARGEST = 6.0

# Hidden layers of the mixture.
EXPERTS = 2

# The gate is a linear regression of 0 for the first data set and 1 for the others, this much steeper: it is below 0.3
# for nine in ten photographs of CLIVE. The ridge is relative to the mean variance of a component.
GATE_SLOPE, GATE_RIDGE = 1.5, 0.01

# The gate is kept divided by this. So the noise that training adds to all features (`config.data.feature_noise`) counts
# more for the gate, and each hidden layer sees images of all data sets.
GATE_UNIT = 2.0


@dataclasses.dataclass(frozen=True)
class EfficientNetLite(Encoder):
    """EfficientNet-Lite0, pooled statistics, two hidden layers of width `projection_dim`, and a bag of words.

    Attributes:
      taps: numbers of the blocks whose depthwise activations are pooled.
      components: principal components of the statistics of each of these blocks, at most as many as there are.
    """

    image_size: int = 512
    projection_dim: int = 512
    taps: tuple[int, ...] = (0, 1, 2, 4, 7, 9, 10, 12, 14)
    components: int = 96
    vocab_size: int = 49408
    context_length: int = 77

    name: ClassVar[str] = "efficientnet_lite"
    layouts: ClassVar[Mapping[str, Layout]] = LAYOUTS
    preprocess: ClassVar[str] = "whole"
    frozen: ClassVar[tuple[str, ...]] = tuple(
        f"image_model/{part}" for part in ("network", "statistics", "projection", "gate")
    )
    has_frozen_part: ClassVar[bool] = True

    @property
    def statistics(self) -> dict[str, int]:
        """Of each tap, its part of F: a mean and a standard deviation of every channel."""
        return {str(tap): 2 * BLOCKS[tap].expanded for tap in self.taps}

    @property
    def kept(self) -> dict[str, int]:
        """Of each tap, its part of k."""
        return {tap: min(self.components, count) for tap, count in self.statistics.items()}

    def init_params(self, key: Array) -> Params:
        """Random float32 parameters; the network's own are meant to be replaced by pretrained ones."""
        keys = iter(jax.random.split(key, 4 * len(BLOCKS) + 4))

        def weights(*shape: int) -> Array:
            return jax.random.normal(next(keys), shape) / np.sqrt(np.prod(shape[:-1]))

        def convolution(*shape: int) -> Params:
            ones, zeros = jnp.ones(shape[-1]), jnp.zeros(shape[-1])
            return {"kernel": weights(*shape), "scale": ones, "bias": zeros, "mean": zeros, "variance": ones}

        network: Params = {"stem": convolution(3, 3, 3, STEM_WIDTH), "blocks": {}}
        for number, block in enumerate(BLOCKS[: max(self.taps) + 1]):
            parts = {"depthwise": convolution(block.kernel, block.kernel, block.expanded)}
            if block.expanded != block.inputs:
                parts["expand"] = convolution(block.inputs, block.expanded)
            if number < max(self.taps):
                parts["project"] = convolution(block.expanded, block.outputs)
            network["blocks"][str(number)] = parts
        count, k, width = sum(self.statistics.values()), sum(self.kept.values()), self.projection_dim
        image: Params = {
            "network": network,
            "hidden": {
                "kernel": jnp.stack([weights(k, width) for _ in range(EXPERTS)]),
                "bias": jnp.zeros((EXPERTS, width)),
            },
            "statistics": {"mean": jnp.zeros(count), "std": jnp.ones(count)},
            "projection": {tap: weights(self.statistics[tap], kept) for tap, kept in self.kept.items()},
            "gate": {"kernel": jnp.zeros(k), "bias": jnp.zeros(())},
        }
        return {"image_model": image, "text_model": init_words(next(keys), self.vocab_size, width)}

    def pool(self, params: Params, crops: Crops, dtype: DTypeLike = jnp.float32) -> Float[Array, "*batch F"]:
        """Means and standard deviations of the taps' channels: all that the frozen network says of a picture."""
        network = params["image_model"]["network"]
        x = (jnp.asarray(crops, jnp.float32).reshape(-1, *crops.shape[-3:]) - PIXEL_MEAN) / PIXEL_STD
        x = _relu6(_stem(x, network["stem"], dtype))
        statistics = []
        for number, block in enumerate(BLOCKS[: max(self.taps) + 1]):
            parts, y = network["blocks"][str(number)], x
            if "expand" in parts:
                y = _relu6(_pointwise(y, parts["expand"], dtype))
            y = _relu6(_normalised(parts["depthwise"], lambda k, y=y, s=block.stride: depthwise(y, k, s)))
            if number in self.taps:
                # The mean of rows' means: some runtimes add up all pixels in turn, which loses three digits.
                mean = y.mean(2, keepdims=True).mean(1, keepdims=True)
                # Two passes: of a saturated channel the mean square less the squared mean is rounding noise.
                spread = jnp.square(y - mean).mean(2).mean(1)
                # The slope of a root at 0 is infinite, and a channel that is 0 everywhere has no spread.
                varies = spread > 0
                statistics += [mean[:, 0, 0], jnp.where(varies, jnp.sqrt(jnp.where(varies, spread, 1.0)), 0.0)]
            if number < max(self.taps):
                y = _pointwise(y, parts["project"], dtype)
                x = y + x if block.stride == 1 and block.inputs == block.outputs else y
        together = jnp.concatenate(statistics, -1)
        return together.reshape(*crops.shape[:-3], together.shape[-1])  # not -1, which fails for no crops

    def project(self, params: Params, pooled: Float[AnyArray, "*batch F"]) -> Float[Array, "*batch r"]:
        """What the hidden layers take: principal components of standardised statistics, and the gate."""
        image = params["image_model"]
        standard = (pooled - image["statistics"]["mean"]) / image["statistics"]["std"]
        parts = jnp.split(jnp.clip(standard, -LARGEST, LARGEST), np.cumsum(list(self.statistics.values()))[:-1], -1)
        found = [
            dot(part, image["projection"][tap], jnp.float32) for tap, part in zip(self.statistics, parts, strict=True)
        ]
        components = jnp.concatenate(found, -1)
        gate = dot(components, image["gate"]["kernel"][:, None], jnp.float32) + image["gate"]["bias"]
        return jnp.concatenate([components, gate], -1)

    def image_features(
        self,
        params: Params,
        crops: Crops | Float[AnyArray, "*batch r"],
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
    ) -> Float[Array, "*batch D"]:
        """Features of crops, or of what `project` made of them."""
        ready = crops.shape[-3:] != (self.image_size, self.image_size, 3)
        x = jnp.asarray(crops) if ready else self.project(params, self.pool(params, crops, dtype))
        x, gate = x[..., :-1], jnp.clip(GATE_UNIT * x[..., -1:], 0, 1)
        hidden = params["image_model"]["hidden"]
        first, second = (
            jax.nn.gelu(dot(x, hidden["kernel"][expert], jnp.float32) + hidden["bias"][expert])
            for expert in range(EXPERTS)
        )
        return first * (1 - gate) + second * gate

    def is_pooled(self, name: str) -> bool:
        """The convolutional network's parameters."""
        return name.startswith("image_model/network/")

    def fit(self, params: Params, pooled: Sequence[Float[np.ndarray, "_ F"]]) -> Params:
        """Parameters with statistics of pictures, where all sets weigh the same; components have mean variance 1.

        The gate is 0 for pictures like those of the first set and 1 for pictures like those of the others; with one
        set alone it is 0.
        """
        mean = np.mean([one.mean(0) for one in pooled], 0)
        std = np.sqrt(np.mean([one.var(0) for one in pooled], 0)) + 1e-3
        # Rows of a set weigh 1 together.
        weight = np.concatenate([np.full(len(one), 1 / np.sqrt(len(one) * len(pooled))) for one in pooled])[:, None]
        x = np.clip((np.concatenate(pooled) - mean) / std, -LARGEST, LARGEST) * weight
        ends = np.cumsum(list(self.statistics.values()))[:-1]
        parts = dict(zip(self.statistics, np.split(x, ends, 1), strict=True))
        vectors = {tap: principal_components(part, self.kept[tap]) for tap, part in parts.items()}
        components = np.concatenate([part @ vectors[tap] for tap, part in parts.items()], 1)
        scale = np.sqrt(np.square(components).sum() / components.shape[1])
        image = {
            **params["image_model"],
            "statistics": {"mean": mean.astype(np.float32), "std": std.astype(np.float32)},
            "projection": {tap: (vector / scale).astype(np.float32) for tap, vector in vectors.items()},
            "gate": _gate(components / scale, weight[:, 0], len(pooled[0])),
        }
        return {**params, "image_model": image}

    def logits(
        self, params: Params, image_features: ImageFeatures, text_features: TextFeatures
    ) -> Float[Array, "*batch K"]:
        """Products of features; nothing is normalised."""
        return matmul(image_features, text_features.T)

    def prompts(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None, devices: int = 1) -> Prompts:
        """Sentences as bags of words."""
        return pack_words(sentences, tokenizer or Tokenizer.default(), self.vocab_size, self.context_length, devices)

    def text_features(
        self, params: Params, rows: WordRows, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B 1 D"]:
        """Features, one of each row."""
        return sum_of_words(params["text_model"], rows)[:, None]

    def to_config(self) -> dict[str, Any]:
        """Sizes, and `model_type`."""
        return {"model_type": self.name, **dataclasses.asdict(self)}

    @classmethod
    def from_weights(cls, flat: Mapping[str, np.ndarray]) -> EfficientNetLite:
        """Refuses: a file of the network alone predicts nothing."""
        raise ModelError(
            "This file holds the image encoder alone, which cannot predict quality before training. Name it in "
            "config.image_weights of a training run (configs/liqe_nano.py)."
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EfficientNetLite:
        """The inverse of `to_config`."""
        sizes = {key: value for key, value in config.items() if key != "model_type"}
        return cls(**{**sizes, **({"taps": tuple(sizes["taps"])} if "taps" in sizes else {})})


def _relu6(x: Array) -> Array:
    return jnp.clip(x, 0, 6)


def _normalised(parts: Params, convolve: Any) -> Array:
    """A convolution with its batch normalisation in the kernel and a bias."""
    factor = parts["scale"] / jnp.sqrt(parts["variance"] + BATCH_NORM_EPSILON)
    return convolve(parts["kernel"] * factor) + (parts["bias"] - parts["mean"] * factor)


def _pointwise(x: Float[Array, "B h w i"], parts: Params, dtype: DTypeLike) -> Float[Array, "B h w o"]:
    if is_one_form():
        return _normalised(parts, lambda kernel: convolution(x, kernel[None, None], 1, dtype))
    return _normalised(parts, lambda kernel: dot(x, kernel, dtype))


def _stem(x: Float[Array, "B H H 3"], parts: Params, dtype: DTypeLike) -> Float[Array, "B h h 32"]:
    """3x3 convolution with stride 2, as a product of 27 shifted channels."""
    if is_one_form():
        return _normalised(parts, lambda kernel: convolution(x, kernel, 2, dtype))
    columns = jnp.concatenate(shifts(x, parts["kernel"].shape[0], 2), -1)
    return _normalised(parts, lambda kernel: dot(columns, kernel.reshape(-1, kernel.shape[-1]), dtype))


def principal_components(x: Float[np.ndarray, "N F"], count: int) -> Float[np.ndarray, "F count"]:
    """The eigenvectors of the `count` largest eigenvalues of `x.T @ x`, falling, computed in float64.

    The mean is not subtracted, since standardised statistics are about centred. The sign of an eigenvector is
    arbitrary; its largest entry is made positive, so that all processors find the same one.
    """
    vectors = np.linalg.eigh(x.T.astype(np.float64) @ x)[1][:, ::-1][:, :count]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])


def _gate(x: Float[np.ndarray, "N k"], weight: Float[np.ndarray, " N"], first: int) -> Params:
    """The gate of components, whose first rows are of the first set; rows and targets are multiplied by `weight`."""
    k = x.shape[1]
    if first == len(x):
        return {"kernel": np.zeros(k, np.float32), "bias": np.zeros((), np.float32)}
    target = np.where(np.arange(len(x)) < first, -0.5, 0.5) * weight
    kernel = np.linalg.solve(x.T @ x + GATE_RIDGE * np.eye(k), x.T @ target)
    return {"kernel": (GATE_SLOPE / GATE_UNIT * kernel).astype(np.float32), "bias": np.float32(0.5 / GATE_UNIT)}
