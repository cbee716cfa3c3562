"""SigLIP's towers in Flax: a ViT with attention pooling and a bidirectional text transformer.

SigLIP (arXiv 2303.15343) and SigLIP 2 at fixed resolution (arXiv 2502.14786) have the same arithmetic. Names of
parameters are those of transformers' SiglipModel. Pixels are 0 to 255; normalisation happens here, on the device.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from liqe_jax.encoders.base import unit
from liqe_jax.encoders.embeddings import PatchEmbedding, TextEmbeddings, TowerModule
from liqe_jax.encoders.layers import MLP, Attention, Dense, LayerNorm, Transformer
from liqe_jax.encoders.products import AnyArray
from liqe_jax.encoders.two_towers import TowerConfig

# big_vision's value_range(-1, 1); image_mean and image_std of the published preprocessor_config.json.
PIXEL_MEAN, PIXEL_STD = 0.5, 0.5


def normalise_pixels(pixels: Num[AnyArray, "... 3"]) -> Float[Array, "... 3"]:
    """RGB in 0..255 to -1..1, float32, in torchvision's order of operations."""
    return (jnp.asarray(pixels, jnp.float32) / 255.0 - PIXEL_MEAN) / PIXEL_STD


class VisionEmbeddings(TowerModule):
    """Projected ViT patches and learned positions; there is no class token."""

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"]) -> Float[Array, "B T W"]:
        width, size = self.config.vision.width, self.config.patch_size
        embed = PatchEmbedding(width, size, self.dtype, use_bias=True, name="patch_embedding")
        initial = nn.initializers.normal(1 / math.sqrt(width))  # big_vision, models/vit.py, get_posemb
        positions = nn.Embed(self.config.vision_tokens, width, embedding_init=initial, name="position_embedding")
        return embed(normalise_pixels(pixels)) + positions.embedding.astype(jnp.float32)


class AttentionPooling(nn.Module):
    """One learned query that attends to all tokens, and a two-layer perceptron after it."""

    config: TowerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T W"]) -> Float[Array, "B W"]:
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, self.config.width))
        queries = jnp.broadcast_to(probe.astype(jnp.float32), (x.shape[0], 1, self.config.width))
        pooled = Attention(self.config.heads, self.dtype, name="attention")(queries, x, None)
        normed = LayerNorm(self.config.layer_norm_eps, name="layernorm")(pooled)
        return (pooled + MLP(self.config, self.dtype, name="mlp")(normed))[:, 0]


class VisionTower(TowerModule):
    """Pixels, 0..255, to one vector for each crop."""

    @nn.compact
    def __call__(self, pixels: Num[AnyArray, "B H H 3"]) -> Float[Array, "B W"]:
        tower = self.config.vision
        x = VisionEmbeddings(self.config, self.dtype, name="embeddings")(pixels)
        every_token = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        x = Transformer(tower, self.dtype, self.remat, name="encoder")(x, None, every_token)
        x = LayerNorm(tower.layer_norm_eps, name="post_layernorm")(x)
        return AttentionPooling(tower, self.dtype, name="head")(x)


class TextTower(TowerModule):
    """Token ids to the projected output of the last token, which is padding in all but the longest sentences.

    Every token attends to all of them, padding included, as in SiglipModel with the published tokenizers, which return
    no attention mask (`model_input_names` in tokenizer_config.json).
    """

    # As in training: big_vision's models/proj/image_text/text_transformer.py has no mask.

    @nn.compact
    def __call__(self, token_ids: Int[AnyArray, "B L"]) -> Float[Array, "B D"]:
        x = TextEmbeddings(self.config, name="embeddings")(token_ids, jnp.arange(token_ids.shape[1])[None])
        last = jnp.full((x.shape[0], 1), x.shape[1] - 1, jnp.int32)
        x = Transformer(self.config.text, self.dtype, self.remat, name="encoder")(x, None, last)
        x = LayerNorm(self.config.text.layer_norm_eps, name="final_layer_norm")(x[:, 0])
        return Dense(self.config.projection_dim, self.dtype, name="head")(x)


class SigLIPTowers(TowerModule):
    """Both towers, the logit scale and the logit bias."""

    def setup(self) -> None:
        self.vision_model = VisionTower(self.config, self.dtype, self.remat)
        self.text_model = TextTower(self.config, self.dtype, self.remat)
        # The initial values of the paper's section 3.2: a factor of 10, and a bias of -10.
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(math.log(10)), ())
        self.logit_bias = self.param("logit_bias", nn.initializers.constant(-10.0), ())

    def image_features(self, crops: Num[AnyArray, "B H H 3"]) -> Float[Array, "B D"]:
        """Unit features of crops with RGB values in 0..255."""
        return unit(self.vision_model(crops))

    def text_features(self, token_ids: Int[AnyArray, "B L"]) -> Float[Array, "B D"]:
        """Unit features of sentences padded to L tokens."""
        return unit(self.text_model(token_ids))

    def __call__(self, crops: Num[AnyArray, "B H H 3"], token_ids: Int[AnyArray, "K L"]) -> Array:
        """Touches every parameter; for `init` only."""
        cosines = self.image_features(crops) @ self.text_features(token_ids).T
        return jnp.exp(self.logit_scale) * cosines + self.logit_bias
