"""CLIP in Flax: a ViT and a causal text transformer that share an embedding space.

The parameter tree is the one of transformers' FlaxCLIPModel, so its `flax_model.msgpack`
files load as they are (the misspelt `pre_layrnorm` is theirs). Inputs of the vision tower are
bytes or bytes as floats, 0 to 255: normalisation happens here, on the device, so that what
travels there is a quarter of the size.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num

from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.int8 import BytePatchEmbedding, float_dtype, is_int8
from liqe_jax.model.layers import Dense, Encoder, LayerNorm, dot
from liqe_jax.model.stem import frequency_features, stem_features
from liqe_jax.taxonomy import PIXEL_MEAN, PIXEL_STD

Params = dict[str, Any]  # nested; leaves are arrays


def normalise_pixels(pixels: Num[AnyArray, "... 3"]) -> Float[Array, "... 3"]:
    """RGB in 0..255 to CLIP's normalised pixels, float32, with torchvision's order of operations."""
    return (jnp.asarray(pixels, jnp.float32) / 255.0 - jnp.asarray(PIXEL_MEAN)) / jnp.asarray(PIXEL_STD)


class PatchEmbedding(nn.Module):
    """A convolution whose stride is its size, written as the product that it is."""

    features: int
    patch_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, pixels: Float[AnyArray, "B H H 3"]) -> Float[Array, "B L W"]:
        size, side = self.patch_size, pixels.shape[1] // self.patch_size
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, size, 3, self.features))
        squares = pixels.reshape(-1, side, size, side, size, 3).swapaxes(2, 3)
        flat = squares.reshape(-1, side * side, size * size * 3)
        return dot(flat, kernel.reshape(-1, self.features), self.dtype)


class FrequencyEmbedding(nn.Module):
    """The same for `stem.frequency_features`; its kernel is that of a convolution over squares."""

    features: int
    patch_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"] | Num[AnyArray, "B L F"]) -> Float[Array, "B L W"]:
        shape = (1, 1, stem_features(self.patch_size), self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        # Squares in a row have been through the stem already.
        done = pixels.ndim == 3
        squares = jnp.asarray(pixels, jnp.float32) if done else frequency_features(pixels, self.patch_size)
        return dot(squares, kernel[0, 0], float_dtype(self.dtype))


class VisionEmbeddings(nn.Module):
    """Class token, projected squares and learnt positions."""

    config: CLIPConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, pixels: Num[AnyArray, "B H H 3"] | Num[AnyArray, "B L F"], kept: Int[AnyArray, "B k"] | None = None
    ) -> Float[Array, "B T W"]:
        width, size = self.config.vision.width, self.config.patch_size
        ready = pixels.ndim == 3  # through the stem: what is not shown need not be projected either
        if kept is not None and ready:
            pixels = jnp.take_along_axis(jnp.asarray(pixels), kept[..., None], axis=1)
        if self.config.stem == "pixels" and is_int8(self.dtype):
            squares = BytePatchEmbedding(width, size, name="patch_embedding")(pixels)
        elif self.config.stem == "pixels":
            squares = PatchEmbedding(width, size, self.dtype, name="patch_embedding")(normalise_pixels(pixels))
        else:
            squares = FrequencyEmbedding(width, size, self.dtype, name="patch_embedding")(pixels)
        class_token = self.param("class_embedding", nn.initializers.normal(0.02), (width,))
        class_tokens = jnp.broadcast_to(class_token.astype(jnp.float32), (pixels.shape[0], 1, width))
        positions = nn.Embed(self.config.vision_tokens, width, name="position_embedding").embedding
        positions = positions.astype(jnp.float32)
        if kept is None:
            return jnp.concatenate([class_tokens, squares], axis=1) + positions
        if not ready:
            squares = jnp.take_along_axis(squares, kept[..., None], axis=1)
        return jnp.concatenate([class_tokens + positions[0], squares + positions[1:][kept]], axis=1)


class VisionTower(nn.Module):
    """Pixels, 0..255, to the class token's output."""

    config: CLIPConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(
        self, pixels: Num[AnyArray, "B H H 3"] | Num[AnyArray, "B L F"], kept: Int[AnyArray, "B k"] | None = None
    ) -> Float[Array, "B W"]:
        eps = self.config.vision.layer_norm_eps
        x = VisionEmbeddings(self.config, self.dtype, name="embeddings")(pixels, kept)
        x = LayerNorm(eps, name="pre_layrnorm")(x)
        class_token = jnp.zeros((x.shape[0], 1), jnp.int32)
        x = Encoder(self.config.vision, self.dtype, self.remat, name="encoder")(x, None, class_token)
        return LayerNorm(eps, name="post_layernorm")(x[:, 0])


class TextEmbeddings(nn.Module):
    """Token and position embeddings."""

    config: CLIPConfig

    @nn.compact
    def __call__(self, token_ids: Int[AnyArray, "B L"], positions: Int[AnyArray, "B L"]) -> Float[Array, "B L W"]:
        width = self.config.text.width
        tokens = nn.Embed(self.config.vocab_size, width, name="token_embedding")(token_ids)
        return tokens + nn.Embed(self.config.context_length, width, name="position_embedding")(positions)


