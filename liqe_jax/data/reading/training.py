"""Batches for training, as a tf.data pipeline that can start at any step.

Images are decoded and crops are cut with Pillow, bit for bit as in the reference. TensorFlow's decoders are not faster
(`benchmarks/pipeline.py`), differ for grey, palette and CMYK images, and do not report the file that failed.

Letters: N images of a host's share of the batch, P crops, S side of a crop; in labels, S scenes and T distortions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from liqe_jax.data.labelled import UNKNOWN, LabelledSet
from liqe_jax.data.reading.sampling import Sampler, StepSample, sampler_for, share
from liqe_jax.data.reading.tensorflow import import_tensorflow
from liqe_jax.errors import DataError, ImageError, UnreadableError
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.images.grid import CROP_SIZE, cut, grid
from liqe_jax.images.preprocess import enlarge_to_crop, resize_short_side
from liqe_jax.taxonomy import DISTORTION

# Number of consecutive broken images after which a data set counts as unreadable.
MOST_REPLACEMENTS = 100


class TrainingBatch(NamedTuple):
    """One host's share of a step.

    Attributes:
      crops: RGB uint8 [N, P, S, S, 3]; the model normalises them. With `LabelledSet.ready`, its arrays [N, P, ...].
      mos: MOS on the scale of each set.
      dataset: data set of each image, its position among the sets.
      group: equal for images that form pairs (`StepSample.group`).
      distortion: distribution over `DISTORTION.labels`, one-hot unless images are mixed; all 0 where unknown.
      scenes: 1 for every scene of the image; a number between 0 and 1 where images are mixed.
      names: "SET/NAME" of each image.
    """

    crops: np.ndarray
    mos: Float[np.ndarray, " N"]
    dataset: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    distortion: Float[np.ndarray, "N T"]
    scenes: Float[np.ndarray, "N S"]
    names: list[str]


@dataclasses.dataclass
class Broken:
    """Images that could not be decoded and were replaced: name -> decoding error."""

    names: dict[str, str] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, name: str, error: str) -> None:
        """Records and logs an image, once."""
        with self._lock:
            if name not in self.names:
                self.names[name] = error
                logging.warning("%s is excluded from training (%d so far): %s", name, len(self.names), error)


def pixels_of(encoded: bytes, image_size: int = CROP_SIZE) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an image, and resizes large and tiny images like the scorer.

    Raises:
      ImageError: the bytes are not an image, or truncated.
    """
    return enlarge_to_crop(resize_short_side(decode(encoded, DecodeOptions()).pixels), image_size)


def random_crops(
    encoded: bytes, where: Float[np.ndarray, " P"], flip: bool, image_size: int = CROP_SIZE
) -> UInt8[np.ndarray, "P S S 3"]:
    """Cuts crops of the reference's grid, each chosen by a number in [0, 1); the image is mirrored first.

    Raises:
      ImageError: the bytes are not an image, or truncated.
    """
    pixels = pixels_of(encoded, image_size)
    height, width = pixels.shape[:2]
    cells = grid(height, width, crop_size=image_size)
    corners = cells.corners(np.minimum((where * len(cells)).astype(np.int64), len(cells) - 1))
    return cut(pixels[:, ::-1] if flip else pixels, corners, image_size)


