"""Results of an evaluation, computed from predictions alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import SEEN, TEST, UNKNOWN, SeenCheck, check_seen
from liqe_jax.evaluate.predictions import SetPredictions
from liqe_jax.evaluate.protocol import Unit, describe
from liqe_jax.metrics import accuracy
from liqe_jax.metrics.bootstrap import Interval, plcc_interval, srcc_interval
from liqe_jax.metrics.correlation import Metrics, compute_metrics, fit_logistic
from liqe_jax.taxonomy import DISTORTION, SCENE
from liqe_jax.weights.provenance import TrainingSet

# Metrics that are summarised over sessions.
METRICS = ("srcc", "krcc", "plcc", "rmse", "plcc_raw", "scene", "distortion")


@dataclasses.dataclass(frozen=True)
class LabelMetrics:
    """Accuracy of the predictions of one attribute.

    Attributes:
      score: top-k recall of scenes, accuracy of distortions.
      by_label: the same for each label; NaN if no image has it.
      confusion: counts of images; rows are true labels (scenes: images with one scene only).
      count: number of images with a known label.
    """

    score: float
    by_label: np.ndarray
    confusion: Int[np.ndarray, "L L"]
    count: int


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of one unit; `scene` and `distortion` are None if the model or the set does not have such labels.

    `srcc` and `plcc` are bootstrap intervals; PLCC's keeps the fitted logistic fixed.
    """

    unit: Unit
    seen: SeenCheck
    metrics: Metrics
    srcc: Interval
    plcc: Interval
    scene: LabelMetrics | None
    distortion: LabelMetrics | None

    def metric(self, name: str) -> float:
        """A metric of `METRICS`; NaN if this result does not have it."""
        if name in ("scene", "distortion"):
            labels = getattr(self, name)
            return labels.score if labels else float("nan")
        return float(getattr(self.metrics, name))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        described = {
            **dataclasses.asdict(self.unit),
            "status": self.seen.status,
            "reason": self.seen.reason,
            **self.metrics._asdict(),
            "srcc_interval": [self.srcc.low, self.srcc.high],
            "plcc_interval": [self.plcc.low, self.plcc.high],
        }
        for name, labels in (("scene", self.scene), ("distortion", self.distortion)):
            described[name] = labels and {
                "score": labels.score,
                "by_label": [None if np.isnan(value) else float(value) for value in labels.by_label],
                "confusion": labels.confusion.tolist(),
                "count": labels.count,
            }
        return described


def evaluate_unit(
    unit: Unit,
    predictions: SetPredictions,
    trained_on: Sequence[TrainingSet] | None,
    bootstrap: Mapping[str, Any],
    others: Collection[str] = (),
) -> Result:
    """Computes the results of one unit from its model's predictions for its data set.

    `trained_on` and `others` are as in `guard.check_seen`; `bootstrap` has the options of `bootstrap.srcc_interval`.

    Raises:
      DataError: there are no such images, or fewer than three.
    """
    indices = predictions.indices(unit.session, unit.split)
    mos, quality = predictions.mos[indices], predictions.quality[indices].astype(np.float64)
    try:
        found = compute_metrics(mos, quality)
    except DataError as error:
        raise DataError(f"{describe(unit)}: {error}") from error
    mapped = fit_logistic(mos, quality)(quality)
    return Result(
        unit,
        check_seen(trained_on, predictions.dataset, predictions.splits, indices, others),
        found,
        srcc_interval(mos, quality, **bootstrap),
        plcc_interval(mos, mapped, **bootstrap),
        _scenes(predictions, indices),
        _distortions(predictions, indices),
    )


def _scenes(predictions: SetPredictions, indices: np.ndarray) -> LabelMetrics | None:
    scenes = predictions.scenes[indices]
    known = scenes.any(1)
    if predictions.labels.get("scene") != SCENE.labels or not known.any():
        return None
    p, scenes = predictions.probabilities["scene"][indices][known], scenes[known]
    by_label = accuracy.recall_by_scene(p, scenes)
    return LabelMetrics(accuracy.top_k_recall(p, scenes), by_label, accuracy.scene_confusion(p, scenes), len(p))


def _distortions(predictions: SetPredictions, indices: np.ndarray) -> LabelMetrics | None:
    label = predictions.distortion[indices]
    if predictions.labels.get("distortion") != DISTORTION.labels or not (label >= 0).any():
        return None
    p = predictions.probabilities["distortion"][indices]
    by_label = accuracy.accuracy_by_label(p, label)
    return LabelMetrics(accuracy.accuracy(p, label), by_label, accuracy.confusion(p, label), int((label >= 0).sum()))


@dataclasses.dataclass(frozen=True)
class Summary:
    """Results of a data set over several units: sessions, or models.

    Attributes:
      dataset: its name.
      status: of the units that are included: those that are tests, or all if none is a test.
      used: the sessions that are included.
      asked: number of units before exclusions.
      images: mean number of images per unit.
      statistics: "median", "mean" or "std" -> metric -> value; std divides by the number of units, as the reference
        does, and is NaN for a single unit.
    """

    dataset: str
    status: str
    used: tuple[str, ...]
    asked: int
    images: float
    statistics: Mapping[str, Mapping[str, float]]


def summarise(results: Sequence[Result]) -> list[Summary]:
    """One summary for each data set, in the order of its first result."""
    summaries = []
    for dataset in dict.fromkeys(result.unit.dataset for result in results):
        of_set = [result for result in results if result.unit.dataset == dataset]
        statuses = {result.seen.status for result in of_set}
        status = next(s for s in (TEST, SEEN, UNKNOWN) if s in statuses)
        used = counted(of_set)
        table = np.array([[result.metric(name) for name in METRICS] for result in used])
        std = table.std(0) if len(used) > 1 else np.full(len(METRICS), np.nan)
        values = {"median": np.median(table, axis=0), "mean": table.mean(0), "std": std}
        statistics = {name: dict(zip(METRICS, of.tolist(), strict=True)) for name, of in values.items()}
        images = float(np.mean([result.metrics.images for result in used]))
        sessions = tuple(result.unit.session for result in used)
        summaries.append(Summary(dataset, status, sessions, len(of_set), images, statistics))
    return summaries


def counted(results: Sequence[Result]) -> list[Result]:
    """The results that enter summaries: those that are tests, or all if none is a test."""
    return [result for result in results if result.seen.status == TEST] or list(results)


def overall(summaries: Sequence[Summary], statistic: str, metric: str) -> tuple[float, float]:
    """Mean of a metric over data sets: unweighted, and weighted by their numbers of images."""
    values = [summary.statistics[statistic][metric] for summary in summaries]
    return float(np.mean(values)), float(np.average(values, weights=[summary.images for summary in summaries]))