class TextTower(nn.Module):
    """Token ids to the outputs of the tokens named by `read`.

    `positions` and `mask` are arguments, since prompts that share a prefix travel packed in
    one row (see `prompts.py`); the plain form is `arange` and a lower triangle.
    """

    config: CLIPConfig
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        token_ids: Int[AnyArray, "B L"],
        positions: Int[AnyArray, "B L"],
        mask: Bool[AnyArray, "#B L L"],
        read: Int[AnyArray, "B R"],
    ) -> Float[Array, "B R W"]:
        x = TextEmbeddings(self.config, name="embeddings")(token_ids, positions).astype(jnp.float32)
        x = Encoder(self.config.text, self.dtype, self.remat, name="encoder")(x, jnp.asarray(mask), jnp.asarray(read))
        return LayerNorm(self.config.text.layer_norm_eps, name="final_layer_norm")(x)


def unit(features: Float[AnyArray, "... D"]) -> Float[Array, "... D"]:
    """Features divided by their Euclidean norm."""
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


class CLIP(nn.Module):
    """Both towers, their projections and the logit scale.

    `dtype` is the type of the operands of matrix products: float32, bfloat16, or int8 (for
    parameters that have been through `int8.quantise`; not differentiable). Sums, normalisations,
    softmax and outputs are float32 in any case. `remat` trades time for memory in backward
    passes and changes no value.
    """

    config: CLIPConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        self.vision_model = VisionTower(self.config, self.dtype, self.remat)
        self.text_model = TextTower(self.config, self.dtype, self.remat)
        self.visual_projection = Dense(self.config.projection_dim, self.dtype, use_bias=False)
        self.text_projection = Dense(self.config.projection_dim, self.dtype, use_bias=False)
        # OpenAI's initial temperature, 1 / 0.07 (openai/CLIP, clip/model.py:295).
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())

    def image_features(
        self, patches: Num[AnyArray, "B H H 3"] | Num[AnyArray, "B L F"], kept: Int[AnyArray, "B k"] | None = None
    ) -> Float[Array, "B D"]:
        """Unit features of patches with RGB values in 0..255, or of what the stem made of them."""
        return unit(self.visual_projection(self.vision_model(patches, kept)))

    def text_features(
        self,
        token_ids: Int[AnyArray, "B L"],
        positions: Int[AnyArray, "B L"],
        mask: Bool[AnyArray, "#B L L"],
        read: Int[AnyArray, "B R"],
    ) -> Float[Array, "B R D"]:
        """Unit features of the tokens named by `read`."""
        return unit(self.text_projection(self.text_model(token_ids, positions, mask, read)))

    def __call__(self, patches: Num[AnyArray, "B H H 3"], token_ids: Int[AnyArray, "K L"]) -> Array:
        """Touches every parameter; for `init` only."""
        length = token_ids.shape[1]
        positions = jnp.broadcast_to(jnp.arange(length), token_ids.shape)
        read = jnp.full((token_ids.shape[0], 1), length - 1)
        mask = jnp.tril(jnp.ones((1, length, length), bool))
        text = self.text_features(token_ids, positions, mask, read)[:, 0]
        return jnp.exp(self.logit_scale) * self.image_features(patches) @ text.T


def init_params(key: Array, config: CLIPConfig) -> Params:
    """Random float32 parameters for `config`; a plain nested dict of arrays."""
    patch = jnp.zeros((1, config.image_size, config.image_size, 3), jnp.uint8)
    token_ids = jnp.zeros((1, min(8, config.context_length)), jnp.int32)
    return CLIP(config).init(key, patch, token_ids)["params"]


def param_shapes(config: CLIPConfig) -> Params:
    """The tree of `jax.ShapeDtypeStruct` that a checkpoint for `config` has to fill."""
    return jax.eval_shape(lambda: init_params(jax.random.key(0), config))


def encode_image(
    params: Params,
    patches: Num[AnyArray, "*batch H H 3"] | Num[AnyArray, "*batch L F"],
    config: CLIPConfig,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    kept: Int[AnyArray, "*batch k"] | None = None,
) -> Float[Array, "*batch D"]:
    """Unit image features; any leading axes.

    Args:
      params: as from `init_params` or a checkpoint.
      patches: RGB, 0..255, uint8 or float, sides `config.image_size`; or, for the stem of frequencies, what
        `stem.frequency_features` makes of it, [*batch, L, F].
      config: the model's shape.
      dtype: operand type of the matrix products, as for `CLIP`.
      remat: keep little for the backward pass and compute it again.
      kept: the squares that the tower is shown, numbered by rows from 0; None shows it all of them.
    """
    inner = 2 if patches.shape[-1] != 3 and config.stem == "frequencies" else 3
    flat = patches.reshape(-1, *patches.shape[-inner:])
    shown = None if kept is None else jnp.asarray(kept).reshape(-1, kept.shape[-1])
    if flat.shape[0] == 0:  # XLA's shapes of nothing are ambiguous
        return jnp.zeros((*patches.shape[:-inner], config.projection_dim), jnp.float32)
    clip = CLIP(config, dtype, remat)
    features = jnp.asarray(clip.apply({"params": params}, flat, shown, method=CLIP.image_features))
    return features.reshape(*patches.shape[:-inner], -1)
