"""Weight names of transformers' models of two towers.

Theirs are ours with dots, and `weight` for `kernel`, `scale` and `embedding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from liqe_jax.encoders.layout import Rule, same, transposed

# Patterns that number the blocks of the towers, in their names and in ours.
BLOCKS = (r"vision_model\.encoder\.layers\.(\d+)\.", r"text_model\.encoder\.layers\.(\d+)\.")
OWN_BLOCKS = (r"vision_model/encoder/layers/(\d+)/", r"text_model/encoder/layers/(\d+)/")

BUFFERS = r".*\.position_ids$"

# Kernel and bias of these, and scale and bias of those.
_AFFINE = (*(f"self_attn/{name}_proj" for name in ("q", "k", "v", "out")), "mlp/fc1", "mlp/fc2")
_NORMS = ("layer_norm1", "layer_norm2")


def transformers_rules(names: Iterable[str], vision_layers: int, text_layers: int) -> list[Rule]:
    """Rules of our `names`, and of all blocks of both towers."""
    blocks = (
        f"{tower}/encoder/layers/{layer}/{name}"
        for tower, count in (("vision_model", vision_layers), ("text_model", text_layers))
        for layer in range(count)
        for name in (*affine_names(*_AFFINE), *norm_names(*_NORMS))
    )
    return [_rule(name) for name in (*names, *blocks)]


def affine_names(*maps: str) -> Iterator[str]:
    """Parameters of affine maps."""
    return (f"{name}/{kind}" for name in maps for kind in ("kernel", "bias"))


def norm_names(*norms: str) -> Iterator[str]:
    """Parameters of LayerNorms."""
    return (f"{name}/{kind}" for name in norms for kind in ("scale", "bias"))


def _rule(name: str) -> Rule:
    path, _, kind = name.rpartition("/")
    source = f"{path}/weight" if kind in ("kernel", "scale", "embedding") else name
    return (transposed if kind == "kernel" else same)(source.replace("/", "."), name)
