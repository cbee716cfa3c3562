"""Learned prompts: vectors in place of words, trained while all of CLIP is frozen.

    python train.py --config=examples/learned_prompts.py --workdir=runs/coop
    liqe score samples --model runs/coop/last --encoder examples/learned_prompts.py:LearnedPrompts

CoOp: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022. A star in a sentence is a learned vector:
the first star of each sentence is the first vector, the second star is the second one.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from liqe_jax import TaskSet, UsageError
from liqe_jax.encoders.clip import CLIP
from liqe_jax.taxonomy import DISTORTION, QUALITY
from liqe_jax.text.tokenizer import Tokenizer

TASKS = TaskSet("learned_prompts", (QUALITY, DISTORTION), "* * * * {distortion} , {quality} quality")


@dataclasses.dataclass(frozen=True)
class LearnedPrompts(CLIP):
    """CLIP whose vocabulary has `context` more tokens, with embeddings in the parameter `text_context`."""

    name: ClassVar[str] = "learned_prompts"
    stored_layout: ClassVar[None] = None  # our own names in files, since CLIP's tables lack `text_context`
    starts_from: ClassVar[type[CLIP]] = CLIP

    context: int = 4

    @classmethod
    def from_encoder(cls, encoder, params, key):
        """Starts from any CLIP, with random vectors beside its parameters."""
        own = cls(**vars(encoder))
        return own, {**params, "text_context": own.random_context(key)}

    def random_context(self, key):
        """Vectors [context, W]; 0.02 is the standard deviation that CoOp starts with."""
        return 0.02 * jax.random.normal(key, (self.context, self.text.width))

    def init_params(self, key):
        return {**super().init_params(key), "text_context": self.random_context(key)}

    def token_ids(self, sentences, tokenizer=None):
        """Token ids [K, L]; the stars of each sentence become the additional tokens, in their order."""
        ids = super().token_ids(sentences, tokenizer)
        stars = ids == (tokenizer or Tokenizer.default()).vocab["*</w>"]
        if stars.sum(1).max() > self.context:
            raise UsageError(f"A sentence has more than {self.context} stars. Use fewer, or a larger context.")
        return np.where(stars, self.vocab_size + stars.cumsum(1) - 1, ids).astype(np.int32)

    def text_features(self, params, rows, dtype=jnp.float32, remat=False):
        """Features of sentences, by the text tower with the larger vocabulary."""
        words = params["text_model"]["embeddings"]["token_embedding"]["embedding"]
        table = {"embedding": jnp.concatenate([words, params["text_context"]])}
        embeddings = {**params["text_model"]["embeddings"], "token_embedding": table}
        params = {**params, "text_model": {**params["text_model"], "embeddings": embeddings}}
        larger = dataclasses.replace(self, vocab_size=self.vocab_size + self.context)
        return CLIP.text_features(larger, params, rows, dtype, remat)

    def to_config(self):
        return {**super().to_config(), "context": self.context}

    @classmethod
    def from_config(cls, config):
        return dataclasses.replace(super().from_config(config), context=config["context"])


def get_config():
    """The smoke run from a CLIP, in which the vectors alone are trained."""
    from configs import smoke

    config = smoke.get_config()
    config.init, config.encoder = "openai/clip-vit-base-patch32", "examples/learned_prompts.py:LearnedPrompts"
    config.tasks, config.train_only = "examples/learned_prompts.py:TASKS", ("text_context",)
    return config
