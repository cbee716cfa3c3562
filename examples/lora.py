"""LoRA: low-rank changes of the attention projections, trained while all of CLIP is frozen.

    python train.py --config=examples/lora.py --workdir=runs/lora
    liqe score samples --model runs/lora/last --encoder examples/lora.py:LoRA

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685). The kernel W of a projection becomes
W + down @ up in the forward pass, with down [W, rank] random and up [rank, W] zero at first.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from liqe_jax.encoders.clip import CLIP

ADAPTED = ("q_proj", "v_proj")  # the paper's choice


@dataclasses.dataclass(frozen=True)
class LoRA(CLIP):
    """CLIP with factors `lora/PATH/down` and `lora/PATH/up` of each adapted `PATH/kernel`."""

    name: ClassVar[str] = "lora"
    stored_layout: ClassVar[None] = None  # our own names in files, since CLIP's tables lack `lora`
    starts_from: ClassVar[type[CLIP]] = CLIP

    rank: int = 4

    @classmethod
    def from_encoder(cls, encoder, params, key):
        """Starts from any CLIP, whose features it has at first."""
        own, flat = cls(**vars(encoder)), flatten_dict(params)
        for path in sorted(path for path in flat if path[-1] == "kernel" and path[-2] in ADAPTED):
            key, own_key = jax.random.split(key)
            width = flat[path].shape[0]
            flat["lora", *path[:-1], "down"] = jax.random.normal(own_key, (width, own.rank)) / own.rank
            flat["lora", *path[:-1], "up"] = jnp.zeros((own.rank, width))
        return own, unflatten_dict(flat)

    def merged(self, params):
        """Parameters of a plain CLIP: the product of two factors is added to their kernel."""
        flat, factors = flatten_dict({**params, "lora": {}}), flatten_dict(params.get("lora", {}))
        for path in {path[:-1] for path in factors}:
            flat[*path, "kernel"] = flat[*path, "kernel"] + factors[*path, "down"] @ factors[*path, "up"]
        return unflatten_dict(flat)

    def init_params(self, key):
        return self.from_encoder(self, super().init_params(key), key)[1]

    def image_features(self, params, crops, dtype=jnp.float32, remat=False):
        return super().image_features(self.merged(params), crops, dtype, remat)

    def text_features(self, params, rows, dtype=jnp.float32, remat=False):
        return super().text_features(self.merged(params), rows, dtype, remat)

    def quantise(self, params):
        return super().quantise(self.merged(params))

    def is_text(self, name):
        return super().is_text(name.removeprefix("lora/"))

    def to_config(self):
        return {**super().to_config(), "rank": self.rank}

    @classmethod
    def from_config(cls, config):
        return dataclasses.replace(super().from_config(config), rank=config["rank"])


def get_config():
    """The smoke run from a CLIP, in which the factors alone are trained."""
    from configs import smoke

    config = smoke.get_config()
    config.init, config.encoder = "openai/clip-vit-base-patch32", "examples/lora.py:LoRA"
    config.train_only = ("lora",)
    return config
