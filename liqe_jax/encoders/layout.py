"""How a file's array names correspond to ours: tables that an encoder declares and `weights` applies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable

import numpy as np

from liqe_jax.errors import ModelError


@dataclasses.dataclass(frozen=True)
class Rule:
    """`source` in a foreign layout holds what `targets` hold in ours, joined along the last axis."""

    source: str
    targets: tuple[str, ...]
    read: Callable[[np.ndarray], np.ndarray]
    write: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How to recognise a layout and read it.

    Attributes:
      rules: table, for the numbers of blocks that `blocks` and `own_blocks` count.
      signature: a name that this layout has and no other layout of any encoder.
      blocks: patterns of the layout's names, one for each tower; group 1 is the number of a block.
      own_blocks: the same for our own names, to write from.
      ignored: pattern of names that hold no parameters: buffers, and constants of TorchScript exports.
    """

    rules: Callable[..., list[Rule]]
    signature: str
    blocks: tuple[str, ...] = ()
    own_blocks: tuple[str, ...] = ()
    ignored: str = r"(?!)"


def same(source: str, target: str) -> Rule:
    """An array that is stored as it is."""
    return Rule(source, (target,), lambda array: array, lambda array: array)


def transposed(source: str, target: str) -> Rule:
    """A matrix of PyTorch's, [out, in]; Flax has [in, out]."""
    return Rule(source, (target,), np.transpose, np.transpose)


def convolution(source: str, target: str) -> Rule:
    """A kernel of PyTorch's, [out, in, height, width]; Flax has [height, width, in, out]."""
    return Rule(source, (target,), lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))


def affine(source: str, target: str) -> Iterable[Rule]:
    """Kernel and bias of a linear layer."""
    yield transposed(f"{source}.weight", f"{target}/kernel")
    yield same(f"{source}.bias", f"{target}/bias")


def norm(source: str, target: str) -> Iterable[Rule]:
    """Scale and bias of a LayerNorm."""
    yield same(f"{source}.weight", f"{target}/scale")
    yield same(f"{source}.bias", f"{target}/bias")


def stacked(source: str, target: str) -> Iterable[Rule]:
    """An attention of PyTorch's, where the projections to q, k and v are one array."""
    for kind, theirs, order in (("kernel", "weight", np.transpose), ("bias", "bias", np.asarray)):
        yield Rule(f"{source}.in_proj_{theirs}", tuple(f"{target}/{name}_proj/{kind}" for name in "qkv"), order, order)
    yield from affine(f"{source}.out_proj", f"{target}/out_proj")


def own_names(rules: Callable[..., list[Rule]]) -> Callable[..., list[Rule]]:
    """The table of our own names, from another layout's, so that every layout is read by the same code."""

    def table(*counts: int) -> list[Rule]:
        return [same(target, target) for rule in rules(*counts) for target in rule.targets]

    return table


def count_blocks(pattern: str, names: Collection[str], where: str) -> int:
    """Blocks of a tower, by the largest number in a name."""
    numbers = [int(match[1]) for name in names if (match := re.match(pattern, name))]
    count = max(numbers) + 1 if numbers else 0
    if count > len(names):  # every block has arrays; without this a number in a name could ask for any amount of work
        raise ModelError(f"{where} names a block {count - 1} and holds {len(names)} arrays: it is corrupt.")
    return count
