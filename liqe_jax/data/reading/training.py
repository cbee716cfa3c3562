"""Batches for training, as a tf.data pipeline that can start at any step.

Letters: N images of a host's share of the batch, P patches, S side of a patch.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.decoding import random_patches
from liqe_jax.data.reading.host import tensorflow_on_host
from liqe_jax.data.reading.sampling import Sampler, sampler_for, share
from liqe_jax.errors import DataError, ImageError, UnreadableError
from liqe_jax.images.grid import PATCH

# Broken images in a row after which a data set counts as unreadable.
MOST_REPLACEMENTS = 100


class TrainingBatch(NamedTuple):
    """One host's share of a step.

    Attributes:
      patches: RGB, normalised on the device; or what the sets have ready, [N, P, ...].
      mos: opinion scores on each set's own scale.
      group: data set of each image, its position among the sets.
      distortion: index into `DISTORTION.labels`, -1 where unknown.
      scenes: 1 for every scene that the photograph has.
      names: "SET/NAME" of each image.
    """

    patches: np.ndarray
    mos: Float[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    distortion: Int[np.ndarray, " N"]
    scenes: Float[np.ndarray, "N S"]
    names: list[str]


@dataclasses.dataclass
class Broken:
    """Images that could not be decoded and were replaced: name -> the decoder's words."""

    names: dict[str, str] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, name: str, error: str) -> None:
        """Counts an image once, and says so once."""
        with self._lock:
            if name not in self.names:
                self.names[name] = error
                logging.warning("%s is left out of training (%d so far): %s", name, len(self.names), error)


def training_batches(
    sets: Sequence[LabelledSet],
    counts: Sequence[int],
    *,
    split: str,
    seed: int,
    start_step: int = 0,
    steps: int | None = None,
    patches: int = 3,
    patch: int = PATCH,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    broken: Broken | None = None,
) -> Iterator[TrainingBatch]:
    """Yields the batches of steps `start_step`, `start_step` + 1, ...

    The batch of a step depends on the seed, the split and the step alone. Every host decodes its share
    only; joined in the order of the hosts, the shares are the batch that one host would make.

    Args:
      sets: data sets.
      counts: images of each per step, over all hosts.
      split: a session, "official", ...; sets without it are used whole.
      seed: of the shuffles and crops.
      start_step, steps: which steps; `steps` None goes on for ever.
      patches, patch: patches per image and their side in pixels.
      host, hosts: this process among all.
      workers: images decoded at the same time; 0 lets tf.data decide.
      broken: collects the images that had to be replaced.

    Raises:
      DataError: an empty part, images that do not divide among the hosts, or a set of which
        nothing can be decoded.
    """
    tf = tensorflow_on_host()

    sampler = sampler_for(sets, counts, split=split, seed=seed, patches=patches)
    mine = share(sum(counts), host, hosts)
    size = mine.stop - mine.start
    source = _Source(sets, sampler, patch, broken if broken is not None else Broken(), mine)
    first = next((dataset.ready(0, False, np.zeros(patches)) for dataset in sets if dataset.ready), None)
    shape = (patches, patch, patch, 3) if first is None else first.shape
    dtype = tf.uint8 if first is None else tf.as_dtype(first.dtype)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and on Python 3.13 its parser (gast) warns
    def load(element: Any) -> tuple[Any, Any]:
        loaded, index = tf.numpy_function(source.load, [element], (dtype, tf.int64), stateful=False)
        return tf.ensure_shape(loaded, shape), tf.ensure_shape(index, ())

    last = np.iinfo(np.int64).max if steps is None else (start_step + steps) * size
    dataset = tf.data.Dataset.range(start_step * size, last)
    dataset = dataset.map(load, workers or tf.data.AUTOTUNE, deterministic=True).batch(size, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = True
    return _labelled(dataset.with_options(options).prefetch(2), source, start_step)


def _labelled(dataset: Any, source: _Source, start_step: int) -> Iterator[TrainingBatch]:
    import tensorflow as tf

    try:
        for step, (patches, index) in enumerate(dataset.as_numpy_iterator(), start_step):
            yield source.label(patches, index, step)
    except (tf.errors.UnknownError, tf.errors.InvalidArgumentError) as error:
        raise source.failure or DataError(f"The pipeline failed: {error}") from error


class _Source:
    """Loads one image of one step; called by tf.data from several threads."""

    def __init__(self, sets: Sequence[LabelledSet], sampler: Sampler, patch: int, broken: Broken, mine: slice):
        self.sets, self.sampler, self.patch, self.broken, self.mine = sets, sampler, patch, broken, mine
        self.failure: DataError | None = None
        self._plans: dict[int, Any] = {}
        self._lock = threading.Lock()

    def _plan(self, step: int) -> Any:
        with self._lock:
            if step not in self._plans:
                self._plans = {old: plan for old, plan in self._plans.items() if old > step - 8}
                self._plans[step] = self.sampler.plan(step)
            return self._plans[step]

    def load(self, element: int) -> tuple[np.ndarray, np.int64]:
        """Patches of one image, and the position of the image in its set, which may be a replacement."""
        step, row = divmod(int(element), self.mine.stop - self.mine.start)
        plan, row = self._plan(step), self.mine.start + row
        group, index = int(plan.group[row]), int(plan.index[row])
        dataset = self.sets[group]
        if dataset.ready:
            return dataset.ready(index, bool(plan.flip[row]), plan.where[row]), np.int64(index)
        for attempt in range(MOST_REPLACEMENTS):
            name = f"{dataset.name}/{dataset.names[index]}"
            try:
                (encoded,) = dataset.read([index])
                return random_patches(encoded, plan.where[row], bool(plan.flip[row]), self.patch), np.int64(index)
            except UnreadableError as error:  # a disk or a folder that has gone, and not this image
                self.failure = error
                raise
            except (ImageError, DataError) as error:
                self.broken.add(name, str(error))
            index = self.sampler.image_at(group, int(plan.place[row]) + attempt + 1)
        self.failure = DataError(
            f"{MOST_REPLACEMENTS} images of {dataset.name} in a row cannot be decoded, the last is {name}. Prepare the "
            "data set again, or check it: liqe data verify."
        )
        raise self.failure

    def label(self, patches: np.ndarray, index: np.ndarray, step: int) -> TrainingBatch:
        """Patches and positions with everything that is known of them."""
        group = self.sampler.plan(step).group[self.mine]
        pairs = [(self.sets[g], i) for g, i in zip(group.tolist(), index.tolist(), strict=True)]
        return TrainingBatch(
            patches,
            np.asarray([s.mos[i] for s, i in pairs], np.float32),
            group.astype(np.int32),
            np.asarray([s.distortion[i] for s, i in pairs], np.int32),
            np.asarray([s.scenes[i] for s, i in pairs], np.float32),
            [f"{s.name}/{s.names[i]}" for s, i in pairs],
        )
