"""An encoder of your own: a toy convolutional network, with a bag of words as its text encoder.

    python train.py --config=examples/own_encoder.py --workdir=runs/toy
    liqe score samples --model runs/toy/last --encoder examples/own_encoder.py:ToyCNN

It trains for a minute on generated pictures, so its scores mean nothing. This file is also the configuration.
"""

import dataclasses
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp

from liqe_jax.encoders.bag_of_words import init_words, pack_words, sum_of_words
from liqe_jax.encoders.base import Encoder, unit
from liqe_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class ToyCNN(Encoder):
    """Three convolutions with stride 2; the mean of the last one's output is the feature of a crop."""

    name: ClassVar[str] = "toy_cnn"  # `model_type` in config.json

    image_size: int = 64
    projection_dim: int = 32
    vocab_size: int = 49408

    def init_params(self, key):
        """Random kernels [3, 3, inputs, outputs], random word vectors, and the temperature of the logits."""
        keys = jax.random.split(key, 4)
        widths = (3, 16, 32, self.projection_dim)
        shapes = [(3, 3, inputs, outputs) for inputs, outputs in itertools.pairwise(widths)]
        return {
            "image_cnn": {str(n): jax.nn.initializers.he_normal()(keys[n], shape) for n, shape in enumerate(shapes)},
            "text_words": init_words(keys[3], self.vocab_size, self.projection_dim),
            "logit_scale": jnp.log(10.0),
        }

    def image_features(self, params, crops, dtype=jnp.float32, remat=False):
        """Unit features [..., D] of crops [..., H, H, 3] with values from 0 to 255."""
        x = jnp.asarray(crops, jnp.float32).reshape(-1, *crops.shape[-3:]) / 127.5 - 1
        for n in range(3):
            kernel = params["image_cnn"][str(n)]
            x = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.gelu(x)
        return unit(x.mean((1, 2))).reshape(*crops.shape[:-3], -1)

    def prompts(self, sentences, tokenizer=None, devices=1):
        """Sentences as bags of words, one per row."""
        return pack_words(sentences, tokenizer or Tokenizer.default(), self.vocab_size, 77, devices)

    def text_features(self, params, rows, dtype=jnp.float32, remat=False):
        """Unit features [B, 1, D] of B sentences."""
        return unit(sum_of_words(params["text_words"], rows)[:, None] + 1e-6)  # rows of padding are zero

    def to_config(self):
        """The content of config.json."""
        return {"model_type": self.name, **dataclasses.asdict(self)}

    @classmethod
    def from_config(cls, config):
        """The inverse of `to_config`."""
        return cls(**{key: value for key, value in config.items() if key != "model_type"})


def get_config():
    """The settings of a short run."""
    from configs import smoke

    config = smoke.get_config()
    config.encoder = "examples/own_encoder.py:ToyCNN"
    config.architecture = {"image_size": 64, "projection_dim": 32}
    return config
