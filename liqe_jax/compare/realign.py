"""One quality scale for several data sets: monotone maps from each set's MOS to a model's scores.

LIQE's third claim (Zhang et al., CVPR 2023) is that training on several sets realigns their scales. A map per set
measures that, and rewrites the set's labels without changing their order. It gives the expected score at a MOS: if a
model predicts a set poorly, the map shrinks the set's labels towards their mean. N images, J knots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import DataError, UsageError
from liqe_jax.imports import require

LOW, HIGH = 1.0, 5.0  # LIQE's scale, bad to perfect

# One number per image of a set.
Values = Float[np.ndarray, " N"]
OtherValues = Float[np.ndarray, " M"]  # of another set, or of a part of the same


@dataclasses.dataclass(frozen=True)
class MonotoneMap:
    """Monotone map from a set's MOS to the common scale.

    Attributes:
      method: "isotonic" (linear between knots, constant beyond them) or "logistic".
      parameters: for "isotonic", `mos` and `quality` of the knots, [J] each; for "logistic", `low`,
        `high`, `center`, `width`.
      lower_is_better: whether a lower MOS is better (DMOS), so that the map decreases.
    """

    method: str
    parameters: Mapping[str, Any]
    lower_is_better: bool = False

    def __call__(self, mos_N: Values) -> Values:
        """Maps MOS to the common scale."""
        mos_N = np.asarray(mos_N, np.float64)
        turned = -mos_N if self.lower_is_better else mos_N
        values = self.parameters
        if self.method == "logistic":
            return _logistic(turned, values["low"], values["high"], values["center"], values["width"])
        return np.interp(turned, values["mos"], values["quality"])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object; the knots of a decreasing map are those of the negative MOS."""
        return {"method": self.method, "parameters": dict(self.parameters), "lower_is_better": self.lower_is_better}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> MonotoneMap:
        """The inverse of `to_dict`.

        Raises:
          DataError: the description is not that of a map.
        """
        expected = {"isotonic": {"mos", "quality"}, "logistic": {"low", "high", "center", "width"}}
        try:
            method, falls = description["method"], description.get("lower_is_better", False)
            arrays = {key: np.asarray(value) for key, value in dict(description["parameters"]).items()}
            dimensions = 1 if method == "isotonic" else 0
            # Numbers in quotes are strings, which `to_dict` never writes.
            numbers = all(a.dtype.kind in "iuf" and a.ndim == dimensions for a in arrays.values())
            fits = set(arrays) == expected[method] and isinstance(falls, bool) and numbers
            fits = fits and all(np.isfinite(a).all() for a in arrays.values()) and _increases(method, arrays)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"Not the description of a monotone map ({error!r}). Expected a file written by `liqe realign`."
            ) from error
        if not fits:
            raise DataError(
                f"The {method} map is not increasing, or has missing or invalid parameters. Expected a file written by "
                "`liqe realign`."
            )
        parameters = {key: np.asarray(value, np.float64).tolist() for key, value in arrays.items()}
        return cls(method, MappingProxyType(parameters), falls)


def _increases(method: str, arrays: Mapping[str, np.ndarray]) -> bool:
    if method == "logistic":
        return bool(arrays["low"] <= arrays["high"] and arrays["width"] > 0)
    mos, quality = arrays["mos"], arrays["quality"]
    return bool(
        mos.size > 1 and quality.shape == mos.shape and (np.diff(mos) > 0).all() and (np.diff(quality) >= 0).all()
    )


def fit_isotonic(mos_N: Values, score_N: Values, *, lower_is_better: bool = False) -> MonotoneMap:
    """Fits centered isotonic regression (Oron & Flournoy, Statistics in Biopharmaceutical Research 2017).

    Plain isotonic regression is a step function, which makes many labels equal. Joining the centers of its
    steps keeps the order of the labels. Images of equal MOS are averaged. The MOS have any scale, on which higher or
    (`lower_is_better`) lower is better. Higher scores are better; images whose score is NaN are ignored.

    Raises:
      DataError: there are fewer than two images, MOS are not finite or all equal, or the scores never increase
        with the MOS.
    """
    mos, scores = _prepared(mos_N, score_N, lower_is_better)
    levels, place, counts = np.unique(mos, return_inverse=True, return_counts=True)
    means = np.bincount(place, scores) / counts
    fit = require("scipy.optimize").isotonic_regression(means, weights=counts.astype(np.float64))
    starts = fit.blocks[:-1].astype(np.int64)
    if len(starts) < 2:
        raise DataError(_flat(mos, scores))
    centers = np.add.reduceat(levels * counts, starts) / np.add.reduceat(counts, starts)
    knots = {"mos": centers.tolist(), "quality": fit.x[starts].tolist()}
    return MonotoneMap("isotonic", MappingProxyType(knots), lower_is_better)


