"""Predicts a data set with a model, on all local devices of all hosts.

Letters: B images of a batch, L labels of an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float, Int

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.evaluation import PADDING, evaluation_images
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.images.preprocess import Preset
from liqe_jax.scoring.forward import Forward, Weights


class Predicted(NamedTuple):
    """One batch without its padding: positions in the set, which rise, expected quality, and marginals by attribute."""

    indices: Int[np.ndarray, " B"]
    quality: Float[np.ndarray, " B"]
    probabilities: dict[str, Float[np.ndarray, "B L"]]


def predict_set(
    forward: Forward,
    weights: Weights,
    dataset: LabelledSet,
    indices: Int[np.ndarray, " M"],
    *,
    preset: Preset,
    images_per_device: int = 0,
    workers: int = 0,
    name: str = "The model",
) -> Iterator[Predicted]:
    """Predicts the images `indices`, batch by batch; every host gets every result.

    Args:
      forward, weights, dataset, indices: the model, on this process's devices, and the images to predict.
      preset: with a fixed number of crops.
      images_per_device, workers: per call, and decoding threads; 0 takes the scorer's default, and one per core.
      name: of the model, in messages.

    Raises:
      UsageError: the preset takes all crops, or the model does not predict quality.
      DataError: an image cannot be decoded.
      ModelError: a prediction is NaN.
    """
    if preset.count is None:
        raise UsageError("An evaluation needs a preset with a fixed number of crops; this preset takes all of them.")
    if not forward.tasks.has_quality:
        raise UsageError(f"{name} does not predict quality, which an evaluation needs. Use a model with that task.")
    batch_size = forward.batch_size(images_per_device)
    images = evaluation_images(
        dataset,
        indices,
        batch_size=batch_size,
        preset=preset,
        image_size=forward.encoder.image_size,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=workers,
    )
    for batch in forward.stream(weights, images, lambda item: item[1], batch_size=batch_size, crops=preset.count):
        positions = np.asarray([position for position, _ in batch.items])
        prediction: Any = batch.prediction  # with NumPy's arrays
        found = _of_all_hosts(Predicted(positions, prediction.values["quality"], prediction.marginals))
        check_finite(found, dataset, name)
        yield found


def check_finite(found: Predicted, dataset: LabelledSet, name: str = "The model") -> None:
    """Raises ModelError if a quality is NaN, naming the image."""
    if not np.isfinite(found.quality).all():
        bad = dataset.names[int(found.indices[np.flatnonzero(~np.isfinite(found.quality))[0]])]
        raise ModelError(f"{name} predicts NaN for {dataset.name}/{bad}: its weights are corrupt.")


def _of_all_hosts(found: Predicted) -> Predicted:
    if jax.process_count() > 1:
        gathered = multihost_utils.process_allgather(found)
        found = jax.tree.map(lambda rows: np.asarray(rows).reshape(-1, *rows.shape[2:]), gathered)
    order = np.argsort(found.indices, kind="stable")
    order = order[found.indices[order] != PADDING]
    return jax.tree.map(lambda rows: rows[order], found)
