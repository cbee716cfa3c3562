"""Parts of arrays on several devices: each keeps and updates one part of the optimizer's state (ZeRO-1).

An array is cut along its first axis that divides by the number of devices, so that no element moves within its part;
an array without such an axis is whole on every device. https://arxiv.org/abs/1910.02054, section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from liqe_jax.train.optimizers import Flat, OptState

Axes = Any  # a tree of the axis along which each array is cut, WHOLE where it is not

WHOLE = -1


class Parts(NamedTuple):
    """Sums, cuts and joins the arrays of a tree on the devices of a mapped axis.

    Attributes:
      axes: of the arrays.
      axis: the mapped axis; None where one device has everything.
    """

    axes: Axes
    axis: str | None

    def sum_of(self, flat: Flat) -> Flat:
        """This device's part of the sum over devices."""
        if self.axis is None or jax.lax.axis_size(self.axis) == 1:  # a sum over one device is a copy of everything
            return flat
        whole = jax.lax.psum({name: leaf for name, leaf in flat.items() if self.axes[name] == WHOLE}, self.axis)
        scattered = {
            name: jax.lax.psum_scatter(leaf, self.axis, scatter_dimension=self.axes[name], tiled=True)
            for name, leaf in flat.items()
            if name not in whole
        }
        return {name: whole.get(name, scattered.get(name)) for name in flat}

    def cut(self, tree: Any) -> Any:
        """This device's part of arrays that are whole on every device."""

        def part_of(leaf: Array, along: int) -> Array:
            if along == WHOLE:
                return leaf
            assert self.axis is not None
            size = leaf.shape[along] // jax.lax.axis_size(self.axis)
            return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(self.axis) * size, size, along)

        return jax.tree.map(part_of, tree, self.axes)

    def join(self, tree: Any) -> Any:
        """Whole arrays on every device, of which each has a part."""

        def whole(leaf: Array, along: int) -> Array:
            return leaf if along == WHOLE else jax.lax.all_gather(leaf, self.axis, axis=along, tiled=True)

        return jax.tree.map(whole, tree, self.axes)

    def norm(self, flat: Flat) -> Float[Array, ""]:
        """The Euclidean norm over all parts of all arrays."""
        squares = {name: jnp.sum(jnp.square(leaf)) for name, leaf in flat.items()}
        total = sum((square for name, square in squares.items() if self.axes[name] == WHOLE), jnp.zeros(()))
        if mine := [square for name, square in squares.items() if self.axes[name] != WHOLE]:
            total += jax.lax.psum(sum(mine), self.axis)
        return jnp.sqrt(total)


def axes_of(flat: Flat, devices: int) -> dict[str, int]:
    """Of each array, the first axis that divides by the number of devices; with one device all are whole."""

    def axis_of(shape: Sequence[int]) -> int:
        fitting = (number for number, size in enumerate(shape) if size and size % devices == 0)
        return next(fitting, WHOLE) if devices > 1 else WHOLE

    return {name: axis_of(jnp.shape(leaf)) for name, leaf in flat.items()}


def axes_of_state(init: Callable[[Flat], OptState], trained: Flat, axes: Mapping[str, int], devices: int) -> Axes:
    """Of each array of the optimizer's state `init(trained)`: the axis in which the state of the parts is smaller."""

    def part_of(leaf: Array, along: int) -> jax.ShapeDtypeStruct:
        shape = [size // devices if number == along else size for number, size in enumerate(leaf.shape)]
        return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)

    def axis_of(whole: jax.ShapeDtypeStruct, part: jax.ShapeDtypeStruct) -> int:
        different = (number for number, size in enumerate(whole.shape) if size != part.shape[number])
        return next(different, WHOLE)

    parts = {name: part_of(leaf, axes[name]) for name, leaf in trained.items()}
    return jax.tree.map(axis_of, jax.eval_shape(init, trained), jax.eval_shape(init, parts))
