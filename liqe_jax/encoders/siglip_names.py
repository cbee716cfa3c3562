"""Weight names of transformers' SiglipModel and Siglip2Model, and ours.

They correspond as in `transformers_names`, but for the pooling head: its PyTorch module stacks the projections of
queries, keys and values, which are three arrays here.
"""

from __future__ import annotations

import math

import numpy as np

from liqe_jax.encoders.layout import Layout, Rule, convolution, own_names, stacked
from liqe_jax.encoders.transformers_names import (
    BLOCKS,
    BUFFERS,
    OWN_BLOCKS,
    affine_names,
    norm_names,
    transformers_rules,
)

_PATCHES = ("vision_model.embeddings.patch_embedding.weight", "vision_model/embeddings/patch_embedding/kernel")
_NAMES = (
    "vision_model/embeddings/patch_embedding/bias",
    "vision_model/embeddings/position_embedding/embedding",
    "vision_model/head/probe",
    "text_model/embeddings/token_embedding/embedding",
    "text_model/embeddings/position_embedding/embedding",
    *norm_names("vision_model/post_layernorm", "vision_model/head/layernorm", "text_model/final_layer_norm"),
    *affine_names("vision_model/head/mlp/fc1", "vision_model/head/mlp/fc2", "text_model/head"),
)


def _patches_from_linear(kernel: np.ndarray) -> np.ndarray:
    """[W, S * S * 3] to [S, S, 3, W]."""
    width, inputs = kernel.shape
    size = math.isqrt(inputs // 3)
    return kernel.T.reshape(size, size, 3, width)


def _patches_to_linear(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(-1, kernel.shape[-1]).T


def _rules(patches: Rule, vision_layers: int, text_layers: int) -> list[Rule]:
    # Of shape [1] in PyTorch, scalars here.
    scalars = [
        Rule(name, (name,), lambda array: array.reshape(()), lambda array: array.reshape(1))
        for name in ("logit_scale", "logit_bias")
    ]
    pooling = stacked("vision_model.head.attention", "vision_model/head/attention")
    return [*scalars, patches, *pooling, *transformers_rules(_NAMES, vision_layers, text_layers)]


def siglip_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' SiglipModel, whose patch embedding is a convolution."""
    return _rules(convolution(*_PATCHES), vision_layers, text_layers)


def siglip2_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' Siglip2Model, whose patch embedding is a linear layer of rows, columns and colours."""
    patches = Rule(_PATCHES[0], _PATCHES[1:], _patches_from_linear, _patches_to_linear)
    return _rules(patches, vision_layers, text_layers)


SIGLIP = Layout(siglip_rules, "vision_model.head.probe", BLOCKS, OWN_BLOCKS, BUFFERS)
SIGLIP2 = Layout(siglip2_rules, "vision_model.head.probe", BLOCKS, OWN_BLOCKS, BUFFERS)
OWN = Layout(own_names(siglip_rules), "vision_model/head/probe", OWN_BLOCKS, OWN_BLOCKS)
