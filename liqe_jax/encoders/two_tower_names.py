"""Weight names of CLIP and SigLIP: OpenAI's, those of transformers in PyTorch, and FlaxCLIPModel's, which are ours.

Those of transformers are ours with dots, and `weight` for `kernel`, `scale` and `embedding`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from liqe_jax.encoders.layout import Layout, Rule, affine, convolution, norm, own_names, same, stacked, transposed

# Patterns that number the blocks of the towers, in transformers' names and in ours.
_BLOCKS = (r"vision_model\.encoder\.layers\.(\d+)\.", r"text_model\.encoder\.layers\.(\d+)\.")
_OWN_BLOCKS = (r"vision_model/encoder/layers/(\d+)/", r"text_model/encoder/layers/(\d+)/")
_BUFFERS = r".*\.position_ids$"

_PATCHES = ("vision_model.embeddings.patch_embedding.weight", "vision_model/embeddings/patch_embedding/kernel")


_AFFINE, _NORM = ("kernel", "bias"), ("scale", "bias")


def _names(kinds: tuple[str, str], *modules: str) -> Iterator[str]:
    return (f"{module}/{kind}" for module in modules for kind in kinds)


_OF_A_BLOCK = (
    *_names(_AFFINE, *(f"self_attn/{name}_proj" for name in ("q", "k", "v", "out")), "mlp/fc1", "mlp/fc2"),
    *_names(_NORM, "layer_norm1", "layer_norm2"),
)
_OF_BOTH = (
    "vision_model/embeddings/position_embedding/embedding",
    "text_model/embeddings/token_embedding/embedding",
    "text_model/embeddings/position_embedding/embedding",
    *_names(_NORM, "vision_model/post_layernorm", "text_model/final_layer_norm"),
)
_OF_CLIP = (
    "logit_scale",
    "vision_model/embeddings/class_embedding",
    *_names(_NORM, "vision_model/pre_layrnorm"),
    "visual_projection/kernel",
    "text_projection/kernel",
)
_OF_SIGLIP = (
    "vision_model/embeddings/patch_embedding/bias",
    "vision_model/head/probe",
    *_names(_NORM, "vision_model/head/layernorm"),
    *_names(_AFFINE, "vision_model/head/mlp/fc1", "vision_model/head/mlp/fc2", "text_model/head"),
)


def _transformers_rules(names: Iterable[str], vision_layers: int, text_layers: int) -> list[Rule]:
    """Rules of our `names`, of the names of both models, and of all blocks of both towers."""
    blocks = (
        f"{tower}/encoder/layers/{layer}/{name}"
        for tower, count in (("vision_model", vision_layers), ("text_model", text_layers))
        for layer in range(count)
        for name in _OF_A_BLOCK
    )
    return [_transformers_rule(name) for name in (*names, *_OF_BOTH, *blocks)]


def _transformers_rule(name: str) -> Rule:
    path, _, kind = name.rpartition("/")
    source = f"{path}/weight" if kind in ("kernel", "scale", "embedding") else name
    return (transposed if kind == "kernel" else same)(source.replace("/", "."), name)


def _openai_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """OpenAI's names (openai/CLIP, clip/model.py); q, k and v are stacked there."""
    rules = [
        same("logit_scale", "logit_scale"),
        same("visual.class_embedding", "vision_model/embeddings/class_embedding"),
        convolution("visual.conv1.weight", _PATCHES[1]),
        same("visual.positional_embedding", "vision_model/embeddings/position_embedding/embedding"),
        *norm("visual.ln_pre", "vision_model/pre_layrnorm"),
        *norm("visual.ln_post", "vision_model/post_layernorm"),
        same("visual.proj", "visual_projection/kernel"),
        same("token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        same("positional_embedding", "text_model/embeddings/position_embedding/embedding"),
        *norm("ln_final", "text_model/final_layer_norm"),
        same("text_projection", "text_projection/kernel"),
    ]
    for theirs, ours, count in (("visual.", "vision_model", vision_layers), ("", "text_model", text_layers)):
        for layer in range(count):
            source, target = f"{theirs}transformer.resblocks.{layer}", f"{ours}/encoder/layers/{layer}"
            rules += stacked(f"{source}.attn", f"{target}/self_attn")
            rules += norm(f"{source}.ln_1", f"{target}/layer_norm1")
            rules += affine(f"{source}.mlp.c_fc", f"{target}/mlp/fc1")
            rules += affine(f"{source}.mlp.c_proj", f"{target}/mlp/fc2")
            rules += norm(f"{source}.ln_2", f"{target}/layer_norm2")
    return rules


def _clip_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    return [convolution(*_PATCHES), *_transformers_rules(_OF_CLIP, vision_layers, text_layers)]


def _siglip_rules(vision_layers: int, text_layers: int, patches: Rule | None = None) -> list[Rule]:
    """SigLIP's patch embedding is a convolution; the pooling head's projections of q, k and v are stacked."""
    # Of shape [1] in PyTorch, scalars here.
    names = ("logit_scale", "logit_bias")
    scalars = [Rule(name, (name,), lambda a: a.reshape(()), lambda a: a.reshape(1)) for name in names]
    pooling = stacked("vision_model.head.attention", "vision_model/head/attention")
    others = _transformers_rules(_OF_SIGLIP, vision_layers, text_layers)
    return [*scalars, patches or convolution(*_PATCHES), *pooling, *others]


def _siglip2_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """SigLIP 2's patch embedding is a linear layer of rows, columns and colours."""
    patches = Rule(_PATCHES[0], _PATCHES[1:], _patches_from_linear, lambda a: a.reshape(-1, a.shape[-1]).T)
    return _siglip_rules(vision_layers, text_layers, patches)


def _patches_from_linear(kernel: np.ndarray) -> np.ndarray:
    """[W, S * S * 3] to [S, S, 3, W]."""
    width, inputs = kernel.shape
    size = math.isqrt(inputs // 3)
    return kernel.T.reshape(size, size, 3, width)


CLIP_LAYOUTS = {
    "openai": Layout(
        _openai_rules,
        "visual.conv1.weight",
        (r"visual\.transformer\.resblocks\.(\d+)\.", r"transformer\.resblocks\.(\d+)\."),
        _OWN_BLOCKS,
        r"(input_resolution|context_length|vocab_size)$",
    ),
    "hugging_face": Layout(_clip_rules, "vision_model.embeddings.class_embedding", _BLOCKS, _OWN_BLOCKS, _BUFFERS),
    "flax": Layout(own_names(_openai_rules), "vision_model/embeddings/class_embedding", _OWN_BLOCKS, _OWN_BLOCKS),
}
_OWN_SIGLIP = Layout(own_names(_siglip_rules), "vision_model/head/probe", _OWN_BLOCKS, _OWN_BLOCKS)
SIGLIP_LAYOUTS = {
    "hugging_face": Layout(_siglip_rules, "vision_model.head.probe", _BLOCKS, _OWN_BLOCKS, _BUFFERS),
    "flax": _OWN_SIGLIP,
}
SIGLIP2_LAYOUTS = {
    "hugging_face": Layout(_siglip2_rules, "vision_model.head.probe", _BLOCKS, _OWN_BLOCKS, _BUFFERS),
    "flax": _OWN_SIGLIP,
}
