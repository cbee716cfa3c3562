"""CLIP's towers in Flax: a ViT and a causal text transformer that share an embedding space.

The parameter tree is that of transformers' FlaxCLIPModel, so its `flax_model.msgpack` files load as they are (the
misspelt `pre_layrnorm` is theirs). Pixels are 0 to 255; normalisation happens here, on the device.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.base import unit
from liqe_jax.encoders.clip_prompts import PackedRows
from liqe_jax.encoders.embeddings import PatchEmbedding, TextEmbeddings, TowerModule
from liqe_jax.encoders.int8 import BytePatchEmbedding, is_int8
from liqe_jax.encoders.layers import Dense, LayerNorm, Transformer
from liqe_jax.encoders.products import AnyArray

# CLIP's pixel statistics (openai/CLIP, clip/clip.py:85), RGB in [0, 1].
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def normalise_pixels(pixels: Num[AnyArray, "... 3"]) -> Float[Array, "... 3"]:
    """RGB in 0..255 to CLIP's normalised pixels, float32, with torchvision's order of operations."""
    return (jnp.asarray(pixels, jnp.float32) / 255.0 - jnp.asarray(PIXEL_MEAN)) / jnp.asarray(PIXEL_STD)


class VisionEmbeddings(TowerModule):
    """Class token, projected ViT patches and learned positions."""

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"]) -> Float[Array, "B T W"]:
        width, size = self.config.vision.width, self.config.patch_size
        if is_int8(self.dtype):
            patches = BytePatchEmbedding(width, size, name="patch_embedding")(pixels)
        else:
            patches = PatchEmbedding(width, size, self.dtype, name="patch_embedding")(normalise_pixels(pixels))
        class_token = self.param("class_embedding", nn.initializers.normal(0.02), (width,))
        class_tokens = jnp.broadcast_to(class_token.astype(jnp.float32), (pixels.shape[0], 1, width))
        positions = nn.Embed(self.config.vision_tokens, width, name="position_embedding").embedding
        return jnp.concatenate([class_tokens, patches], axis=1) + positions.astype(jnp.float32)


class VisionTower(TowerModule):
    """Pixels, 0..255, to the class token's output."""

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"]) -> Float[Array, "B W"]:
        eps = self.config.vision.layer_norm_eps
        x = VisionEmbeddings(self.config, self.dtype, name="embeddings")(pixels)
        x = LayerNorm(eps, name="pre_layrnorm")(x)
        class_token = jnp.zeros((x.shape[0], 1), jnp.int32)
        x = Transformer(self.config.vision, self.dtype, self.remat, name="encoder")(x, None, class_token)
        return LayerNorm(eps, name="post_layernorm")(x[:, 0])


class TextTower(TowerModule):
    """Rows of packed prompts to the outputs of the tokens at their `ends`."""

    @nn.compact
    def __call__(self, rows: PackedRows) -> Float[Array, "B R W"]:
        x = TextEmbeddings(self.config, name="embeddings")(rows.token_ids, rows.positions)
        transformer = Transformer(self.config.text, self.dtype, self.remat, name="encoder")
        x = transformer(x, jnp.asarray(rows.mask), jnp.asarray(rows.ends))
        return LayerNorm(self.config.text.layer_norm_eps, name="final_layer_norm")(x)


class CLIPTowers(TowerModule):
    """Both towers, their projections and the logit scale."""

    def setup(self) -> None:
        self.vision_model = VisionTower(self.config, self.dtype, self.remat)
        self.text_model = TextTower(self.config, self.dtype, self.remat)
        self.visual_projection = Dense(self.config.projection_dim, self.dtype, use_bias=False)
        self.text_projection = Dense(self.config.projection_dim, self.dtype, use_bias=False)
        # OpenAI's initial temperature, 1 / 0.07 (openai/CLIP, clip/model.py:295).
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())

    def image_features(self, crops: Num[AnyArray, "B H H 3"]) -> Float[Array, "B D"]:
        """Unit features of crops with RGB values in 0..255."""
        return unit(self.visual_projection(self.vision_model(crops)))

    def text_features(self, rows: PackedRows) -> Float[Array, "B R D"]:
        """Unit features of the tokens at `ends`; a plain row has positions 0, 1, ... and a lower triangle as mask."""
        return unit(self.text_projection(self.text_model(rows)))

    def __call__(self, crops: Num[AnyArray, "B H H 3"], token_ids: Int[AnyArray, "K L"]) -> Array:
        """Touches every parameter; for `init` only."""
        length = token_ids.shape[1]
        positions = jnp.broadcast_to(jnp.arange(length), token_ids.shape)
        mask = jnp.tril(jnp.ones((1, length, length), bool))
        ends = jnp.full((token_ids.shape[0], 1), length - 1)
        text = self.text_features(PackedRows(token_ids, positions, mask, ends))[:, 0]
        return jnp.exp(self.logit_scale) * self.image_features(crops) @ text.T
