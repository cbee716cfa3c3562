"""The public scorer: images in, scores out.

With one batch size, an image's score is the same bit for bit, whatever the other images are. With another number of
images per device XLA may sum in another order: quality then differs by up to 1e-6 in float32 and 3e-4 in bfloat16
(measured: 9.1e-7 and 2.3e-4, liqe_nano, the photographs of `samples/`, batch sizes 1 to 16, one CPU device).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from liqe_jax.encoders.base import Encoder, Params
from liqe_jax.errors import LiqeError, ModelError, UsageError
from liqe_jax.images.decode import ImageSource, decode
from liqe_jax.images.grid import grid
from liqe_jax.images.preprocess import PreparedImage, Preset, prepare
from liqe_jax.images.stream import map_ahead
from liqe_jax.model.head import predict_from_logits
from liqe_jax.scoring.arguments import at_least_one, devices_of, preset_of, refuse_one_image
from liqe_jax.scoring.forward import Forward, with_kernels_of
from liqe_jax.scoring.result import Failure, QualityMap, Score
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.provenance import Provenance, seen_in_training

DTYPES = ("float32", "bfloat16", "int8")


class _Ready(NamedTuple):
    """A decoded image, reduced to what the device needs, and its result but for `joint` and `logits`."""

    name: str
    crops: UInt8[np.ndarray, "P S S 3"]
    score: Callable[..., Score]


# What compiled functions and the digest depend on.
_FIXED = ("params", "text_features", "encoder", "tasks", "dtype", "devices", "preprocess")


class Model:
    """A LIQE model on this process's devices. What it computes with cannot be set; make another one instead.

    Attributes:
      params: parameters, float32, or with kernels of bfloat16 or int8 (`encoders/int8.py`).
      text_features: unit features of the prompts, float32 [K, D].
      encoder, tasks, provenance: what the model is.
      dtype, devices: operand type of its matrix products, and where it runs; images are spread over all devices.
      forward, weights: the compiled forward pass, and `params` and `text_features` as it takes them.
      preprocess: name of the preset that it takes where a call names none.

    Raises:
      UsageError: unknown dtype, devices or preset, text features of another shape, or an attribute that is to be set.
    """

    def __init__(
        self,
        params: Params,
        text_features: Float[np.ndarray, "K D"] | Float[Array, "K D"],
        encoder: Encoder,
        tasks: TaskSet,
        provenance: Provenance,
        dtype: str = "float32",
        devices: Sequence[jax.Device] | jax.Device | None = None,
        preprocess: str | Preset = "paper",
    ):
        if dtype not in DTYPES:
            raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
        self.encoder, self.tasks, self.provenance, self.dtype = encoder, tasks, provenance, dtype
        expected = (len(tasks.prompts), encoder.projection_dim)
        if np.shape(text_features) != expected:
            raise UsageError(
                f"Text features must have shape {expected}, a row per prompt of {tasks.name!r}; got "
                f"{np.shape(text_features)}. Compute them with liqe_jax.weights.open.text_features."
            )
        self._preset = preset_of(preprocess)
        self.preprocess = self._preset.name
        self.devices = devices_of(devices)
        self.forward = Forward(encoder, tasks, dtype, self.devices)
        self.weights = self.forward.place(with_kernels_of(params, encoder, dtype), text_features)
        self.params, self.text_features = self.weights

    def __setattr__(self, key: str, value: Any) -> None:
        if key in _FIXED and key in self.__dict__:
            raise UsageError(
                f"A Model's {key} cannot be set: compiled functions and its digest are of the old value. Make another "
                "with liqe_jax.load(...) or liqe_jax.Model(...)."
            )
        super().__setattr__(key, value)

    @property
    def name(self) -> str:
        """The model's name in results."""
        return self.provenance.name

    @functools.cached_property
    def digest(self) -> str:
        """Sha256 over all that a score depends on but image and preset: parameters, text features, labels, dtype."""
        described = [self.tasks.to_dict(), self.dtype, repr(self.encoder)]
        found = hashlib.sha256(json.dumps(described).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path((self.params, self.text_features)):
            found.update(jax.tree_util.keystr(path).encode())
            found.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
        return found.hexdigest()

    def score(
        self,
        image: ImageSource,
        *,
        preprocess: str | Preset | None = None,
        crops: int | str | None = None,
        allow_truncated: bool = False,
        name: str | None = None,
    ) -> Score:
        """Scores one image.

        Args:
          image: path, encoded bytes, PIL image, or array: RGB [H, W, 3], RGBA [H, W, 4] or
            grey [H, W], uint8 or floating in [0, 1]. RGB, not OpenCV's BGR.
          preprocess: "paper", "pyiqa", "even", or a `Preset` of your own; default the model's.
          crops: how many to score at most, or "all" of the grid; default the preset's fifteen.
          allow_truncated: score what can be decoded of a cut file.
          name: for the result's `image`; default the path, or "<array>" and the like.

        Raises:
          ImageError: the image cannot be decoded.
          ModelError: the model predicts NaN.
          UsageError: there is no such preset or number of crops.
        """
        preset = self._chosen(preprocess).with_crops(crops)
        ready = self._ready(image, _name_of(image) if name is None else name, preset, allow_truncated)
        (result,) = self._stream([ready], preset, len(self.devices))
        if isinstance(result, Failure):
            raise ModelError(result.error)
        return result

    def score_many(
        self,
        images: Iterable[ImageSource | tuple[str, ImageSource]],
        *,
        batch_size: int | None = None,
        preprocess: str | Preset | None = None,
        crops: int | str | None = None,
        allow_truncated: bool = False,
        workers: int | None = None,
    ) -> Iterator[Score | Failure]:
        """Scores any number of images in order, with bounded memory; what cannot be scored yields a `Failure`.

        Args:
          images: each as in `score`, or a pair (name, image), such as a key and encoded bytes; read lazily.
          batch_size: images per call, over all devices together, rounded up to a multiple of
            their number. Default: one per CPU device, sixteen per other device.
          preprocess, crops, allow_truncated: as in `score`.
          workers: decoding threads; default the number of cores, at most eight.

        Raises:
          UsageError: one image instead of many, no such preset, or no such number of crops, images or workers.
        """
        refuse_one_image(images)
        preset = self._chosen(preprocess).with_crops(crops)
        batch_size = self.batch_size(batch_size)
        workers = min(os.cpu_count() or 1, 8) if workers is None else at_least_one("workers", workers)

        def attempt(item: ImageSource | tuple[str, ImageSource]) -> _Ready | Failure:
            name, image = item if isinstance(item, tuple) and len(item) == 2 else (_name_of(item), item)
            try:
                return self._ready(image, name, preset, allow_truncated)
            except LiqeError as error:
                return Failure(name, str(error))

        return self._stream(map_ahead(attempt, images, workers, batch_size + 2 * workers), preset, batch_size)

    def batch_size(self, wanted: int | None = None) -> int:
        """`wanted` images per call (UsageError if below 1), or the default, rounded up to fill all devices."""
        if wanted is None:
            return self.forward.batch_size()
        count = len(self.devices)
        return -(-at_least_one("batch_size", wanted) // count) * count

    def quality_map(
        self, image: ImageSource, *, preprocess: str | Preset | None = None, allow_truncated: bool = False
    ) -> QualityMap:
        """Scores every crop of a dense grid by itself; arguments and errors as in `score`.

        The grid is the one that `paper` chooses its fifteen crops from (stride 32, or 48 for large images): a 1024x768
        photograph has 204 of 224 pixels. `liqe_nano` takes larger crops, and fewer. UsageError without a quality.
        """
        if not self.tasks.has_quality:
            raise UsageError(f"A quality map needs an attribute 'quality' with values; {self.name} has none.")
        dense = self._chosen(preprocess).dense(self.encoder.image_size)
        prepared = self._prepared(image, _name_of(image), dense, allow_truncated)
        quality = self.forward.by_crop(self.weights, prepared.crops()).values["quality"]
        if not np.isfinite(quality).all():
            raise ModelError(self._corrupt())
        height, width = prepared.pixels.shape[:2]
        cells = grid(height, width, dense.stride, self.encoder.image_size)
        return QualityMap(prepared.pixels, cells, quality.reshape(cells.rows, cells.cols), self.encoder.image_size)

    def crops(
        self, image: ImageSource, *, preprocess: str | Preset | None = None, allow_truncated: bool = False
    ) -> UInt8[np.ndarray, "P S S 3"]:
        """The crops that `score` would use, RGB: what `liqe_jax.predict` takes, for gradients; ImageError as there."""
        return self._ready(image, _name_of(image), self._chosen(preprocess), allow_truncated).crops

    def _chosen(self, preprocess: str | Preset | None) -> Preset:
        return self._preset if preprocess is None else preset_of(preprocess)

    def _ready(self, image: ImageSource, name: str, preset: Preset, allow_truncated: bool) -> _Ready:
        prepared = self._prepared(image, name, preset, allow_truncated)
        score = functools.partial(
            Score,
            image=name,
            corners=prepared.corners,
            width=prepared.width,
            height=prepared.height,
            model=self.name,
            preprocess=preset.name,
            tasks=self.tasks,
            warnings=prepared.warnings,
        )
        # Without the image itself: a queue of photographs would take gigabytes.
        return _Ready(name, prepared.crops(), score)

    def _prepared(self, image: ImageSource, name: str, preset: Preset, allow_truncated: bool) -> PreparedImage:
        prepared = prepare(decode(image, preset.decode_options(allow_truncated)), preset, self.encoder.image_size)
        if isinstance(image, (str, os.PathLike)):
            seen = seen_in_training(self.provenance, name)
            if seen:
                prepared = dataclasses.replace(prepared, warnings=(*prepared.warnings, seen))
        return prepared

    def _corrupt(self) -> str:
        return f"{self.name} predicts NaN for this image: its weights are corrupt."

    def _stream(self, items: Iterable[_Ready | Failure], preset: Preset, batch_size: int) -> Iterator[Score | Failure]:
        """Results in the order of the items."""
        if preset.count is None:
            yield from map(self._score_all_crops, items)
            return
        batches = self.forward.stream(
            self.weights,
            items,
            lambda item: item.crops if isinstance(item, _Ready) else None,
            batch_size=batch_size,
            crops=preset.count,
        )
        for batch in batches:
            rows = iter(zip(np.asarray(batch.prediction.joint), np.asarray(batch.prediction.logits), strict=True))
            for item in batch.items:
                yield item if isinstance(item, Failure) else self._result(item, *next(rows))

    def _score_all_crops(self, item: _Ready | Failure) -> Score | Failure:
        """An image with any number of crops, in calls of one shape."""
        if isinstance(item, Failure):
            return item
        logits = self.forward.by_crop(self.weights, item.crops).logits.mean(0)
        return self._result(item, np.asarray(predict_from_logits(logits, self.tasks).joint), logits)

    def _result(self, item: _Ready, joint: np.ndarray, logits: np.ndarray) -> Score | Failure:
        finite = np.isfinite(joint).all()
        return item.score(joint=joint, logits=logits) if finite else Failure(item.name, self._corrupt())


def _name_of(image: ImageSource) -> str:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return f"<{type(image).__name__}>"
