"""Small SigLIPs for tests: sizes, weights, tokenizers and a model folder."""

from __future__ import annotations

import json
import string
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tokenizers
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save_file
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from liqe_jax.encoders.siglip import SigLIP, SigLIP2
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.taxonomy import JOINT
from liqe_jax.weights.layouts import Flat, from_flax


def siglip_tower(width: int, layers: int, heads: int, mlp_width: int) -> TowerConfig:
    """A tower with SigLIP's activation and epsilon."""
    return TowerConfig(width, layers, heads, mlp_width, "gelu_pytorch_tanh", 1e-6)


# 35 pixels hold four patches of 8; the last 3 pixels are dropped.
SIGLIP_SMALL = SigLIP(
    siglip_tower(48, 2, 3, 80), siglip_tower(32, 3, 4, 64), 35, 8, vocab_size=70, context_length=10, projection_dim=48
)
SIGLIP2_SMALL = SigLIP2(**{**vars(SIGLIP_SMALL), "image_size": 32})
# The depth, grid and context of the published base models, at a third of their width.
SIGLIP_DEEP = SigLIP(siglip_tower(256, 12, 4, 1024), siglip_tower(256, 12, 4, 1024), vocab_size=500, projection_dim=256)

# As the published ones take pictures, and everything else as small as it goes.
SIGLIP_TINY = SigLIP(
    siglip_tower(64, 2, 2, 96), siglip_tower(32, 2, 2, 64), patch_size=32, vocab_size=260, projection_dim=64
)
SIGLIP2_TINY = SigLIP2(**vars(SIGLIP_TINY))


def siglip_weights(encoder: SigLIP, seed: int = 0) -> Flat:
    """Parameters that keep activations near one, with no bias at zero and no scale at one."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in encoder.param_shapes(10_000).items():
        spread = np.prod(shape[:-1]) ** -0.5 if name.endswith("kernel") else 0.1
        flat[name] = rng.normal(name.endswith("scale"), spread, shape).astype(np.float32)
    # Near those of siglip-base-patch16-224: a factor of 118, and a bias of -13.
    return flat | {"logit_scale": np.float32(4.77), "logit_bias": np.float32(-12.9)}


def nested(flat: Flat) -> dict:
    """Flat parameters as the encoder takes them."""
    return unflatten_dict({name: jnp.asarray(array) for name, array in flat.items()}, sep="/")


def unigram_tokenizer(canonical: bool) -> tokenizers.Tokenizer:
    """A tokenizer of SigLIP's kind; `canonical` has the preparation of the text in it, as files made from it do."""
    words = sorted({f"▁{word}" for prompt in JOINT.prompts for word in prompt.lower().replace(",", "").split()})
    letters = ["▁", *string.ascii_lowercase, *string.digits]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -3.0) for w in words), *((c, -6.0) for c in letters)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
    if canonical:
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Lowercase(),
                *(normalizers.Replace(character, "") for character in string.punctuation),
                normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
                normalizers.Strip(),
            ]
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def gemma_tokenizer() -> tokenizers.Tokenizer:
    """A tokenizer of SigLIP 2's kind, which cuts and pads by itself as the published one does."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=250, special_tokens=special, show_progress=False, max_token_length=10)
    tokenizer.train_from_iterator([prompt.lower() for prompt in JOINT.prompts], trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64, pad_id=0, pad_token="<pad>")
    return tokenizer


def save_siglip_folder(folder: Path, encoder: SigLIP, tokenizer: tokenizers.Tokenizer) -> Path:
    """A model folder as transformers saves it, made without transformers."""
    folder.mkdir()
    state = from_flax(siglip_weights(encoder), type(encoder), "hugging_face")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(encoder.to_config()))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