def fit_monotone_logistic(mos_N: Values, score_N: Values, *, lower_is_better: bool = False) -> MonotoneMap:
    """Fits an increasing logistic with free asymptotes by least squares; it is smooth and strictly monotone.

    Arguments and errors are those of `fit_isotonic`.
    """
    mos, scores = _prepared(mos_N, score_N, lower_is_better)
    middle, spread = float(mos.mean()), float(np.ptp(mos))
    floor, reach = float(scores.min()), float(np.ptp(scores))
    if not reach:
        raise DataError(_flat(mos, scores))
    x, y = (mos - middle) / spread, (scores - floor) / reach

    def residuals(p: np.ndarray) -> np.ndarray:
        return _logistic(x, p[0], p[0] + p[1], p[2], p[3]) - y

    # In units of both ranges: asymptotes within two ranges of the scores, the center within 1.5 ranges of the MOS.
    bounds = ([-2, 0, -1.5, 0.01], [1, 4, 1.5, 10])
    least_squares = require("scipy.optimize").least_squares
    starts = ([0, 1, 0, width] for width in (0.1, 0.3, 1.0))
    found = min(
        (least_squares(residuals, start, bounds=bounds, xtol=1e-12, ftol=1e-12) for start in starts),
        key=lambda fit: fit.cost,
    )
    low, gap, center, width = found.x
    ends = _logistic(np.array([x.min(), x.max()]), low, low + gap, center, width)
    if ends[1] - ends[0] < 1e-6:
        raise DataError(_flat(mos, scores))
    parameters = {
        "low": float(floor + reach * low),
        "high": float(floor + reach * (low + gap)),
        "center": float(middle + spread * center),
        "width": float(spread * width),
    }
    return MonotoneMap("logistic", MappingProxyType(parameters), lower_is_better)


METHODS: Mapping[str, Callable[..., MonotoneMap]] = MappingProxyType(
    {"isotonic": fit_isotonic, "logistic": fit_monotone_logistic}
)


def stretch(mos_N: Values, mos_range: Sequence[float] | None = None, *, lower_is_better: bool = False) -> Values:
    """Rescales MOS linearly to 1..5, from a range of low to high; None is from the lowest to the highest MOS.

    Raises:
      UsageError: the range is empty or reversed, or a MOS is outside of it.
      DataError: no range is given and all MOS are equal.
    """
    mos_N = np.asarray(mos_N, np.float64)
    least, most = float(mos_N.min()), float(mos_N.max())
    if mos_range is None and least == most:
        raise DataError(f"All {len(mos_N)} MOS are {least:g}; expected at least two different values, or a range.")
    low, high = mos_range or (least, most)
    if not low < high:
        raise UsageError(f"Expected a range from low to high; got {low} to {high}.")
    if least < low or most > high:
        raise UsageError(
            f"The MOS go from {least:g} to {most:g}, outside of the range from {low:g} to {high:g}. Give the range of "
            "their scale, or no range."
        )
    share = (mos_N - low) / (high - low)
    return LOW + (HIGH - LOW) * (1 - share if lower_is_better else share)


def _prepared(mos_N: Values, score_N: Values, lower_is_better: bool) -> tuple[OtherValues, OtherValues]:
    mos_N = mos = np.asarray(mos_N, np.float64)
    scores = np.asarray(score_N, np.float64)
    if mos.shape != scores.shape or mos.ndim != 1:
        raise UsageError(f"Expected one score per MOS; got shapes {scores.shape} and {mos.shape}.")
    if not np.isfinite(mos).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(mos))} of {mos.size} MOS are not finite. Remove them.")
    scored = np.isfinite(scores)
    mos, scores = (-mos if lower_is_better else mos)[scored], scores[scored]
    if len(np.unique(mos)) < 2:
        same = f", all of MOS {mos_N[scored][0]:g}" if len(mos) > 1 else ""
        raise DataError(
            f"A map needs scored images with at least two different MOS; got {len(mos)} scored images{same}."
        )
    return mos, scores


def _flat(mos: np.ndarray, scores: np.ndarray) -> str:
    correlation = 0.0 if np.ptp(scores) == 0 else float(np.corrcoef(mos, scores)[0, 1])
    return (
        f"The scores do not increase with the MOS (correlation {correlation:.3f}), so no monotone map fits. "
        "If the labels are DMOS, state that lower is better; otherwise this model cannot predict these images."
    )


def _logistic(x: np.ndarray, low: float, high: float, center: float, width: float) -> np.ndarray:
    return low + (high - low) * require("scipy.special").expit((x - center) / width)
