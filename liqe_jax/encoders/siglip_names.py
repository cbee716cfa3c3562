"""Weight names of transformers' SiglipModel and Siglip2Model, and ours.

Ours are theirs, written with slashes and Flax's `kernel`, `scale` and `embedding`, but for the pooling head: its
PyTorch module stacks the projections of queries, keys and values, which are three arrays here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from liqe_jax.encoders.layout import Layout, Rule, affine, convolution, norm, own_names, same

_BLOCKS = (r"vision_model\.encoder\.layers\.(\d+)\.", r"text_model\.encoder\.layers\.(\d+)\.")
_OWN_BLOCKS = (r"vision_model/encoder/layers/(\d+)/", r"text_model/encoder/layers/(\d+)/")
_PATCHES = ("vision_model.embeddings.patch_embedding.weight", "vision_model/embeddings/patch_embedding/kernel")


def _patches_from_linear(kernel: np.ndarray) -> np.ndarray:
    """[W, S * S * 3] to [S, S, 3, W]."""
    width, inputs = kernel.shape
    size = math.isqrt(inputs // 3)
    return kernel.T.reshape(size, size, 3, width)


def _patches_to_linear(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(-1, kernel.shape[-1]).T


def _one_number(source: str, target: str) -> Rule:
    """A parameter of shape [1] in PyTorch, a scalar here."""
    return Rule(source, (target,), lambda array: array.reshape(()), lambda array: array.reshape(1))


def _block(source: str, target: str) -> Iterable[Rule]:
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from affine(f"{source}.self_attn.{name}", f"{target}/self_attn/{name}")
    yield from norm(f"{source}.layer_norm1", f"{target}/layer_norm1")
    yield from affine(f"{source}.mlp.fc1", f"{target}/mlp/fc1")
    yield from affine(f"{source}.mlp.fc2", f"{target}/mlp/fc2")
    yield from norm(f"{source}.layer_norm2", f"{target}/layer_norm2")


def _pooling(source: str, target: str) -> Iterable[Rule]:
    yield same(f"{source}.probe", f"{target}/probe")
    heads = tuple(f"{target}/attention/{name}_proj" for name in "qkv")
    kernels, biases = tuple(f"{h}/kernel" for h in heads), tuple(f"{h}/bias" for h in heads)
    yield Rule(f"{source}.attention.in_proj_weight", kernels, np.transpose, np.transpose)
    yield Rule(f"{source}.attention.in_proj_bias", biases, lambda array: array, lambda array: array)
    yield from affine(f"{source}.attention.out_proj", f"{target}/attention/out_proj")
    yield from norm(f"{source}.layernorm", f"{target}/layernorm")
    yield from affine(f"{source}.mlp.fc1", f"{target}/mlp/fc1")
    yield from affine(f"{source}.mlp.fc2", f"{target}/mlp/fc2")


def _rules(patches: Rule, vision_layers: int, text_layers: int) -> list[Rule]:
    vision, text = "vision_model.embeddings.", "text_model.embeddings."
    rules = [
        _one_number("logit_scale", "logit_scale"),
        _one_number("logit_bias", "logit_bias"),
        patches,
        same(vision + "patch_embedding.bias", "vision_model/embeddings/patch_embedding/bias"),
        same(vision + "position_embedding.weight", "vision_model/embeddings/position_embedding/embedding"),
        *norm("vision_model.post_layernorm", "vision_model/post_layernorm"),
        *_pooling("vision_model.head", "vision_model/head"),
        same(text + "token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        same(text + "position_embedding.weight", "text_model/embeddings/position_embedding/embedding"),
        *norm("text_model.final_layer_norm", "text_model/final_layer_norm"),
        *affine("text_model.head", "text_model/head"),
    ]
    for layer in range(vision_layers):
        rules += _block(f"vision_model.encoder.layers.{layer}", f"vision_model/encoder/layers/{layer}")
    for layer in range(text_layers):
        rules += _block(f"text_model.encoder.layers.{layer}", f"text_model/encoder/layers/{layer}")
    return rules


def siglip_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' SiglipModel, whose patch embedding is a convolution."""
    return _rules(convolution(*_PATCHES), vision_layers, text_layers)


def siglip2_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' Siglip2Model, whose patch embedding is a linear layer of rows, columns and colours."""
    patches = Rule(_PATCHES[0], _PATCHES[1:], _patches_from_linear, _patches_to_linear)
    return _rules(patches, vision_layers, text_layers)


_SIGNATURE, _OWN_SIGNATURE = "vision_model.head.probe", "vision_model/head/probe"
_BUFFERS = r".*\.position_ids$"
SIGLIP = Layout(siglip_rules, _SIGNATURE, _BLOCKS, _OWN_BLOCKS, _BUFFERS)
SIGLIP2 = Layout(siglip2_rules, _SIGNATURE, _BLOCKS, _OWN_BLOCKS, _BUFFERS)
OWN = Layout(own_names(siglip_rules), _OWN_SIGNATURE, _OWN_BLOCKS, _OWN_BLOCKS)
