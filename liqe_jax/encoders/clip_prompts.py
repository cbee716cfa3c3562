"""Text features of a prompt set, encoding every distinct prefix once.

In a causal tower a token depends on the tokens before it alone, so prompts that begin alike can share the beginning.
They form a trie; runs of its leaves are packed into rows in which each token attends to its ancestors only. LIQE's 495
sentences of 77 positions (38,115) have 8,615 real tokens and 2,203 distinct prefixes (docs/prompt-sharing.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from liqe_jax.encoders.base import Prompts
from liqe_jax.encoders.products import AnyArray
from liqe_jax.errors import UsageError

# Longer rows repeat fewer prefixes but pay more for attention, which is quadratic in a row.
# LIQE's prompts take 9 rows of 251 tokens: 2,259, against 2,203 if nothing were repeated.
ROW_LENGTH = 256


class PackedRows(NamedTuple):
    """Prompts packed into B rows of L tokens.

    Attributes:
      token_ids, positions: the tokens and their places in their sentences. Padding is token 0
        at position 0. It attends to itself, and no other token attends to it.
      mask: mask[b, i, j] is true where token i of row b attends to token j; one for all rows is enough if all share it.
      ends: indices of the end-of-text tokens of each row, padded with 0.
    """

    token_ids: Int[AnyArray, "B L"]
    positions: Int[AnyArray, "B L"]
    mask: Bool[AnyArray, "#B L L"]
    ends: Int[AnyArray, "B R"]


def _until_end(token_ids: Int[np.ndarray, "K C"], eos_token_id: int) -> list[tuple[int, ...]]:
    sentences = []
    for k, row in enumerate(np.asarray(token_ids)):
        ends = np.flatnonzero(row == eos_token_id)
        if not len(ends):
            raise UsageError(
                f"Prompt {k} has no end-of-text token ({eos_token_id}) within {len(row)} tokens. "
                "Shorten the prompt, or give the tokenizer that belongs to the model."
            )
        sentences.append(tuple(int(token) for token in row[: ends[0] + 1]))
    return sentences


def pack_prompts(token_ids: Int[np.ndarray, "K C"], eos_token_id: int, row_length: int = ROW_LENGTH) -> Prompts:
    """Packs prompts so that those in one row share their common prefixes; what follows `eos_token_id` is ignored.

    Rows have at most `row_length` tokens, or as many as the longest prompt. UsageError without an end-of-text token.
    """
    sentences = _until_end(token_ids, eos_token_id)
    row_length = max(row_length, *map(len, sentences))
    rows: list[dict[tuple[int, ...], int]] = []  # per row: prefix -> column
    place: dict[tuple[int, ...], tuple[int, int]] = {}  # sentence -> (row, column of its end)
    for sentence in sorted(set(sentences)):  # lexicographic order is the trie's depth-first order
        prefixes = [sentence[: depth + 1] for depth in range(len(sentence))]
        if not rows or len(rows[-1]) + sum(prefix not in rows[-1] for prefix in prefixes) > row_length:
            rows.append({})
        for prefix in prefixes:
            rows[-1].setdefault(prefix, len(rows[-1]))
        place[sentence] = (len(rows) - 1, rows[-1][sentence])

    length = max(map(len, rows))
    ids = np.zeros((len(rows), length), np.int32)
    positions = np.zeros((len(rows), length), np.int32)
    mask = np.broadcast_to(np.eye(length, dtype=bool), (len(rows), length, length)).copy()
    for b, row in enumerate(rows):
        for prefix, column in row.items():
            ids[b, column] = prefix[-1]
            positions[b, column] = len(prefix) - 1
            if len(prefix) > 1:
                mask[b, column] |= mask[b, row[prefix[:-1]]]
    ends = [sorted({column for row, column in place.values() if row == b}) for b in range(len(rows))]
    padded = np.zeros((len(rows), max(map(len, ends))), np.int32)
    for b, columns in enumerate(ends):
        padded[b, : len(columns)] = columns
    slot = {(b, column): b * padded.shape[1] + r for b, columns in enumerate(ends) for r, column in enumerate(columns)}
    order = np.asarray([slot[place[sentence]] for sentence in sentences], np.int32)
    return Prompts(PackedRows(ids, positions, mask, padded), order)


def pack_for_devices(token_ids: Int[np.ndarray, "K C"], eos_token_id: int, devices: int, width: int) -> Prompts:
    """`pack_prompts`, padded to a multiple of `devices` rows, with the least work for a text tower of this `width`."""
    sentences = set(_until_end(token_ids, eos_token_id))
    longest, tokens = max(map(len, sentences)), sum(map(len, sentences))
    candidates = range(longest, max(longest, min(tokens, 2 * ROW_LENGTH)) + 1, 8)

    def cost(packed: Prompts) -> int:
        # Per token 24 W^2 operations in products with weights and 4 L W in attention.
        rows, length = packed.rows.token_ids.shape
        return -(-rows // devices) * length * (6 * width + length)

    packed = min((pack_prompts(token_ids, eos_token_id, length) for length in candidates), key=cost)
    rows, length = packed.rows.token_ids.shape
    fill = (0, -rows % devices)
    padded = PackedRows(*(np.pad(array, (fill, *[(0, 0)] * (array.ndim - 1))) for array in packed.rows))
    padded.mask[rows:] = np.eye(length, dtype=bool)
    return Prompts(padded, packed.order)
