"""The smallest text encoder: the sum of a sentence's word vectors.

LIQE's sentences differ in the words that name quality, scene and distortion, and not in their order. New sentences of
known words have features at once.

Letters: K sentences, B rows, L tokens of a row, V vocabulary, D length of a word vector and of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.arrays import AnyArray
from liqe_jax.encoders.base import Prompts
from liqe_jax.encoders.products import einsum
from liqe_jax.errors import ModelError
from liqe_jax.text.tokenizer import BaseTokenizer


class WordRows(NamedTuple):
    """A sentence per row.

    Attributes:
      token_ids: padded with 0.
      mask: 1 for the tokens of the sentence, 0 for padding.
    """

    token_ids: Int[AnyArray, "B L"]
    mask: Float[AnyArray, "B L"]


def pack_words(
    sentences: Sequence[str], tokenizer: BaseTokenizer, vocab_size: int, context_length: int, devices: int
) -> Prompts:
    """A row for each sentence, and rows of padding so that `devices` divide them.

    Raises:
      UsageError: a sentence has more than `context_length` tokens.
      ModelError: the tokenizer does not fit the vocabulary.
    """
    ids = tokenizer(sentences, context_length)
    if ids.max() >= vocab_size:
        raise ModelError(
            f"The tokenizer gives ids up to {ids.max()}, and the model's vocabulary has {vocab_size} tokens. Put the "
            "model's own tokenizer beside its config.json."
        )
    ends = ids.argmax(1)  # the end-of-text token has the largest id
    length = int(ends.max()) + 1
    mask = (np.arange(length) <= ends[:, None]).astype(np.float32)
    padding = ((0, -len(ids) % devices), (0, 0))
    rows = WordRows(np.pad(ids[:, :length], padding), np.pad(mask, padding))
    return Prompts(rows, np.arange(len(ids)))


def init_words(key: Array, vocab_size: int, features: int) -> dict[str, Any]:
    """Random word vectors, so small that all labels are about equally likely at first."""
    return {"embedding": {"kernel": jax.random.normal(key, (vocab_size, features)) * 0.1 * features**-0.5}}


def sum_of_words(params: dict[str, Any], rows: WordRows) -> Float[Array, "B D"]:
    """Features of sentences."""
    words = jnp.asarray(params["embedding"]["kernel"], jnp.float32)[jnp.asarray(rows.token_ids)]
    return einsum("bld,bl->bd", words, jnp.asarray(rows.mask))
