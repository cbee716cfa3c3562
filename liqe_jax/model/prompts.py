"""Text features of a prompt set, encoding every distinct prefix once.

A causal tower's output at a token depends on the tokens before it and on nothing else. So
padding behind the end-of-text token can be cut, and prompts that begin alike can share the
beginning. The prompts form a trie; runs of its leaves, in depth-first order, are packed into
rows in which each token attends to its ancestors only. LIQE's 495 sentences of 77 positions
(38,115) have 8,615 real tokens and 2,203 distinct prefixes, and pack into 9 rows of 251.
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from liqe_jax.errors import UsageError
from liqe_jax.model.arrays import AnyArray
from liqe_jax.model.clip import CLIP, Params
from liqe_jax.model.config import CLIPConfig

# Longer rows repeat fewer prefixes but pay more for attention, which is quadratic in a row.
# LIQE's prompts take 9 rows of 251 tokens: 2,259, against 2,203 if nothing were repeated.
ROW_LENGTH = 256


@dataclasses.dataclass(frozen=True)
class PackedPrompts:
    """Prompts packed into B rows of L tokens; plain numpy, so it can be a jit constant.

    Attributes:
      token_ids, positions: the tokens and their places in their sentences. Padding is token 0
        at position 0, attends to itself, and is attended to by nobody else.
      mask: mask[b, i, j] is true where token i of row b attends to token j.
      read: which tokens of each row end a prompt, padded with 0.
      order: prompt k is entry order[k] of the flattened [B * R] outputs.
    """

    token_ids: Int[np.ndarray, "B L"]
    positions: Int[np.ndarray, "B L"]
    mask: Bool[np.ndarray, "B L L"]
    read: Int[np.ndarray, "B R"]
    order: Int[np.ndarray, " K"]


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


def pack_prompts(token_ids: Int[np.ndarray, "K C"], eos_token_id: int, row_length: int = ROW_LENGTH) -> PackedPrompts:
    """Packs prompts so that those in one row share their common prefixes.

    Args:
      token_ids: one prompt per row, ending in `eos_token_id`; what follows it is ignored.
      eos_token_id: the token whose output stands for the prompt.
      row_length: tokens per row, at most; a longer prompt makes the rows as long as itself.

    Raises:
      UsageError: a prompt has no end-of-text token.
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
    read = np.zeros((len(rows), max(map(len, ends))), np.int32)
    for b, columns in enumerate(ends):
        read[b, : len(columns)] = columns
    slot = {(b, column): b * read.shape[1] + r for b, columns in enumerate(ends) for r, column in enumerate(columns)}
    order = np.asarray([slot[place[sentence]] for sentence in sentences], np.int32)
    return PackedPrompts(ids, positions, mask, read, order)


def pack_for_devices(token_ids: Int[np.ndarray, "K C"], eos_token_id: int, devices: int, width: int) -> PackedPrompts:
    """Packs prompts into rows that divide evenly among devices, with the least work for each.

    Args:
      token_ids, eos_token_id: as in `pack_prompts`.
      devices: the number of rows is a multiple of it; rows of padding fill up.
      width: of the text tower, which says what attention costs beside the rest.
    """
    longest = max(map(len, _until_end(token_ids, eos_token_id)))
    tokens = sum(map(len, set(_until_end(token_ids, eos_token_id))))
    candidates = range(longest, max(longest, min(tokens, 2 * ROW_LENGTH)) + 1, 8)

    def cost(packed: PackedPrompts) -> int:
        # Per token 24 W^2 operations in products with weights and 4 L W in attention.
        rows, length = packed.token_ids.shape
        return -(-rows // devices) * length * (6 * width + length)

    packed = min((pack_prompts(token_ids, eos_token_id, length) for length in candidates), key=cost)
    rows, length = packed.token_ids.shape
    missing = -rows % devices

    def pad(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])

    mask = pad(packed.mask)
    mask[rows:] = np.eye(length, dtype=bool)
    return PackedPrompts(pad(packed.token_ids), pad(packed.positions), mask, pad(packed.read), packed.order)


def encode_rows(
    params: Params,
    token_ids: Int[AnyArray, "B L"],
    positions: Int[AnyArray, "B L"],
    mask: Bool[AnyArray, "B L L"],
    read: Int[AnyArray, "B R"],
    *,
    config: CLIPConfig,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
) -> Float[Array, "B R D"]:
    """Unit features of the tokens that `read` names in rows of packed prompts, any rows of them."""
    rows = map(jnp.asarray, (token_ids, positions, mask, read))
    return jnp.asarray(CLIP(config, dtype, remat).apply({"params": params}, *rows, method=CLIP.text_features))


def encode_prompts(
    params: Params, packed: PackedPrompts, config: CLIPConfig, dtype: DTypeLike = jnp.float32
) -> Float[Array, "K D"]:
    """Unit text features of packed prompts; differentiable with respect to `params`."""
    features_BxRxD = encode_rows(
        params, packed.token_ids, packed.positions, packed.mask, packed.read, config=config, dtype=dtype
    )
    return features_BxRxD.reshape(-1, config.projection_dim)[packed.order]


def encode_prompts_plainly(
    params: Params, token_ids: Int[AnyArray, "K C"], config: CLIPConfig, dtype: DTypeLike = jnp.float32
) -> Float[Array, "K D"]:
    """The same features the long way: every position of every prompt. The oracle in tests."""
    token_ids = jnp.asarray(token_ids)
    length = token_ids.shape[1]
    positions = jnp.broadcast_to(jnp.arange(length), token_ids.shape)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    read = jnp.argmax(token_ids == config.eos_token_id, axis=1)[:, None]
    apply = functools.partial(CLIP(config, dtype).apply, method=CLIP.text_features)
    features_Kx1xD = jnp.asarray(apply({"params": params}, token_ids, positions, mask, read))
    return features_Kx1xD[:, 0]
