"""Figures of an evaluation, computed from predictions alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import SEEN, TEST, UNKNOWN, Verdict, judge
from liqe_jax.evaluate.predictions import SetPredictions
from liqe_jax.evaluate.protocol import Unit, describe
from liqe_jax.metrics import accuracy as counting
from liqe_jax.metrics.bootstrap import Interval, plcc_interval, srcc_interval
from liqe_jax.metrics.correlation import Agreement, agreement, fit_logistic
from liqe_jax.taxonomy import DISTORTION, SCENE
from liqe_jax.weights.provenance import TrainingSet

# Figures that are summarised over sessions.
FIGURES = ("srcc", "krcc", "plcc", "rmse", "plcc_raw", "scene", "distortion")


@dataclasses.dataclass(frozen=True)
class Labels:
    """How well one attribute is recognised.

    Attributes:
      score: top-k recall of scenes, accuracy of distortions.
      by_label: the same for each label; NaN where no image has it.
      confusion: counts; rows are true labels (scenes: of images with one scene).
      count: images with a known label.
    """

    score: float
    by_label: np.ndarray
    confusion: Int[np.ndarray, "L L"]
    count: int


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything about one unit.

    Attributes:
      unit: what was evaluated.
      verdict: whether it is a test.
      agreement: with opinion scores.
      srcc, plcc: bootstrap intervals; PLCC's holds the fitted logistic fixed.
      scene, distortion: None where the model or the set has no such labels.
    """

    unit: Unit
    verdict: Verdict
    agreement: Agreement
    srcc: Interval
    plcc: Interval
    scene: Labels | None
    distortion: Labels | None

    def figure(self, name: str) -> float:
        """A figure of `FIGURES`; NaN where there is none."""
        if name in ("scene", "distortion"):
            labels = getattr(self, name)
            return labels.score if labels else float("nan")
        return float(getattr(self.agreement, name))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        described = {
            **dataclasses.asdict(self.unit),
            "standing": self.verdict.standing,
            "reason": self.verdict.reason,
            **self.agreement._asdict(),
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
    """Figures of one unit.

    Args:
      unit: what to evaluate.
      predictions: of its model for its data set.
      trained_on: as in the model's provenance.
      bootstrap: options of `bootstrap.srcc_interval`.
      others: as in `guard.judge`.

    Raises:
      DataError: there are no such images, or fewer than three.
    """
    indices = predictions.indices(unit.split, unit.part)
    mos, quality = predictions.mos[indices], predictions.quality[indices].astype(np.float64)
    try:
        found = agreement(mos, quality)
    except DataError as error:
        raise DataError(f"{describe(unit)}: {error}") from error
    mapped = fit_logistic(mos, quality)(quality)
    return Result(
        unit,
        judge(trained_on, predictions.dataset, predictions.parts, indices, others),
        found,
        srcc_interval(mos, quality, **bootstrap),
        plcc_interval(mos, mapped, **bootstrap),
        _scenes(predictions, indices),
        _distortions(predictions, indices),
    )


def _scenes(predictions: SetPredictions, indices: np.ndarray) -> Labels | None:
    scenes = predictions.scenes[indices]
    known = scenes.any(1)
    if predictions.labels.get("scene") != SCENE.labels or not known.any():
        return None
    p, scenes = predictions.probabilities["scene"][indices][known], scenes[known]
    by_label = counting.recall_by_scene(p, scenes)
    return Labels(counting.top_k_recall(p, scenes), by_label, counting.scene_confusion(p, scenes), len(p))


def _distortions(predictions: SetPredictions, indices: np.ndarray) -> Labels | None:
    label = predictions.distortion[indices]
    if predictions.labels.get("distortion") != DISTORTION.labels or not (label >= 0).any():
        return None
    p = predictions.probabilities["distortion"][indices]
    by_label = counting.accuracy_by_label(p, label)
    return Labels(counting.accuracy(p, label), by_label, counting.confusion(p, label), int((label >= 0).sum()))


@dataclasses.dataclass(frozen=True)
class Summary:
    """A data set over several units: sessions, or models.

    Attributes:
      dataset: its name.
      standing: of the units that count: those that are tests, if any are; else all of them.
      used: the splits, or models, that count.
      asked: how many there were.
      images: mean number per unit.
      mean, median, std: figure -> value; std divides by the number of units, as the reference does,
        and is NaN for a single one.
    """

    dataset: str
    standing: str
    used: tuple[str, ...]
    asked: int
    images: float
    mean: Mapping[str, float]
    median: Mapping[str, float]
    std: Mapping[str, float]


def summarise(results: Sequence[Result]) -> list[Summary]:
    """One summary for each data set, in the order of its first result."""
    summaries = []
    for dataset in dict.fromkeys(result.unit.dataset for result in results):
        of_set = [result for result in results if result.unit.dataset == dataset]
        standings = {result.verdict.standing for result in of_set}
        standing = next(s for s in (TEST, SEEN, UNKNOWN) if s in standings)
        used = counted(of_set)
        table = np.array([[result.figure(name) for name in FIGURES] for result in used])
        summaries.append(
            Summary(
                dataset,
                standing,
                tuple(result.unit.split for result in used),
                len(of_set),
                float(np.mean([result.agreement.images for result in used])),
                *(dict(zip(FIGURES, f(table, axis=0).tolist(), strict=True)) for f in (np.mean, np.median, _std)),
            )
        )
    return summaries


def _std(table: np.ndarray, axis: int) -> np.ndarray:
    return np.std(table, axis=axis) if len(table) > 1 else np.full(table.shape[1], np.nan)


def counted(results: Sequence[Result]) -> list[Result]:
    """Those that are tests, if any are; else all."""
    return [result for result in results if result.verdict.standing == TEST] or list(results)


def overall(summaries: Sequence[Summary], statistic: str, figure: str) -> tuple[float, float]:
    """Mean over data sets of a figure: plain, and weighted by their numbers of images."""
    values = [getattr(summary, statistic)[figure] for summary in summaries]
    return float(np.mean(values)), float(np.average(values, weights=[summary.images for summary in summaries]))
