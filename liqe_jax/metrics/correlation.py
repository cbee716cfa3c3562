"""SRCC, KRCC, PLCC and RMSE between predictions and MOS, as functions of arrays.

PLCC and RMSE are computed after fitting the four-parameter logistic of the Video Quality Experts Group, started as in
the reference (zwx8981/LIQE, BIQA_benchmark.py:241).
Functions of MOS and predictions raise `DataError` for arrays that `check_pair` refuses.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy  # loads its parts when they are used, and a training run without validation uses none
from jaxtyping import Float

from liqe_jax.errors import DataError

# One number per image, such as MOS and predictions.
Values = Float[np.ndarray, " N"]

# A correlation of fewer images is meaningless: two points always lie on a line.
FEWEST = 3


class Logistic(NamedTuple):
    """(top - bottom) / (1 + exp(-(x - middle) / |width|)) + bottom.

    `fitted` is False if the fit failed. The curve is then the least-squares line given by `slope` and `offset`.
    """

    top: float
    bottom: float
    middle: float
    width: float
    fitted: bool
    slope: float = 0.0
    offset: float = 0.0

    def __call__(self, x: Values) -> Values:
        """Maps predictions to the MOS scale."""
        if not self.fitted:
            return self.slope * np.asarray(x) + self.offset
        return _curve(np.asarray(x), self.top, self.bottom, self.middle, self.width)


def _curve(x: np.ndarray, top: float, bottom: float, middle: float, width: float) -> np.ndarray:
    return (top - bottom) * scipy.special.expit((x - middle) / abs(width)) + bottom


def check_pair(mos: Values, predicted: Values) -> tuple[Values, Values]:
    """Both as float64; DataError where they are not two vectors of the same length of at least three finite numbers."""
    mos, predicted = np.asarray(mos, np.float64), np.asarray(predicted, np.float64)
    if mos.ndim != 1 or mos.shape != predicted.shape:
        raise DataError(
            f"Expected MOS and predictions of the same images, two vectors of the same length; got shapes {mos.shape} "
            f"and {predicted.shape}."
        )
    if len(mos) < FEWEST:
        raise DataError(f"A correlation needs at least {FEWEST} images; got {len(mos)}.")
    for name, values in (("MOS", mos), ("predictions", predicted)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"{len(bad)} values of the {name} are NaN or Inf, the first at position {bad[0]}. Remove those images."
            )
    return mos, predicted


def _constant(*arrays: np.ndarray) -> bool:
    return any(np.ptp(array) == 0 for array in arrays)


def _correlation(function: Callable[..., Any], mos: np.ndarray, predicted: np.ndarray) -> float:
    mos, predicted = check_pair(mos, predicted)
    return 0.0 if _constant(mos, predicted) else float(function(mos, predicted).statistic)


def srcc(mos: Values, predicted: Values) -> float:
    """Spearman's rank correlation with average ranks for ties; 0 if either side is constant."""
    return _correlation(scipy.stats.spearmanr, mos, predicted)


def krcc(mos: Values, predicted: Values) -> float:
    """Kendall's tau-b; 0 if either side is constant."""
    return _correlation(scipy.stats.kendalltau, mos, predicted)


def plcc(mos: Values, predicted: Values) -> float:
    """Pearson's correlation of the raw predictions; 0 if either side is constant."""
    return _correlation(scipy.stats.pearsonr, mos, predicted)


def fit_logistic(mos: Values, predicted: Values) -> Logistic:
    """Fits the logistic from predictions to MOS; falls back to a least-squares line if the fit fails.

    Calls with the same arrays agree to eight digits: rounding in SciPy 1.17's fit depends on memory addresses.
    """
    mos, predicted = check_pair(mos, predicted)
    if len(mos) >= len(Logistic._fields[:4]) and not _constant(mos, predicted):
        # BIQA_benchmark.py:241; pyiqa starts at a quarter of this width.
        middle, width = predicted.mean(), predicted.std()
        starts = [(mos.max(), mos.min(), middle, width)]
        if np.corrcoef(mos, predicted)[0, 1] < 0:
            # If the relation decreases, an increasing start can end in a poor local optimum.
            starts.append((mos.min(), mos.max(), middle, width))
        fits = [curve for start in starts if (curve := _fit_from(start, mos, predicted)) is not None]
        if fits:
            return min(fits, key=lambda curve: float(np.square(curve(predicted) - mos).sum()))
    slope, offset = (0.0, float(mos.mean())) if _constant(predicted) else np.polyfit(predicted, mos, 1)
    return Logistic(0.0, 0.0, 0.0, 1.0, fitted=False, slope=float(slope), offset=float(offset))


def _fit_from(start: tuple[float, ...], mos: np.ndarray, predicted: np.ndarray) -> Logistic | None:
    with warnings.catch_warnings():
        # The covariance is not used, and a perfect fit has none.
        warnings.simplefilter("ignore", scipy.optimize.OptimizeWarning)
        try:
            parameters, _ = scipy.optimize.curve_fit(_curve, predicted, mos, p0=start, maxfev=20_000)
        except RuntimeError:
            return None
    if not np.isfinite(parameters).all() or parameters[-1] == 0:
        return None
    top, bottom, middle, width = (float(value) for value in parameters)
    return Logistic(top, bottom, middle, width, fitted=True)


class Metrics(NamedTuple):
    """All metrics of one set of images; `plcc` and `rmse` are computed after the logistic, RMSE in MOS units."""

    srcc: float
    krcc: float
    plcc: float
    rmse: float
    plcc_raw: float
    images: int


def compute_metrics(mos: Values, predicted: Values) -> Metrics:
    """Computes every metric."""
    mos, predicted = check_pair(mos, predicted)
    mapped = fit_logistic(mos, predicted)(predicted)
    return Metrics(
        srcc(mos, predicted),
        krcc(mos, predicted),
        plcc(mos, mapped),
        float(np.sqrt(np.mean(np.square(mos - mapped)))),
        plcc(mos, predicted),
        len(mos),
    )
