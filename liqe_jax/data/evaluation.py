"""Batches for evaluation: every image exactly once, on any number of hosts.

Letters: B images of a host's batch, P patches, S side of a patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError, ImageError
from liqe_jax.images.decode import decode
from liqe_jax.images.grid import PATCH
from liqe_jax.images.preprocess import PATCH_COUNT, PRESETS, Preset, prepare


class EvaluationBatch(NamedTuple):
    """Images and what of them is real.

    Attributes:
      patches: RGB; zeros where there is no patch.
      patch_mask: 1 for patches that count; padding images have one, so that no mean is 0 / 0.
      image_mask: 1 for images, 0 for padding.
      indices: position of each image in its set; 0 for padding.
    """

    patches: UInt8[np.ndarray, "B P S S 3"]
    patch_mask: Float[np.ndarray, "B P"]
    image_mask: Float[np.ndarray, " B"]
    indices: Int[np.ndarray, " B"]


def evaluation_batches(
    dataset: LabelledSet,
    indices: Int[np.ndarray, " M"],
    *,
    batch_size: int,
    preset: str | Preset = "paper",
    patch: int = PATCH,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
) -> Iterator[EvaluationBatch]:
    """Yields this host's batches; every host gets the same number of them.

    Args:
      dataset, indices: what to evaluate.
      batch_size: images of this host per batch.
      preset: how patches are chosen.
      patch: their side in pixels.
      host, hosts: this process among all; image k goes to host k mod hosts.
      workers: images decoded at the same time; 0 lets tf.data decide.

    Raises:
      DataError: an image cannot be decoded; an evaluation without it would be another one.
    """
    import tensorflow as tf

    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    count = chosen.count or PATCH_COUNT
    mine = np.asarray(indices)[host::hosts]
    longest = -(-len(indices) // hosts)
    total = -(-longest // batch_size) * batch_size
    padded = np.concatenate([mine, np.full(total - len(mine), -1, np.int64)])
    failures: list[DataError] = []

    def load(index: int) -> tuple[np.ndarray, np.ndarray]:
        patches = np.zeros((count, patch, patch, 3), np.uint8)
        mask = np.zeros(count, np.float32)
        if index < 0:
            mask[0] = 1
            return patches, mask
        try:
            (encoded,) = dataset.read([int(index)])
            real = prepare(decode(encoded, chosen.decode_options()), chosen, patch).patches()
        except ImageError as error:
            failures.append(
                DataError(
                    f"{dataset.name}/{dataset.names[int(index)]} cannot be decoded ({error}). Prepare the data set "
                    "again, or leave the image out by name."
                )
            )
            raise failures[0] from error
        patches[: len(real)], mask[: len(real)] = real, 1
        return patches, mask

    def tf_load(index: Any) -> tuple[Any, Any, Any]:
        patches, mask = tf.numpy_function(load, [index], (tf.uint8, tf.float32), stateful=False)
        return tf.ensure_shape(patches, (count, patch, patch, 3)), tf.ensure_shape(mask, (count,)), index

    loaded = tf.data.Dataset.from_tensor_slices(padded).map(tf_load, workers or tf.data.AUTOTUNE, deterministic=True)
    try:
        for patches, mask, index in loaded.batch(batch_size).prefetch(2).as_numpy_iterator():
            yield EvaluationBatch(patches, mask, (index >= 0).astype(np.float32), np.maximum(index, 0))
    except (tf.errors.UnknownError, tf.errors.InvalidArgumentError) as error:
        raise failures[0] if failures else DataError(f"The pipeline failed: {error}") from error
