"""What LIQE needs of a model: one image encoder and one text encoder with a common space.

Letters in the annotations of this folder: P crops of an image, H side of a crop in pixels, D length of a feature,
K sentences, B rows of tokens, L tokens of a row, R features of a row, W width of a tower.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.layout import Layout
from liqe_jax.encoders.products import AnyArray, matmul
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.text.tokenizer import BaseTokenizer, Tokenizer

Params = dict[str, Any]  # nested; leaves are arrays

# RGB, 0 to 255, uint8 or floating; any leading axes. Normalisation happens inside of an encoder.
Crops = Num[AnyArray, "*batch H H 3"]
ImageFeatures = Float[AnyArray, "*batch D"]  # unit vectors where `logits` are cosines
TextFeatures = Float[AnyArray, "K D"]


class Prompts(NamedTuple):
    """Sentences as an encoder takes them; plain NumPy, so it can be a constant under `jit`.

    Attributes:
      rows: pytree of arrays with a leading axis B; a device can encode any part of the rows.
      order: sentence k is entry order[k] of the flattened outputs [B * R].
    """

    rows: Any
    order: Int[np.ndarray, " K"]


class Encoder(abc.ABC):
    """An image encoder and a text encoder with a common space.

    Implementations are frozen dataclasses, static under `jit` (`examples/own_encoder.py`). `params` are nested, and
    `dtype` is the operand type of matrix products, whose sums and outputs are float32.

    Attributes:
      name: of the architecture; `model_type` in config.json.
      image_size: side of the square crops that it takes, pixels.
      projection_dim: D, length of a feature.
      layouts: tables of weight names, by name of the layout.
      stored_layout: the layout of our own format; None stores our own names.
      tokenizer_class: reads and writes the tokenizer's files.
      preprocess: name of the preset that suits it, where a model does not name one.
      frozen: names of parameters that training never changes.
      has_frozen_part: whether `pool`, `is_pooled`, `fit` and `project` exist.
      starts_from: class of the encoder that `from_encoder` takes; None where there is no `from_encoder`.
      head: names, or prefixes of names, of parameters that `logits` uses and that can be trained.
    """

    name: ClassVar[str]
    layouts: ClassVar[Mapping[str, Layout]] = {}
    stored_layout: ClassVar[str | None] = None
    tokenizer_class: ClassVar[type[BaseTokenizer]] = Tokenizer
    preprocess: ClassVar[str] = "paper"
    # train_unique_clip_weight.py of the reference: `logit_scale.requires_grad = False`.
    frozen: ClassVar[tuple[str, ...]] = ("logit_scale",)
    head: ClassVar[tuple[str, ...]] = ()
    has_frozen_part: ClassVar[bool] = False
    starts_from: ClassVar[type[Encoder] | None] = None

    image_size: int
    projection_dim: int

    @abc.abstractmethod
    def init_params(self, key: Array) -> Params:
        """Random float32 parameters: a nested dictionary."""

    @abc.abstractmethod
    def image_features(
        self, params: Params, crops: Crops, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "*batch D"]:
        """Features of crops; `remat` keeps little for the backward pass and computes it again."""

    @abc.abstractmethod
    def prompts(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None, devices: int = 1) -> Prompts:
        """K sentences, tokenized and packed into rows, whose number is a multiple of `devices`.

        The tokenizer is the model's own; None stands for `tokenizer_class.default()`. UsageError where a sentence has
        too many tokens, ModelError where the tokenizer does not fit the vocabulary.
        """

    @abc.abstractmethod
    def text_features(
        self, params: Params, rows: Any, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B R D"]:
        """Features of rows of `prompts`, or of a part of them."""

    def logits(
        self, params: Params, image_features: ImageFeatures, text_features: TextFeatures
    ) -> Float[Array, "*batch K"]:
        """Cosines of unit features, times the exponential of the parameter `logit_scale`."""
        return jnp.exp(params["logit_scale"]) * matmul(image_features, text_features.T)

    def encode_prompts(self, params: Params, prompts: Prompts, dtype: DTypeLike = jnp.float32) -> Float[Array, "K D"]:
        """Text features of all sentences; differentiable with respect to `params`."""
        features_BxRxD = self.text_features(params, jax.tree.map(jnp.asarray, prompts.rows), dtype)
        return features_BxRxD.reshape(-1, self.projection_dim)[prompts.order]

    def param_shapes(self, arrays: int) -> dict[str, tuple[int, ...]]:
        """Name, joined with slashes -> shape, for a file of `arrays` arrays.

        An encoder may raise ModelError for sizes of no model, or of a model with more arrays than the file has.
        """
        return {name: leaf.shape for name, leaf in flatten_dict(traced_params(self), sep="/").items()}

    def is_text(self, name: str) -> bool:
        """Whether a parameter decides text features, which are computed again when it changes."""
        return name.startswith("text_")

    def pool(self, params: Params, crops: Crops, dtype: DTypeLike = jnp.float32) -> Float[Array, "*batch F"]:
        """What the frozen part of the image encoder says of crops: F numbers that training never changes."""
        raise NotImplementedError

    def is_pooled(self, name: str) -> bool:
        """Whether `pool` depends on a parameter."""
        raise NotImplementedError

    def fit(self, params: Params, pooled: Sequence[Float[np.ndarray, "_ F"]]) -> Params:
        """Parameters that come from statistics of the pictures of each training set, before training."""
        raise NotImplementedError

    def project(self, params: Params, pooled: Float[AnyArray, "*batch F"]) -> Float[Array, "*batch r"]:
        """What the trained part takes; `image_features` accepts it in place of crops."""
        raise NotImplementedError

    def quantise(self, params: Params) -> Params:
        """Parameters for `dtype` int8; UsageError where the encoder has no products of int8."""
        raise UsageError(f"The encoder {self.name} has no int8 form. Choose float32 or bfloat16.")

    @abc.abstractmethod
    def to_config(self) -> dict[str, Any]:
        """A JSON-ready `config.json` whose `model_type` is `name`."""

    def describe(self) -> dict[str, str]:
        """What `liqe info` says of the architecture, by heading."""
        return {"input": f"{self.image_size} x {self.image_size}", "embedding": str(self.projection_dim)}

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Encoder:
        """The inverse of `to_config`; ModelError, TypeError or ValueError where the content describes no such model."""

    @classmethod
    def from_weights(cls, flat: Mapping[str, np.ndarray]) -> Encoder:
        """The architecture of a bare weight file, by the shapes of its arrays; ModelError where they do not tell it."""
        raise ModelError(f"A file of a {cls.name} needs a config.json beside it. Give the whole model folder.")

    @classmethod
    def from_architecture(cls, sizes: Mapping[str, Any], tokenizer: BaseTokenizer) -> Encoder:
        """The encoder of a random start: `config.architecture` of a training run, with the tokenizer's vocabulary."""
        return cls.from_config({**sizes, "vocab_size": len(tokenizer.vocab)})

    @classmethod
    def from_encoder(cls, encoder: Any, params: Params, key: Array) -> tuple[Encoder, Params]:
        """This encoder and its parameters, from those of an encoder of `starts_from`; `key` is for what is random."""
        raise NotImplementedError

    @classmethod
    def tokenizer_from(cls, folder: Path) -> BaseTokenizer | None:
        """The tokenizer in a model folder; None where there is none."""
        return cls.tokenizer_class.from_folder(folder)


# JAX remembers what it has traced, so equal encoders are traced and compiled once in a process.
@functools.partial(jax.jit, static_argnums=0)
def random_params(encoder: Encoder, key: Array) -> Params:
    """`Encoder.init_params`, compiled."""
    return encoder.init_params(key)


@functools.partial(jax.jit, static_argnames=("encoder", "dtype"))
def encode_prompts(
    encoder: Encoder, params: Params, prompts: Prompts, dtype: DTypeLike = jnp.float32
) -> Float[Array, "K D"]:
    """`Encoder.encode_prompts`, compiled."""
    return encoder.encode_prompts(params, prompts, dtype)


def traced_params(encoder: Encoder) -> Params:
    """Parameters of a random start, as shapes and dtypes; touches no device."""
    return random_params.eval_shape(encoder, jax.eval_shape(jax.random.key, 0))


def unit(features: Float[AnyArray, "... D"]) -> Float[Array, "... D"]:
    """Features divided by their Euclidean norm."""
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)
