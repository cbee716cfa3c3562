"""The rival of `liqe_jax.model.prompts`: every distinct prefix once, ancestors gathered for each.

No token is repeated or padded (2,203 for LIQE's prompts), and each attends to its own ancestors, whose
keys and values are gathered by index. The gathered copies and, backwards, the scattered sums cost more
than the few tokens that packed rows repeat; `benchmarks/training.py --sharing` measures by how much.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from liqe_jax.model.clip import Params, unit
from liqe_jax.model.config import CLIPConfig


def _trie(
    token_ids: Int[np.ndarray, "K C"], eos_token_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Token and depth of each of M prefixes, the indices of its ancestors and itself [M, C], ends [K]."""
    index: dict[tuple[int, ...], int] = {}
    ends = []
    for row in token_ids.tolist():
        sentence = tuple(row[: row.index(eos_token_id) + 1])
        for depth in range(len(sentence)):
            index.setdefault(sentence[: depth + 1], len(index))
        ends.append(index[sentence])
    longest = max(map(len, index))
    ancestors = np.zeros((len(index), longest), np.int32)
    for prefix, place in index.items():
        ancestors[place, : len(prefix)] = [index[prefix[: depth + 1]] for depth in range(len(prefix))]
    depth = np.asarray([len(prefix) - 1 for prefix in index], np.int32)
    return np.asarray([prefix[-1] for prefix in index], np.int32), depth, ancestors, np.asarray(ends)


def _norm(p: Params, x: Array, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def _dense(p: Params, x: Array) -> Array:
    return x @ p["kernel"] + p["bias"]


def encode_by_ancestors(params: Params, token_ids: Int[np.ndarray, "K C"], config: CLIPConfig) -> Float[Array, "K D"]:
    """Unit text features in float32, equal to `encode_prompts`."""
    tokens, depth, ancestors, ends = _trie(token_ids, config.eos_token_id)
    tower, heads, epsilon = params["text_model"], config.text.heads, config.text.layer_norm_eps
    embeddings = tower["embeddings"]
    x = embeddings["token_embedding"]["embedding"][tokens] + embeddings["position_embedding"]["embedding"][depth]
    seen = np.arange(ancestors.shape[1]) <= depth[:, None]
    for layer in range(config.text.layers):
        p = tower["encoder"]["layers"][str(layer)]
        normed = _norm(p["layer_norm1"], x, epsilon)
        q, k, v = (_dense(p["self_attn"][f"{n}_proj"], normed).reshape(len(tokens), heads, -1) for n in "qkv")
        scores = jnp.einsum("mhw,mahw->mha", q, k[ancestors]) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("mha,mahw->mhw", weights, v[ancestors]).reshape(x.shape)
        x = x + _dense(p["self_attn"]["out_proj"], mixed)
        hidden = _dense(p["mlp"]["fc1"], _norm(p["layer_norm2"], x, epsilon))
        x = x + _dense(p["mlp"]["fc2"], hidden * jax.nn.sigmoid(1.702 * hidden))
    x = _norm(tower["final_layer_norm"], x[ends], epsilon)
    return unit(x @ params["text_projection"]["kernel"])
