"""The smallest text encoder: the sum of a sentence's word vectors.

Letters: K sentences, B rows, L tokens of a row, V vocabulary, D length of a word vector and of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from liqe_jax.encoders.base import Prompts
from liqe_jax.encoders.products import AnyArray, einsum
from liqe_jax.text.tokenizer import BaseTokenizer, fitting_ids


class WordRows(NamedTuple):
    """A sentence per row: token ids padded with 0, and a mask of 1 for tokens and 0 for padding."""

    token_ids: Int[AnyArray, "B L"]
    mask: Float[AnyArray, "B L"]


def pack_words(
    sentences: Sequence[str], tokenizer: BaseTokenizer, vocab_size: int, context_length: int, devices: int
) -> Prompts:
    """A row for each sentence, and rows of padding so that `devices` divide them; errors as in `fitting_ids`."""
    ids = fitting_ids(sentences, tokenizer, vocab_size, context_length)
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