def training_batches(
    sets: Sequence[LabelledSet],
    counts: Sequence[int],
    *,
    session: str,
    seed: int,
    start_step: int = 0,
    steps: int | None = None,
    crops: int = 3,
    pairs: Sequence[str] = (),
    mixup: Sequence[float] = (),
    image_size: int = CROP_SIZE,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    broken: Broken | None = None,
) -> Iterator[TrainingBatch]:
    """Yields the batches of steps `start_step`, `start_step` + 1, ...

    The batch of a step depends on the seed, the session and the step only. Every host decodes its share;
    concatenated in the order of the hosts, the shares equal the batch of a single host.

    Args:
      sets, counts: data sets, and number of images of each per step, over all hosts.
      session, seed: the session ("1" to "10", "official", ...; sets without it are used whole) and seed of the sample.
      start_step, steps: first step and number of steps; None is infinite.
      crops, image_size: number of crops per image, and their side in pixels.
      pairs: of each set, one of `PAIRS`; () is "set" for all.
      mixup: of each set, a of the Beta(a, a) distribution by which an array of `LabelledSet.ready` and its labels are
        mixed with those of another image of its group (`Sampler.mixup`); () mixes nothing.
      host, hosts: this process among all.
      workers: number of images decoded at the same time; 0 lets tf.data decide.
      broken: collects the images that were replaced.

    Raises:
      DataError: a train split is empty, the images cannot be divided among the hosts, crops are to be mixed, or no
        image of a set can be decoded.
    """
    tf = import_tensorflow()
    for kind in ("GPU", "TPU"):  # TensorFlow would reserve their memory, which JAX needs
        with contextlib.suppress(RuntimeError):  # TensorFlow already uses such devices
            tf.config.set_visible_devices([], kind)
    sampler = sampler_for(sets, counts, session=session, seed=seed, crops=crops, pairs=pairs, mixup=mixup)
    mixed_crops = [dataset.name for dataset, a in zip(sets, mixup, strict=False) if a and not dataset.ready]
    if mixed_crops:
        raise DataError(
            "Crops cannot be mixed, only arrays of LabelledSet.ready. Set mixup to 0 for "
            + ", ".join(mixed_crops)
            + "."
        )
    mine = share(sum(counts), host, hosts)
    size = mine.stop - mine.start
    source = _Source(sets, sampler, image_size, broken if broken is not None else Broken(), mine)
    first = next((dataset.ready(0, False, np.zeros(crops)) for dataset in sets if dataset.ready), None)
    shape = (crops, image_size, image_size, 3) if first is None else first.shape
    dtype = tf.uint8 if first is None else tf.as_dtype(first.dtype)

    @tf.autograph.experimental.do_not_convert  # nothing to convert; its parser (gast) warns on Python 3.13
    def load(element: Any) -> tuple[Any, Any]:
        loaded, index = tf.numpy_function(source.load, [element], (dtype, tf.int64), stateful=False)
        return tf.ensure_shape(loaded, shape), tf.ensure_shape(index, ())

    last = np.iinfo(np.int64).max if steps is None else (start_step + steps) * size
    dataset = tf.data.Dataset.range(start_step * size, last)
    dataset = dataset.map(load, workers or tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(size, drop_remainder=True).prefetch(2)

    def labelled() -> Iterator[TrainingBatch]:
        try:
            for step, (loaded, index) in enumerate(dataset.as_numpy_iterator(), start_step):
                yield source.label(loaded, index, step)
        except (tf.errors.UnknownError, tf.errors.InvalidArgumentError) as error:
            raise source.failure or DataError(f"The pipeline failed: {error}") from error

    return labelled()


class _Source:
    """Loads one image of one step; called by tf.data from several threads."""

    def __init__(self, sets: Sequence[LabelledSet], sampler: Sampler, image_size: int, broken: Broken, mine: slice):
        self.sets, self.sampler, self.image_size, self.broken, self.mine = sets, sampler, image_size, broken, mine
        self.failure: DataError | None = None
        # The threads work on a few steps at a time.
        self.sample = functools.lru_cache(8)(sampler.sample)

    def load(self, element: int) -> tuple[np.ndarray, np.int64]:
        """Crops of one image, and the position of the image in its set, which may be a replacement."""
        step, row = divmod(int(element), self.mine.stop - self.mine.start)
        sample, row = self.sample(step), self.mine.start + row
        number, index = int(sample.dataset[row]), int(sample.index[row])
        dataset = self.sets[number]
        if dataset.ready:
            return self._ready(dataset, sample, row), np.int64(index)
        for attempt in range(MOST_REPLACEMENTS):
            name = f"{dataset.name}/{dataset.names[index]}"
            try:
                (encoded,) = dataset.read([index])
                crops = random_crops(encoded, sample.where[row], bool(sample.flip[row]), self.image_size)
                return crops, np.int64(index)
            except UnreadableError as error:  # a disk or a folder that has gone, and not this image
                self.failure = error
                raise
            except (ImageError, DataError) as error:
                self.broken.add(name, str(error))
            index = self.sampler.image_at(number, int(sample.place[row]) + attempt + 1)
        self.failure = DataError(
            f"{MOST_REPLACEMENTS} consecutive images of {dataset.name} cannot be decoded; the last is {name}. Prepare "
            "the data set again, or check it: liqe data verify."
        )
        raise self.failure

    def _ready(self, dataset: LabelledSet, sample: StepSample, row: int) -> np.ndarray:
        assert dataset.ready is not None
        rows = (row,) if sample.mix_weight[row] == 1 else (row, sample.partner[row])
        found = [dataset.ready(int(sample.index[k]), bool(sample.flip[k]), sample.where[k]) for k in rows]
        return _mixed(found[0], found[-1], sample.mix_weight[row])

    def label(self, crops: np.ndarray, index: np.ndarray, step: int) -> TrainingBatch:
        """Adds labels and names to crops and positions."""
        sample = self.sample(step)
        dataset, partner, weight = (column[self.mine] for column in (sample.dataset, sample.partner, sample.mix_weight))
        images = [(self.sets[d], i) for d, i in zip(dataset.tolist(), index.tolist(), strict=True)]
        targets = _targets(images)
        if (weight != 1).any():
            others = [(self.sets[d], i) for d, i in zip(dataset.tolist(), sample.index[partner].tolist(), strict=True)]
            targets = tuple(_mixed(own, other, weight) for own, other in zip(targets, _targets(others), strict=True))
        mos, distortion, scenes = targets
        return TrainingBatch(
            crops,
            mos,
            dataset.astype(np.int32),
            sample.group[self.mine].astype(np.int32),
            distortion,
            scenes,
            [f"{s.name}/{s.names[i]}" for s, i in images],
        )


def _targets(images: Sequence[tuple[LabelledSet, int]]) -> tuple[np.ndarray, ...]:
    """MOS, distribution over distortions and scenes of N images, each a set and a position in it; float32."""
    distortion = np.asarray([dataset.distortion[index] for dataset, index in images])
    one_hot = np.eye(len(DISTORTION.labels), dtype=np.float32)[distortion]
    return (
        np.asarray([dataset.mos[index] for dataset, index in images], np.float32),
        np.where((distortion == UNKNOWN)[:, None], 0, one_hot),
        np.asarray([dataset.scenes[index] for dataset, index in images], np.float32),
    )


def _mixed(own: np.ndarray, other: np.ndarray, weight: Float[np.ndarray, "*N"]) -> np.ndarray:
    """The weighted mean, in the type of `own`; exactly `own` where the weight is 1."""
    share = np.asarray(weight, np.float32).reshape(np.shape(weight) + (1,) * (own.ndim - np.ndim(weight)))
    return np.where(share == 1, own, share * own + (1 - share) * other).astype(own.dtype)
