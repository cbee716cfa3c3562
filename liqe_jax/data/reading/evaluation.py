"""Images for evaluation: every image exactly once, on any number of hosts; p crops of an image, S side of a crop."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError, ImageError, UnreadableError
from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import Preset, prepare
from liqe_jax.images.stream import map_ahead

PADDING = -1  # in place of an image's index


def evaluation_images(
    dataset: LabelledSet,
    indices: Int[np.ndarray, " M"],
    *,
    batch_size: int,
    preset: Preset,
    image_size: int,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
) -> Iterator[tuple[int, UInt8[np.ndarray, "p S S 3"]]]:
    """Yields this host's images as (position in the set, crops), decoded ahead in threads.

    Image k goes to host k mod hosts. Every host yields the same number, a multiple of its `batch_size`: the last ones
    are padding, with the position `PADDING` and one crop of zeros. With `workers` 0 there is one thread per core.

    Raises:
      DataError: an image cannot be read or is corrupt; an evaluation without it would be another one.
    """
    mine = np.asarray(indices)[host::hosts]
    longest = -(-len(indices) // hosts)
    total = -(-longest // batch_size) * batch_size
    places = np.concatenate([mine, np.full(total - len(mine), PADDING, np.int64)])

    def load(index: int) -> tuple[int, UInt8[np.ndarray, "p S S 3"]]:
        if index == PADDING:
            return index, np.zeros((1, image_size, image_size, 3), np.uint8)
        try:
            (encoded,) = dataset.read([index])
            return index, prepare(decode(encoded, preset.decode_options()), preset, image_size).crops()
        except UnreadableError:
            raise
        except (ImageError, DataError) as error:
            raise DataError(
                f"{dataset.name}/{dataset.names[index]} cannot be decoded ({error}). Prepare the data set "
                "again, or leave the image out by name."
            ) from error

    threads = workers or os.cpu_count() or 1
    return map_ahead(load, places.tolist(), threads, batch_size + 2 * threads)
