"""Applies the tables of weight names that encoders declare (`encoders.layout`): reading and writing."""

from __future__ import annotations

import concurrent.futures
import itertools
import re
from collections.abc import Collection, Mapping

import numpy as np

from liqe_jax.encoders.base import Encoder
from liqe_jax.encoders.layout import Layout, Rule, count_blocks
from liqe_jax.errors import ModelError

Flat = dict[str, np.ndarray]


def _layout(encoder: type[Encoder], layout: str | None, names: Collection[str]) -> Layout:
    """A layout of an encoder; for None, our own names as they are."""
    if layout is not None:
        return encoder.layouts[layout]
    return Layout(lambda: [Rule(name, (name,), np.asarray, np.asarray) for name in names], "")


def to_flax(state: Mapping[str, np.ndarray], encoder: type[Encoder], layout: str | None, where: str) -> Flat:
    """Renames and transposes a state dict into our flat parameters, float32.

    The `layout` is a key of `encoder.layouts`, or None for our own names; messages name `where`.
    ModelError where arrays are missing, superfluous or not numbers; the message lists them.
    """
    form = _layout(encoder, layout, state)
    state = {name: array for name, array in state.items() if not re.match(form.ignored, name)}
    rules = form.rules(*(count_blocks(pattern, state, where) for pattern in form.blocks))
    expected = {rule.source for rule in rules}
    missing, superfluous = sorted(expected - state.keys()), sorted(state.keys() - expected)
    no_floats = sorted(
        f"{name} ({array.dtype})"
        for name, array in state.items()
        if np.dtype(array.dtype).kind != "f" and array.dtype.name != "bfloat16"
    )
    if missing or superfluous or no_floats:
        raise ModelError(
            f"{where} is not a complete {encoder.name} in the layout {layout or 'of liqe_jax'!r}.\n"
            f"  missing ({len(missing)}): {listing(missing)}\n"
            f"  superfluous ({len(superfluous)}): {listing(superfluous)}\n"
            f"  not floating point ({len(no_floats)}): {listing(no_floats)}\n"
            "Give a checkpoint of the whole model, both towers."
        )

    def converted(rule: Rule) -> list[tuple[str, np.ndarray]]:
        try:
            array = rule.read(np.asarray(state[rule.source]))
            parts = np.split(array, len(rule.targets), axis=-1) if len(rule.targets) > 1 else [array]
        except (ValueError, IndexError) as error:  # IndexError: no axis at all
            shape = np.shape(state[rule.source])
            raise ModelError(
                f"{where}: {rule.source} has shape {shape}, which no {encoder.name} has ({error})."
            ) from error
        return [
            (target, np.ascontiguousarray(part, np.float32).reshape(part.shape))
            for target, part in zip(rule.targets, parts, strict=True)
        ]

    # Transposing 600 MB takes a second on one core; NumPy releases the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(itertools.chain.from_iterable(pool.map(converted, rules)))


def from_flax(flat: Mapping[str, np.ndarray], encoder: type[Encoder], layout: str | None) -> Flat:
    """The inverse of `to_flax`, contiguous and of the same type; ModelError for kernels rounded to integers."""
    if rounded := sorted(name for name, array in flat.items() if np.issubdtype(array.dtype, np.integer)):
        raise ModelError(
            f"Parameters rounded to integers cannot be written ({listing(rounded, 3)}). Load the model as float32."
        )
    form = _layout(encoder, layout, flat)
    state: Flat = {}
    for rule in form.rules(*(count_blocks(pattern, flat, "The model") for pattern in form.own_blocks)):
        parts = [np.asarray(flat[target]) for target in rule.targets]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        written = rule.write(joined)
        state[rule.source] = np.ascontiguousarray(written).reshape(written.shape)
    return state


def cast(flat: Mapping[str, np.ndarray], dtype: str) -> Flat:
    """The arrays in another floating point type; ModelError where a value overflows it."""
    with np.errstate(over="ignore"):  # reported below, by name
        result = {name: array.astype(dtype, copy=False) for name, array in flat.items()}
    infinite = [name for name, array in result.items() if array is not flat[name] and not np.isfinite(array).all()]
    if overflown := [name for name in infinite if np.isfinite(flat[name]).all()]:
        raise ModelError(f"{dtype} cannot hold the values of {listing(overflown, 4)}. Use bfloat16 or float32.")
    return result


def listing(names: list[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
