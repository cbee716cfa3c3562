"""The public scorer: images in, judgements out.

`Model` keeps parameters on the devices and compiled functions, and nothing that depends on
the images it has seen. With one batch size, an image's score is the same bit for bit, first or
last and whatever the other images are. With another number of images per device XLA may sum in
another order: quality then differs by up to 1e-6 in float32 and 3e-4 in bfloat16 (measured: 9.1e-7
and 2.3e-4, liqe_nano, the photographs of `samples/`, batch sizes 1 to 16, one CPU device).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt8

from liqe_jax.errors import LiqeError, ModelError, UsageError
from liqe_jax.images.decode import ImageSource, decode
from liqe_jax.images.grid import grid
from liqe_jax.images.preprocess import PreparedImage, Preset, prepare
from liqe_jax.images.stream import map_ahead
from liqe_jax.model.clip import Params
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.head import Prediction, predict_from_logits
from liqe_jax.model.int8 import quantise
from liqe_jax.model.predict import predict, predict_patches
from liqe_jax.scoring.arguments import at_least_one, devices_of, preset_of, refuse_one_image
from liqe_jax.scoring.result import Failure, QualityMap, Score
from liqe_jax.tasks import TaskSet
from liqe_jax.weights.provenance import Provenance, seen_in_training

DTYPES = ("float32", "bfloat16", "int8")

# Patches per call when an image is judged patch by patch.
MAP_CHUNK = 16


@dataclasses.dataclass(frozen=True)
class _Job:
    name: str
    source: ImageSource


@dataclasses.dataclass(frozen=True)
class _Ready:
    """A decoded image, reduced to what the device and the result need."""

    name: str
    patches: UInt8[np.ndarray, "P S S 3"]
    corners: Int[np.ndarray, "P 2"]
    width: int
    height: int
    warnings: tuple[str, ...]


# What compiled functions and the digest hold to.
_FIXED = ("params", "text_features", "config", "tasks", "dtype", "devices", "preprocess")


class Model:
    """A LIQE model on this process's devices. What it computes with cannot be set; make another one instead.

    Attributes:
      params: parameters, float32, or with kernels of bfloat16 or int8 (`model/int8.py`).
      text_features: unit features of the prompts, float32 [K, D].
      config, tasks, provenance: what the model is.
      dtype: operand type of its matrix products.
      devices: where it runs; images are spread over all of them.
      preprocess: name of the preset that it takes where a call names none.

    Raises:
      UsageError: unknown dtype, devices or preset, text features of another shape, or an attribute that is to be set.
    """

    def __init__(
        self,
        params: Params,
        text_features: Float[np.ndarray, "K D"] | Float[Array, "K D"],
        config: CLIPConfig,
        tasks: TaskSet,
        provenance: Provenance,
        dtype: str = "float32",
        devices: Sequence[jax.Device] | jax.Device | None = None,
        preprocess: str | Preset = "paper",
    ):
        if dtype not in DTYPES:
            raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
        self.config, self.tasks, self.provenance, self.dtype = config, tasks, provenance, dtype
        expected = (len(tasks.prompts), config.projection_dim)
        if np.shape(text_features) != expected:
            raise UsageError(
                f"Text features must have shape {expected}, a row per prompt of {tasks.name!r}; got "
                f"{np.shape(text_features)}. Compute them with liqe_jax.scoring.load.text_features."
            )
        self._preset = preset_of(preprocess)
        self.preprocess = self._preset.name
        self.devices = devices_of(devices)
        mesh = Mesh(np.asarray(self.devices), ("images",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._spread = NamedSharding(mesh, PartitionSpec("images"))
        self.params = jax.device_put(_with_kernels_of(params, config, dtype), self._replicated)
        self.text_features = jax.device_put(jnp.asarray(text_features, jnp.float32), self._replicated)
        product_dtype = jnp.dtype(dtype)
        self._predict = jax.jit(functools.partial(predict, config=config, tasks=tasks, dtype=product_dtype))
        self._predict_patches = jax.jit(
            functools.partial(predict_patches, config=config, tasks=tasks, dtype=product_dtype)
        )
        self._predict_from_logits = jax.jit(functools.partial(predict_from_logits, tasks=tasks))

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
        described = [self.tasks.to_dict(), self.dtype, repr(self.config)]
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
        patches: int | str | None = None,
        allow_truncated: bool = False,
        name: str | None = None,
    ) -> Score:
        """Judges one image.

        Args:
          image: path, encoded bytes, PIL image, or array: RGB [H, W, 3], RGBA [H, W, 4] or
            grey [H, W], uint8 or floating in [0, 1]. RGB, not OpenCV's BGR.
          preprocess: "paper", "pyiqa", "even", or a `Preset` of your own; default the model's.
          patches: how many to judge at most, or "all" of the grid; default the preset's fifteen.
          allow_truncated: score what can be decoded of a cut file.
          name: for the result's `image`; default the path, or "<array>" and the like.

        Raises:
          ImageError: the image cannot be decoded.
          ModelError: the model predicts NaN.
          UsageError: there is no such preset or number of patches.
        """
        preset = self._chosen(preprocess).with_patches(patches)
        name = _name_of(image) if name is None else name
        ready = self._ready(_Job(name, image), preset, allow_truncated)
        (result,) = self._finish([ready], self._start([ready], preset, len(self.devices)), preset)
        if isinstance(result, Failure):
            raise ModelError(result.error)
        return result

    def score_many(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = None,
        preprocess: str | Preset | None = None,
        patches: int | str | None = None,
        allow_truncated: bool = False,
        workers: int | None = None,
    ) -> Iterator[Score | Failure]:
        """Judges any number of images, in order, as they come.

        Decoding runs ahead on threads while the devices compute; memory does not grow with
        the number of images. What cannot be scored yields a `Failure`, and the rest goes on.

        Args:
          images: each as in `score`; read lazily.
          batch_size: images per call, over all devices together, rounded up to a multiple of
            their number. Default: one per CPU device, sixteen per other device.
          preprocess, patches, allow_truncated: as in `score`.
          workers: decoding threads; default the number of cores, at most eight.

        Raises:
          UsageError: one image instead of many, no such preset, or no such number of patches, images or workers.
        """
        refuse_one_image(images)
        preset = self._chosen(preprocess).with_patches(patches)
        batch_size = self.batch_size(batch_size)
        workers = min(os.cpu_count() or 1, 8) if workers is None else at_least_one("workers", workers)
        jobs = (_Job(_name_of(image), image) for image in images)

        def attempt(job: _Job) -> _Ready | Failure:
            try:
                return self._ready(job, preset, allow_truncated)
            except LiqeError as error:
                return Failure(job.name, str(error))

        return self._stream(map_ahead(attempt, jobs, workers, batch_size + 2 * workers), preset, batch_size)

    def batch_size(self, wanted: int | None = None) -> int:
        """`wanted` images per call, or the default, rounded up to fill all devices.

        Raises:
          UsageError: it is no number from 1.
        """
        count = len(self.devices)
        if wanted is None:
            # One image is 750 tokens of a ViT-B/32, which is enough to keep a CPU busy.
            return count * (1 if self.devices[0].platform == "cpu" else 16)
        return -(-at_least_one("batch_size", wanted) // count) * count

    def quality_map(
        self, image: ImageSource, *, preprocess: str | Preset | None = None, allow_truncated: bool = False
    ) -> QualityMap:
        """Judges every patch of a dense grid by itself.

        The grid is the one that `paper` chooses its fifteen patches from (stride 32, or 48
        for large images), so a 1024x768 photograph has 204.

        Raises:
          ImageError: the image cannot be decoded.
          ModelError: the model predicts NaN.
          UsageError: the model predicts no quality.
        """
        if "quality" not in (a.name for a in self.tasks.attributes if a.values is not None):
            raise UsageError(f"A quality map needs an attribute 'quality' with values; {self.name} has none.")
        dense = dataclasses.replace(self._chosen(preprocess), even=False, count=None)
        prepared = self._prepared(_Job(_name_of(image), image), dense, allow_truncated)
        quality = np.concatenate([part.values["quality"] for part in self._by_patch(prepared.patches())])
        if not np.isfinite(quality).all():
            raise ModelError(self._damaged())
        height, width = prepared.pixels.shape[:2]
        cells = grid(height, width, dense.stride, self.config.image_size)
        return QualityMap(prepared.pixels, cells, quality.reshape(cells.rows, cells.cols), self.config.image_size)

    def patches(
        self, image: ImageSource, *, preprocess: str | Preset | None = None, allow_truncated: bool = False
    ) -> UInt8[np.ndarray, "P S S 3"]:
        """The patches that `score` would judge, RGB: what `liqe_jax.predict` takes, for gradients and the like.

        Raises:
          ImageError: the image cannot be decoded.
        """
        return self._ready(_Job(_name_of(image), image), self._chosen(preprocess), allow_truncated).patches

    def _chosen(self, preprocess: str | Preset | None) -> Preset:
        return self._preset if preprocess is None else preset_of(preprocess)

    def _ready(self, job: _Job, preset: Preset, allow_truncated: bool) -> _Ready:
        prepared = self._prepared(job, preset, allow_truncated)
        # Without the image itself: a queue of photographs would take gigabytes.
        return _Ready(
            job.name, prepared.patches(), prepared.corners, prepared.width, prepared.height, prepared.warnings
        )

    def _prepared(self, job: _Job, preset: Preset, allow_truncated: bool) -> PreparedImage:
        decoded = decode(job.source, preset.decode_options(allow_truncated))
        prepared = prepare(decoded, preset, self.config.image_size)
        if isinstance(job.source, (str, os.PathLike)):
            seen = seen_in_training(self.provenance, job.name)
            if seen:
                prepared = dataclasses.replace(prepared, warnings=(*prepared.warnings, seen))
        return prepared

    def _damaged(self) -> str:
        return f"{self.name} predicts NaN for this image: its weights are damaged."

    def _stream(self, items: Iterable[_Ready | Failure], preset: Preset, batch_size: int) -> Iterator[Score | Failure]:
        """Results in the order of the items; one batch computes while the next is gathered."""
        running: tuple[list[_Ready | Failure], Prediction] | None = None
        for slots in _batches(items, batch_size):
            prediction = self._start([slot for slot in slots if isinstance(slot, _Ready)], preset, batch_size)
            if running is not None:
                yield from self._finish(*running, preset)
            running = slots, prediction
        if running is not None:
            yield from self._finish(*running, preset)

    def _start(self, ready: list[_Ready], preset: Preset, batch_size: int) -> Prediction:
        """Begins to judge up to `batch_size` images; returns before it is done."""
        if preset.count is None or not ready:
            return self._judge_all_patches(ready)
        side = self.config.image_size
        patches = np.zeros((batch_size, preset.count, side, side, 3), np.uint8)
        mask = np.zeros((batch_size, preset.count), np.float32)
        mask[len(ready) :, 0] = 1  # padding images: their results are dropped, but no 0 / 0
        for slot, item in enumerate(ready):
            patches[slot, : len(item.patches)] = item.patches
            mask[slot, : len(item.patches)] = 1
        return self._predict(
            self.params,
            jax.device_put(patches, self._spread),
            self.text_features,
            patch_mask=jax.device_put(mask, self._spread),
        )

    def _judge_all_patches(self, ready: list[_Ready]) -> Prediction:
        """Images with any number of patches, in chunks of one shape; also no images at all."""
        prompts = len(self.text_features)
        logits = np.zeros((len(ready), prompts), np.float32)
        for row, item in enumerate(ready):
            logits[row] = np.concatenate([part.logits for part in self._by_patch(item.patches)]).mean(0)
        return self._predict_from_logits(logits)

    def _by_patch(self, patches: UInt8[np.ndarray, "P S S 3"]) -> Iterator[Prediction]:
        chunk = MAP_CHUNK * len(self.devices)
        for start in range(0, len(patches), chunk):
            part = patches[start : start + chunk]
            padded = np.zeros((chunk, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            out = self._predict_patches(self.params, jax.device_put(padded, self._spread), self.text_features)
            count = len(part)
            yield jax.tree.map(lambda array, count=count: np.asarray(array)[:count], out)

    def _finish(
        self, slots: Sequence[_Ready | Failure], prediction: Prediction, preset: Preset
    ) -> Iterator[Score | Failure]:
        joint, logits = np.asarray(prediction.joint), np.asarray(prediction.logits)
        row = 0
        for slot in slots:
            if isinstance(slot, Failure):
                yield slot
                continue
            if np.isfinite(joint[row]).all():
                yield Score(
                    image=slot.name,
                    joint=joint[row],
                    logits=logits[row],
                    corners=slot.corners,
                    width=slot.width,
                    height=slot.height,
                    model=self.name,
                    preprocess=preset.name,
                    tasks=self.tasks,
                    warnings=slot.warnings,
                )
            else:
                yield Failure(slot.name, self._damaged())
            row += 1


def _with_kernels_of(params: Params, config: CLIPConfig, dtype: str) -> Params:
    """Kernels rounded to `dtype` once, rather than at every call; everything else stays float32."""
    if dtype == "int8":
        return quantise(params, config.stem)

    def convert(path: tuple[Any, ...], leaf: Array) -> Array:
        return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

    return params if dtype == "float32" else jax.tree_util.tree_map_with_path(convert, params)


def _batches(items: Iterable[_Ready | Failure], batch_size: int) -> Iterator[list[_Ready | Failure]]:
    """Runs of items with at most `batch_size` images each; failures ride along in their places."""
    slots: list[_Ready | Failure] = []
    images = 0
    for item in items:
        slots.append(item)
        images += isinstance(item, _Ready)
        # A long run of failures must not wait for an image that may never come.
        if images == batch_size or len(slots) >= batch_size + 16:
            yield slots
            slots, images = [], 0
    if slots:
        yield slots


def _name_of(image: ImageSource) -> str:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return f"<{type(image).__name__}>"
