"""EfficientNet-Lite0 beside a bag of words: a small encoder for processors and browsers.

The network is pretrained (ImageNet) and frozen. LIQE learns from the means and standard deviations of its depthwise
activations over the whole picture, through one hidden layer; its output times the sum of a sentence's word vectors is
the sentence's logit. The whole picture is squeezed into one square crop (the preset `whole`).
Letters beside those of `base.py`: F pooled statistics, r principal components.
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


@dataclasses.dataclass(frozen=True)
class EfficientNetLite(Encoder):
    """EfficientNet-Lite0, pooled statistics, one hidden layer of width `projection_dim`, and a bag of words.

    Attributes:
      taps: numbers of the blocks whose depthwise activations are pooled.
      components: r, principal components of the statistics, which the hidden layer takes.
    """

    image_size: int = 512
    projection_dim: int = 512
    taps: tuple[int, ...] = (0, 1, 2, 4, 7, 9, 10, 12, 14)
    components: int = 160
    vocab_size: int = 49408
    context_length: int = 77

    name: ClassVar[str] = "efficientnet_lite"
    layouts: ClassVar[Mapping[str, Layout]] = LAYOUTS
    preprocess: ClassVar[str] = "whole"
    frozen: ClassVar[tuple[str, ...]] = ("image_model/network", "image_model/statistics", "image_model/projection")
    has_frozen_part: ClassVar[bool] = True

    @property
    def statistics(self) -> int:
        """F: a mean and a standard deviation of every channel of the taps."""
        return 2 * sum(BLOCKS[tap].expanded for tap in self.taps)

    def init_params(self, key: Array) -> Params:
        """Random float32 parameters; the network's own are meant to be replaced by pretrained ones."""
        keys = iter(jax.random.split(key, 3 * len(BLOCKS) + 4))

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
        count, width = self.statistics, self.projection_dim
        image: Params = {
            "network": network,
            "hidden": {"kernel": weights(self.components, width), "bias": jnp.zeros(width)},
            "statistics": {"mean": jnp.zeros(count), "std": jnp.ones(count)},
            "projection": {"kernel": weights(count, self.components)},
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
                mean = y.mean((1, 2), keepdims=True)
                # Two passes: of a saturated channel the mean square less the squared mean is rounding noise.
                spread = jnp.square(y - mean).mean((1, 2))
                # The slope of a root at 0 is infinite, and a channel that is 0 everywhere has no spread.
                varies = spread > 0
                statistics += [mean[:, 0, 0], jnp.where(varies, jnp.sqrt(jnp.where(varies, spread, 1.0)), 0.0)]
            if number < max(self.taps):
                y = _pointwise(y, parts["project"], dtype)
                x = y + x if block.stride == 1 and block.inputs == block.outputs else y
        together = jnp.concatenate(statistics, -1)
        return together.reshape(*crops.shape[:-3], together.shape[-1])  # not -1, which fails for no crops

    def project(self, params: Params, pooled: Float[AnyArray, "*batch F"]) -> Float[Array, "*batch r"]:
        """What the hidden layer takes: principal components of standardised statistics."""
        image = params["image_model"]
        standard = (pooled - image["statistics"]["mean"]) / image["statistics"]["std"]
        return dot(jnp.clip(standard, -LARGEST, LARGEST), image["projection"]["kernel"], jnp.float32)

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
        image = params["image_model"]
        return jax.nn.gelu(dot(x, image["hidden"]["kernel"], jnp.float32) + image["hidden"]["bias"])

    def is_pooled(self, name: str) -> bool:
        """The convolutional network's parameters."""
        return name.startswith("image_model/network/")

    def fit(self, params: Params, pooled: Sequence[Float[np.ndarray, "_ F"]]) -> Params:
        """Parameters with statistics of pictures, where all sets weigh the same; components have mean variance 1."""
        mean = np.mean([one.mean(0) for one in pooled], 0)
        std = np.sqrt(np.mean([one.var(0) for one in pooled], 0)) + 1e-3
        together = np.concatenate(pooled)
        standard = np.clip((together - mean) / std, -LARGEST, LARGEST).astype(np.float32)
        values, vectors = principal_components(standard, self.components)
        scale = np.sqrt(values.sum() / len(standard) / self.components)
        image = {
            **params["image_model"],
            "statistics": {"mean": mean.astype(np.float32), "std": std.astype(np.float32)},
            "projection": {"kernel": (vectors / scale).astype(np.float32)},
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


def principal_components(
    standard: Float[np.ndarray, "N F"], count: int
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, "F r"]]:
    """The `count` largest eigenvalues of `standard.T @ standard`, falling, and their vectors; float64, padded with 0.

    By subspace iteration (Halko et al., SIAM Review 53(2), 2011): a decomposition of thousands of pictures takes
    minutes. The mean is not subtracted, since standardised statistics are about centred.
    """
    rng, room = np.random.default_rng(0), min(count + 32, *standard.shape)
    basis = standard.T @ rng.standard_normal((len(standard), room), np.float32)
    for _ in range(6):
        basis = np.linalg.qr(standard.T @ (standard @ basis))[0]
    parts = (standard @ basis).astype(np.float64)
    values, turn = np.linalg.eigh(parts.T @ parts)
    order = np.argsort(values)[::-1][:count]
    vectors = basis.astype(np.float64) @ turn[:, order]
    missing = count - len(order)
    return np.pad(values[order], (0, missing)), np.pad(vectors, ((0, 0), (0, missing)))
