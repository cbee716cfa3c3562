"""From a model and a data set to predictions, on all local devices of all hosts.

Letters: B images of a batch, L labels of an attribute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.evaluation import EvaluationBatch, evaluation_batches
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.images.preprocess import PRESETS, Preset
from liqe_jax.model.config import CLIPConfig
from liqe_jax.model.predict import predict
from liqe_jax.scoring.model import Model
from liqe_jax.tasks import TaskSet

# (parameters, patches, text features, patch mask) -> quality, and "p ATTRIBUTE" for each attribute.
Judge = Callable[..., dict[str, Any]]


class Predicted(NamedTuple):
    """Of the real images of one batch, in the order of their positions.

    Attributes:
      indices: positions in the set.
      quality: expected quality.
      probabilities: attribute -> distribution over its labels.
    """

    indices: Int[np.ndarray, " B"]
    quality: Float[np.ndarray, " B"]
    probabilities: dict[str, Float[np.ndarray, "B L"]]


def make_judge(config: CLIPConfig, tasks: TaskSet, dtype: str) -> Judge:
    """What runs on the devices, compiled once for all models and data sets that share it."""
    return jax.jit(functools.partial(_judge, config=config, tasks=tasks, dtype=jnp.dtype(dtype)))


def predict_set(
    model: Model,
    dataset: LabelledSet,
    indices: Int[np.ndarray, " M"],
    *,
    preset: str | Preset = "paper",
    images_per_device: int = 0,
    workers: int = 0,
    judge: Judge | None = None,
) -> Iterator[Predicted]:
    """Predicts the images `indices`, batch by batch; every host gets every result.

    A prediction depends on its image, and on nothing else that is in the batch.

    Args:
      model: on this process's devices.
      dataset, indices: what to predict.
      preset: how patches are chosen; with a fixed number of them.
      images_per_device: per call; 0 takes the scorer's own choice.
      workers: decoding threads; 0: one for each core.
      judge: of `make_judge` for this model; default a new one, which is compiled again.

    Raises:
      UsageError: the preset takes all patches, or the model predicts no quality.
      DataError: an image cannot be decoded.
      ModelError: a prediction is NaN.
    """
    chosen = find_preset(preset)
    if not any(a.name == "quality" and a.values for a in model.tasks.attributes):
        raise UsageError(f"{model.name} predicts no quality, so it has no correlation with opinion scores.")
    spread = NamedSharding(Mesh(np.asarray(model.devices), ("images",)), PartitionSpec("images"))
    run = judge or make_judge(model.config, model.tasks, model.dtype)
    batches = evaluation_batches(
        dataset,
        indices,
        batch_size=model.batch_size(images_per_device * len(model.devices) or None),
        preset=chosen,
        patch=model.config.image_size,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=workers,
    )
    running: tuple[EvaluationBatch, Any] | None = None
    for batch in batches:
        patches, mask = jax.device_put((batch.patches, batch.patch_mask), spread)
        started = run(model.params, patches, model.text_features, mask)
        if running is not None:
            yield _finish(*running, model, dataset)
        running = batch, started
    if running is not None:
        yield _finish(*running, model, dataset)


def find_preset(preset: str | Preset) -> Preset:
    """The preset that is meant.

    Raises:
      UsageError: no such name, or it takes every patch of an image.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise UsageError(f"config.preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    if chosen.count is None:
        raise UsageError("An evaluation needs a preset with a fixed number of patches; this one takes all of them.")
    return chosen


def _judge(params: Any, patches: Any, text_features: Any, mask: Any, **static: Any) -> dict[str, Any]:
    prediction = predict(params, patches, text_features, patch_mask=mask, **static)
    return {"quality": prediction.values["quality"], **{f"p {k}": v for k, v in prediction.marginals.items()}}


def _finish(batch: EvaluationBatch, started: dict[str, Any], model: Model, dataset: LabelledSet) -> Predicted:
    arrays = {name: np.asarray(value) for name, value in started.items()}
    arrays |= {"index": batch.indices, "real": batch.image_mask}
    if jax.process_count() > 1:
        gathered = multihost_utils.process_allgather(arrays)
        arrays = {name: np.asarray(value).reshape(-1, *value.shape[2:]) for name, value in gathered.items()}
    real = arrays["real"] > 0
    arrays = {name: value[real] for name, value in arrays.items()}
    order = np.argsort(arrays["index"], kind="stable")
    index, quality = arrays["index"][order], arrays["quality"][order]
    if not np.isfinite(quality).all():
        bad = dataset.names[int(index[np.flatnonzero(~np.isfinite(quality))[0]])]
        raise ModelError(f"{model.name} predicts NaN for {dataset.name}/{bad}: its weights are damaged.")
    probabilities = {a.name: arrays[f"p {a.name}"][order] for a in model.tasks.attributes}
    return Predicted(index, quality, probabilities)
