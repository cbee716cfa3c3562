"""Parts of arrays on several devices: each keeps and updates one part of the optimizer's state (ZeRO-1).

An array is cut along its first axis that divides by the number of devices, so that no element moves within its part;
an array without such an axis is whole on every device. https://arxiv.org/abs/1910.02054, section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Axes = Any  # a tree of the axis along which each array is cut, WHOLE where it is not

WHOLE = -1


class _HasShape(Protocol):
    shape: tuple[int, ...]


class Parts(NamedTuple):
    """What a function of the mapped axis does with arrays that are cut.

    Attributes:
      axes: of trained parameters and their gradients.
      axis: the mapped axis; None where one device has everything.
    """

    axes: Axes
    axis: str | None

    def sum_of(self, tree: Any) -> Any:
        """This device's part of the sum over devices."""
        if self.axis is None or jax.lax.axis_size(self.axis) == 1:  # a sum over one device is a copy of everything
            return tree

        def sum_of_leaf(leaf: Array, cut: int) -> Array:
            if cut == WHOLE:
                return jax.lax.psum(leaf, self.axis)
            return jax.lax.psum_scatter(leaf, self.axis, scatter_dimension=cut, tiled=True)

        return jax.tree.map(sum_of_leaf, tree, self.axes)

    def part_of(self, tree: Any) -> Any:
        """This device's part of arrays that are whole on every device."""
        return cut(tree, self.axes, self.axis)

    def joined(self, tree: Any) -> Any:
        """Whole arrays on every device."""
        return joined(tree, self.axes, self.axis)

    def norm(self, tree: Any) -> Float[Array, ""]:
        """The Euclidean norm over all parts of all arrays."""
        squares = jax.tree.map(lambda leaf: jnp.sum(jnp.square(leaf)), tree)
        pairs = list(zip(jax.tree.leaves(squares), jax.tree.leaves(self.axes), strict=True))
        total = sum((square for square, cut in pairs if cut == WHOLE), jnp.zeros(()))
        if mine := [square for square, cut in pairs if cut != WHOLE]:
            total += jax.lax.psum(sum(mine), self.axis)
        return jnp.sqrt(total)


def axes_of(trained: Any, devices: int) -> Axes:
    """Of each array, the first axis that divides by the number of devices; with one device all are whole."""

    def axis_of(leaf: _HasShape) -> int:
        fitting = (number for number, size in enumerate(leaf.shape) if size and size % devices == 0)
        return next(fitting, WHOLE) if devices > 1 else WHOLE

    return jax.tree.map(axis_of, trained)


def axes_of_state(init: Callable[[Any], Any], trained: Any, axes: Axes, devices: int) -> Axes:
    """Of each array of the optimizer's state `init(trained)`: the axis in which the state of the parts is smaller."""

    def part_of_shape(leaf: _HasShape, cut: int) -> jax.ShapeDtypeStruct:
        shape = [size // devices if number == cut else size for number, size in enumerate(leaf.shape)]
        return jax.ShapeDtypeStruct(tuple(shape), jnp.result_type(leaf))

    def axis_of(whole: _HasShape, part: _HasShape) -> int:
        different = (number for number, size in enumerate(whole.shape) if size != part.shape[number])
        return next(different, WHOLE)

    whole, part = (jax.eval_shape(init, tree) for tree in (trained, jax.tree.map(part_of_shape, trained, axes)))
    return jax.tree.map(axis_of, whole, part)


def cut(tree: Any, axes: Axes, axis: str | None) -> Any:
    """This device's part of arrays that are whole on every device."""

    def part_of_leaf(leaf: Array, cut: int) -> Array:
        if cut == WHOLE:
            return leaf
        assert axis is not None
        size = leaf.shape[cut] // jax.lax.axis_size(axis)
        return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(axis) * size, size, cut)

    return jax.tree.map(part_of_leaf, tree, axes)


def joined(tree: Any, axes: Axes, axis: str | None) -> Any:
    """Whole arrays on every device, of which each has a part."""

    def joined_leaf(leaf: Array, cut: int) -> Array:
        return leaf if cut == WHOLE else jax.lax.all_gather(leaf, axis, axis=cut, tiled=True)

    return jax.tree.map(joined_leaf, tree, axes)
