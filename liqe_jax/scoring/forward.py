"""The forward pass on all local devices: from a stream of decoded images to predictions in the same order.

Letters: B images of a batch, P crops of an image, S side of a crop, K sentences, D length of a feature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from liqe_jax.encoders.base import Encoder, Params
from liqe_jax.encoders.products import AnyArray
from liqe_jax.model.head import Prediction, predict_from_logits
from liqe_jax.model.predict import predict
from liqe_jax.scoring.arguments import default_device
from liqe_jax.tasks import TaskSet

Item = TypeVar("Item")

# A run of items without crops, such as images that could not be decoded, is passed on at this length.
_MOST_WITHOUT_CROPS = 16

# A call takes at most so many crops, and so many pixels, where images have different numbers of crops.
_MOST_CROPS, _MOST_PIXELS = 16, 16 * 224**2


class Weights(NamedTuple):
    """Nested parameters and unit features of the sentences, on the devices that a forward pass runs on."""

    params: Params
    text_features: Float[AnyArray, "K D"]


class PredictedBatch(NamedTuple, Generic[Item]):
    """Some items of a stream, and rows (NumPy arrays) of those that have crops, in their order."""

    items: list[Item]
    prediction: Prediction


# Compiled once for all models of one architecture, task set and dtype.
_predict = jax.jit(predict, static_argnames=("encoder", "tasks", "dtype"))


def with_kernels_of(params: Params, encoder: Encoder, dtype: str) -> Params:
    """Kernels rounded to `dtype` once, rather than at every call; everything else stays float32."""
    if dtype == "int8":
        return encoder.quantise(params)

    def convert(path: tuple[Any, ...], leaf: Array) -> Array:
        return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

    return params if dtype == "float32" else jax.tree_util.tree_map_with_path(convert, params)


class Forward:
    """`predict` with operands of `dtype`, compiled for devices of this process; images are spread over them."""

    def __init__(self, encoder: Encoder, tasks: TaskSet, dtype: str, devices: Sequence[jax.Device]):
        self.encoder, self.tasks, self.devices = encoder, tasks, tuple(devices)
        mesh = Mesh(np.asarray(self.devices), ("images",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._spread = NamedSharding(mesh, PartitionSpec("images"))
        self._predict = functools.partial(_predict, encoder=encoder, tasks=tasks, dtype=jnp.dtype(dtype))

    def place(self, params: Params, text_features: Float[np.ndarray, "K D"] | Float[Array, "K D"]) -> Weights:
        """Copies parameters and text features to all devices.

        On the default device alone they stay uncommitted, like arrays that users create. Otherwise a function of a
        user's would be compiled twice: for its first, uncommitted input, and for its own committed output.
        """
        weights = Weights(params, np.asarray(text_features, np.float32))
        committed = any(getattr(leaf, "committed", False) for leaf in jax.tree.leaves(weights))
        alone = self.devices == (default_device(),)
        return jax.device_put(weights, None if alone and not committed else self._replicated)

    def batch_size(self, images_per_device: int = 0) -> int:
        """Images per call; 0 takes one per CPU device, which 750 tokens of a ViT-B/32 fill, and sixteen per other."""
        default = 1 if self.devices[0].platform == "cpu" else 16
        return len(self.devices) * (images_per_device or default)

    def stream(
        self,
        weights: Weights,
        items: Iterable[Item],
        crops_of: Callable[[Item], UInt8[np.ndarray, "p S S 3"] | None],
        *,
        batch_size: int,
        crops: int,
    ) -> Iterator[PredictedBatch[Item]]:
        """Predictions of a stream, batch by batch; one batch is computed while the next is gathered.

        Args:
          weights: from `place`.
          items: consumed lazily.
          crops_of: the crops of an item, at most `crops`; None for an item that has none and is passed on.
          batch_size: images per call, a multiple of the number of devices.
          crops: P; every call has this shape, and missing crops and images are padding.
        """
        running: tuple[list[Item], int, Prediction | None] | None = None
        for slots in _batches(items, crops_of, batch_size):
            ready = [array for _, array in slots if array is not None]
            started = self._start(weights, ready, batch_size, crops) if ready else None
            if running is not None:
                yield self._finish(*running)
            running = [item for item, _ in slots], len(ready), started
        if running is not None:
            yield self._finish(*running)

    def by_crop(self, weights: Weights, crops: UInt8[np.ndarray, "P S S 3"]) -> Any:
        """A `Prediction` for every crop by itself, NumPy arrays, in calls of one shape."""
        chunk = max(1, min(_MOST_CROPS, _MOST_PIXELS // self.encoder.image_size**2))
        batches = self.stream(weights, crops, lambda crop: crop[None], batch_size=chunk * len(self.devices), crops=1)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *(batch.prediction for batch in batches))

    def _start(self, weights: Weights, ready: list[np.ndarray], batch_size: int, count: int) -> Prediction:
        """Begins to compute; returns before it is done."""
        padded = np.zeros((batch_size, count, *ready[0].shape[1:]), ready[0].dtype)
        mask = np.zeros((batch_size, count), np.float32)
        mask[len(ready) :, 0] = 1  # padding images: their results are dropped, but no 0 / 0
        for slot, array in enumerate(ready):
            padded[slot, : len(array)] = array
            mask[slot, : len(array)] = 1
        return self._predict(
            weights.params,
            jax.device_put(padded, self._spread),
            weights.text_features,
            crop_mask=jax.device_put(mask, self._spread),
        )

    def _finish(self, items: list[Item], count: int, started: Prediction | None) -> PredictedBatch[Item]:
        if started is None:
            started = predict_from_logits(np.zeros((0, len(self.tasks.prompts)), np.float32), self.tasks)
        return PredictedBatch(items, jax.tree.map(lambda array: np.asarray(array)[:count], started))


def _batches(
    items: Iterable[Item], crops_of: Callable[[Item], np.ndarray | None], batch_size: int
) -> Iterator[list[tuple[Item, np.ndarray | None]]]:
    """Runs of items with at most `batch_size` that have crops; the others keep their places among them."""
    slots: list[tuple[Item, np.ndarray | None]] = []
    images = 0
    for item in items:
        slots.append((item, crops_of(item)))
        images += slots[-1][1] is not None
        # A long run of failures must not wait for an image that may never come.
        if images == batch_size or len(slots) >= batch_size + _MOST_WITHOUT_CROPS:
            yield slots
            slots, images = [], 0
    if slots:
        yield slots
