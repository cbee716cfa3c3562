"""CLIP's weight names: OpenAI's code, transformers' CLIPModel, and FlaxCLIPModel, whose names are ours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from liqe_jax.encoders.layout import Layout, Rule, affine, convolution, norm, own_names, same, transposed

# Patterns of our names that number the blocks of a tower.
_VISION, _TEXT = r"vision_model/encoder/layers/(\d+)/", r"text_model/encoder/layers/(\d+)/"


def openai_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """OpenAI's names (openai/CLIP, clip/model.py); q, k and v are stacked there."""

    def block(source: str, target: str) -> Iterable[Rule]:
        heads = tuple(f"{target}/self_attn/{name}_proj" for name in "qkv")
        yield Rule(f"{source}.attn.in_proj_weight", tuple(f"{h}/kernel" for h in heads), np.transpose, np.transpose)
        yield Rule(f"{source}.attn.in_proj_bias", tuple(f"{h}/bias" for h in heads), lambda a: a, lambda a: a)
        yield from affine(f"{source}.attn.out_proj", f"{target}/self_attn/out_proj")
        yield from norm(f"{source}.ln_1", f"{target}/layer_norm1")
        yield from affine(f"{source}.mlp.c_fc", f"{target}/mlp/fc1")
        yield from affine(f"{source}.mlp.c_proj", f"{target}/mlp/fc2")
        yield from norm(f"{source}.ln_2", f"{target}/layer_norm2")

    rules = [
        same("logit_scale", "logit_scale"),
        same("visual.class_embedding", "vision_model/embeddings/class_embedding"),
        convolution("visual.conv1.weight", "vision_model/embeddings/patch_embedding/kernel"),
        same("visual.positional_embedding", "vision_model/embeddings/position_embedding/embedding"),
        *norm("visual.ln_pre", "vision_model/pre_layrnorm"),
        *norm("visual.ln_post", "vision_model/post_layernorm"),
        same("visual.proj", "visual_projection/kernel"),
        same("token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        same("positional_embedding", "text_model/embeddings/position_embedding/embedding"),
        *norm("ln_final", "text_model/final_layer_norm"),
        same("text_projection", "text_projection/kernel"),
    ]
    for layer in range(vision_layers):
        rules += block(f"visual.transformer.resblocks.{layer}", f"vision_model/encoder/layers/{layer}")
    for layer in range(text_layers):
        rules += block(f"transformer.resblocks.{layer}", f"text_model/encoder/layers/{layer}")
    return rules


def hugging_face_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' PyTorch CLIPModel."""

    def block(source: str, target: str) -> Iterable[Rule]:
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from affine(f"{source}.self_attn.{name}", f"{target}/self_attn/{name}")
        yield from norm(f"{source}.layer_norm1", f"{target}/layer_norm1")
        yield from affine(f"{source}.mlp.fc1", f"{target}/mlp/fc1")
        yield from affine(f"{source}.mlp.fc2", f"{target}/mlp/fc2")
        yield from norm(f"{source}.layer_norm2", f"{target}/layer_norm2")

    vision, text = "vision_model.embeddings.", "text_model.embeddings."
    rules = [
        same("logit_scale", "logit_scale"),
        same(vision + "class_embedding", "vision_model/embeddings/class_embedding"),
        convolution(vision + "patch_embedding.weight", "vision_model/embeddings/patch_embedding/kernel"),
        same(vision + "position_embedding.weight", "vision_model/embeddings/position_embedding/embedding"),
        *norm("vision_model.pre_layrnorm", "vision_model/pre_layrnorm"),
        *norm("vision_model.post_layernorm", "vision_model/post_layernorm"),
        transposed("visual_projection.weight", "visual_projection/kernel"),
        same(text + "token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        same(text + "position_embedding.weight", "text_model/embeddings/position_embedding/embedding"),
        *norm("text_model.final_layer_norm", "text_model/final_layer_norm"),
        transposed("text_projection.weight", "text_projection/kernel"),
    ]
    for layer in range(vision_layers):
        rules += block(f"vision_model.encoder.layers.{layer}", f"vision_model/encoder/layers/{layer}")
    for layer in range(text_layers):
        rules += block(f"text_model.encoder.layers.{layer}", f"text_model/encoder/layers/{layer}")
    return rules


LAYOUTS = {
    "openai": Layout(
        openai_rules,
        "visual.conv1.weight",
        (r"visual\.transformer\.resblocks\.(\d+)\.", r"transformer\.resblocks\.(\d+)\."),
        (_VISION, _TEXT),
        r"(input_resolution|context_length|vocab_size)$",
    ),
    "hugging_face": Layout(
        hugging_face_rules,
        "vision_model.embeddings.class_embedding",
        (r"vision_model\.encoder\.layers\.(\d+)\.", r"text_model\.encoder\.layers\.(\d+)\."),
        (_VISION, _TEXT),
        r".*\.position_ids$",
    ),
    "flax": Layout(
        own_names(openai_rules), "vision_model/embeddings/class_embedding", (_VISION, _TEXT), (_VISION, _TEXT)
    ),
}
