"""How good the model is now: predictions for whole parts of data sets, on all devices.

Letters: D devices, n images of one device, P patches, N images of a part.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.evaluation import evaluation_batches
from liqe_jax.images.preprocess import PATCH_COUNT, PRESETS
from liqe_jax.metrics.accuracy import top_k_recall
from liqe_jax.metrics.correlation import plcc, srcc
from liqe_jax.model.predict import predict
from liqe_jax.train.checks import has_known_labels
from liqe_jax.train.mapped import DEVICES, pmap_over
from liqe_jax.train.plan import Flat, Plan
from liqe_jax.train.step import PromptRows, encode_share


class Predictions(NamedTuple):
    """Of one part of one data set, in the order of its indices.

    Attributes:
      indices: positions in the set.
      quality: expected quality.
      marginals: attribute -> probabilities; of those attributes alone whose labels data sets have.
    """

    indices: Int[np.ndarray, " N"]
    quality: Float[np.ndarray, " N"]
    marginals: dict[str, Float[np.ndarray, "N L"]]


Predictor = Callable[[Any, LabelledSet, np.ndarray], Predictions]


def make_predictor(
    plan: Plan,
    devices: list[jax.Device],
    batch_per_device: int,
    patches: int = PATCH_COUNT,
    preprocess: str = "paper",
) -> Predictor:
    """A function of (replicated parameters, set, indices) that predicts with all devices of all hosts.

    Args:
      plan: of the run.
      devices: local ones.
      batch_per_device: images.
      patches: of each image. Missing ones cost as much as real ones.
      preprocess: preset that chooses them.
    """
    preset = dataclasses.replace(PRESETS[preprocess], count=patches)

    def text(params: Flat, rows: PromptRows) -> Array:
        return encode_share(params, rows, plan, DEVICES)

    def judge(params: Flat, text_features: Array, patches: Array, patch_mask: Array) -> dict[str, Array]:
        prediction = predict(
            unflatten_dict(params, sep="/"),
            patches,
            text_features,
            config=plan.config,
            tasks=plan.tasks,
            patch_mask=patch_mask,
            dtype=plan.dtype,
        )
        return {"expected quality": prediction.values["quality"], **prediction.marginals}

    encode = pmap_over(text, devices)
    apply = pmap_over(judge, devices)
    count = len(devices)

    def predictor(params_and_rows: Any, dataset: LabelledSet, indices: np.ndarray) -> Predictions:
        params, rows = params_and_rows
        features = encode(params, rows)
        parts: list[dict[str, np.ndarray]] = []
        batches = evaluation_batches(
            dataset,
            indices,
            batch_size=count * batch_per_device,
            preset=preset,
            patch=plan.config.image_size,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )
        for batch in batches:
            spread = functools.partial(_spread, devices=count)
            out = apply(params, features, spread(batch.patches), spread(batch.patch_mask))
            host = {name: np.asarray(value).reshape(len(batch.indices), -1) for name, value in out.items()}
            parts.append({**host, "indices": batch.indices, "mask": batch.image_mask})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if jax.process_count() > 1:
            joined = {n: np.asarray(a) for n, a in multihost_utils.process_allgather(joined, tiled=True).items()}
        real = joined.pop("mask") > 0
        order = np.argsort(joined["indices"][real], kind="stable")
        joined = {name: value[real][order] for name, value in joined.items()}
        expected, at = joined.pop("expected quality")[:, 0], joined.pop("indices")
        return Predictions(at, expected, {a.name: joined[a.name] for a in plan.tasks.attributes if has_known_labels(a)})

    return predictor


def _spread(array: np.ndarray, devices: int) -> np.ndarray:
    return array.reshape(devices, -1, *array.shape[1:])


def figures(dataset: LabelledSet, predictions: Predictions) -> dict[str, float]:
    """SRCC and PLCC with the opinion scores, and accuracies of the labels that are known."""
    mos = dataset.mos[predictions.indices]
    result = {"srcc": srcc(mos, predictions.quality), "plcc": plcc(mos, predictions.quality)}
    distortion = dataset.distortion[predictions.indices]
    if "distortion" in predictions.marginals and (known := distortion >= 0).any():
        chosen = predictions.marginals["distortion"].argmax(-1)
        result["distortion_accuracy"] = float((chosen == distortion)[known].mean())
    scenes = dataset.scenes[predictions.indices]
    if "scene" in predictions.marginals and (known := scenes.any(-1)).any():
        result["scene_accuracy"] = top_k_recall(predictions.marginals["scene"][known], scenes[known])
    return {name: float(value) for name, value in result.items()}


def averages(by_set: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Unweighted means over the sets of what decides which model is best.

    `quality`, `scene`, `distortion`, and `average`, the mean of those that exist.
    """
    names = {"quality": "srcc", "scene": "scene_accuracy", "distortion": "distortion_accuracy"}
    means = {}
    for name, figure in names.items():
        values = [row[figure] for row in by_set.values() if figure in row]
        if values:
            means[name] = float(np.mean(values))
    means["average"] = float(np.mean(list(means.values())))
    return means
