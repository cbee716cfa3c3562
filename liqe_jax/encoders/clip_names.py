"""CLIP's weight names: OpenAI's code, transformers' CLIPModel, and FlaxCLIPModel, whose names are ours."""

from __future__ import annotations

from liqe_jax.encoders.layout import Layout, Rule, affine, convolution, norm, own_names, same, stacked
from liqe_jax.encoders.transformers_names import BLOCKS, BUFFERS, OWN_BLOCKS, norm_names, transformers_rules

_PATCHES = "vision_model/embeddings/patch_embedding/kernel"
_NAMES = (
    "logit_scale",
    "vision_model/embeddings/class_embedding",
    "vision_model/embeddings/position_embedding/embedding",
    *norm_names("vision_model/pre_layrnorm", "vision_model/post_layernorm", "text_model/final_layer_norm"),
    "visual_projection/kernel",
    "text_model/embeddings/token_embedding/embedding",
    "text_model/embeddings/position_embedding/embedding",
    "text_projection/kernel",
)


def openai_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """OpenAI's names (openai/CLIP, clip/model.py); q, k and v are stacked there."""
    rules = [
        same("logit_scale", "logit_scale"),
        same("visual.class_embedding", "vision_model/embeddings/class_embedding"),
        convolution("visual.conv1.weight", _PATCHES),
        same("visual.positional_embedding", "vision_model/embeddings/position_embedding/embedding"),
        *norm("visual.ln_pre", "vision_model/pre_layrnorm"),
        *norm("visual.ln_post", "vision_model/post_layernorm"),
        same("visual.proj", "visual_projection/kernel"),
        same("token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        same("positional_embedding", "text_model/embeddings/position_embedding/embedding"),
        *norm("ln_final", "text_model/final_layer_norm"),
        same("text_projection", "text_projection/kernel"),
    ]
    towers = (("visual.", "vision_model", vision_layers), ("", "text_model", text_layers))
    for theirs, ours, count in towers:
        for layer in range(count):
            source, target = f"{theirs}transformer.resblocks.{layer}", f"{ours}/encoder/layers/{layer}"
            rules += stacked(f"{source}.attn", f"{target}/self_attn")
            rules += norm(f"{source}.ln_1", f"{target}/layer_norm1")
            rules += affine(f"{source}.mlp.c_fc", f"{target}/mlp/fc1")
            rules += affine(f"{source}.mlp.c_proj", f"{target}/mlp/fc2")
            rules += norm(f"{source}.ln_2", f"{target}/layer_norm2")
    return rules


def hugging_face_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' PyTorch CLIPModel."""
    patches = convolution("vision_model.embeddings.patch_embedding.weight", _PATCHES)
    return [patches, *transformers_rules(_NAMES, vision_layers, text_layers)]


LAYOUTS = {
    "openai": Layout(
        openai_rules,
        "visual.conv1.weight",
        (r"visual\.transformer\.resblocks\.(\d+)\.", r"transformer\.resblocks\.(\d+)\."),
        OWN_BLOCKS,
        r"(input_resolution|context_length|vocab_size)$",
    ),
    "hugging_face": Layout(hugging_face_rules, "vision_model.embeddings.class_embedding", BLOCKS, OWN_BLOCKS, BUFFERS),
    "flax": Layout(own_names(openai_rules), "vision_model/embeddings/class_embedding", OWN_BLOCKS, OWN_BLOCKS),
}
