"""Batches for evaluation: every image exactly once, on any number of hosts.

Threads decode ahead, as in scoring: nothing is shuffled here, and through tf.data a small model was evaluated at
three quarters of its speed in scoring, not at all of it (docs/evaluation.md).

Letters: B images of a host's batch, P patches, S side of a patch.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError, ImageError, UnreadableError
from liqe_jax.images.decode import decode
from liqe_jax.images.grid import PATCH
from liqe_jax.images.preprocess import PATCH_COUNT, PRESETS, Preset, prepare
from liqe_jax.images.stream import map_ahead

PADDING = -1  # in place of an image's index


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
      workers: images decoded at the same time; 0 takes one for each core.

    Raises:
      DataError: an image cannot be read or is damaged; an evaluation without it would be another one.
    """
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    count = chosen.count or PATCH_COUNT
    mine = np.asarray(indices)[host::hosts]
    longest = -(-len(indices) // hosts)
    batches = -(-longest // batch_size)
    places = np.concatenate([mine, np.full(batches * batch_size - len(mine), PADDING, np.int64)])

    def load(index: int) -> UInt8[np.ndarray, "p S S 3"]:
        if index == PADDING:
            return np.zeros((0, patch, patch, 3), np.uint8)
        try:
            (encoded,) = dataset.read([index])
            return prepare(decode(encoded, chosen.decode_options()), chosen, patch).patches()
        except UnreadableError:
            raise
        except (ImageError, DataError) as error:
            raise DataError(
                f"{dataset.name}/{dataset.names[index]} cannot be decoded ({error}). Prepare the data set "
                "again, or leave the image out by name."
            ) from error

    threads = workers or os.cpu_count() or 1
    loaded = map_ahead(load, places.tolist(), threads, batch_size + 2 * threads)
    for batch_places in places.reshape(batches, batch_size):
        patches = np.zeros((batch_size, count, patch, patch, 3), np.uint8)
        mask = np.zeros((batch_size, count), np.float32)
        for row, real in enumerate(itertools.islice(loaded, batch_size)):
            patches[row, : len(real)] = real
            mask[row, : max(len(real), 1)] = 1
        is_real = batch_places != PADDING
        yield EvaluationBatch(patches, mask, is_real.astype(np.float32), np.where(is_real, batch_places, 0))
