"""Rankings of scorers from ratings of gMAD pairs: aggressiveness, resistance (Ma et al., TPAMI 2020), global ranking.

The strength of a rated pair lies in [-1, 1]: 1 if the attacker's better image is clearly better, 0 if both look equally
good, -1 if the attacker's worse image is clearly better. M scorers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.gmad import Competition
from liqe_jax.errors import DataError, UsageError
from liqe_jax.imports import require


def tally(
    competition: Competition, strengths: Mapping[str, Sequence[float]]
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]]:
    """Aggressiveness [attacker, defender] and resistance [defender, attacker] by pairs; NaN where none is rated.

    They are means of max(s, 0) and of 1 - |s|, where s is the mean of a pair's strengths, as from `strengths_of`.
    """
    aggressive, resistant = np.full((2, 2, 2), np.nan)
    for defender, attacker in ((0, 1), (1, 0)):
        rated = [pair.id for pair in competition.pairs if pair.defender == defender and pair.id in strengths]
        if rated:
            means = np.array([np.mean(strengths[pair]) for pair in rated])
            aggressive[attacker, defender] = np.maximum(means, 0).mean()
            resistant[defender, attacker] = (1 - np.abs(means)).mean()
    return aggressive, resistant


def global_ranking(wins_MxM: Float[np.ndarray, "M M"], prior_sd: float = math.inf) -> Float[np.ndarray, " M"]:
    """Maximum likelihood ranking from a matrix of pairwise results: one number per scorer, with mean 0.

    Maximises sum_ij wins[i, j] log Phi(mu_i - mu_j) (Thurstone's model; Tsukida & Gupta, "How to
    analyze paired comparison data", 2011; used by Ma et al. for both matrices of `tally`).

    Args:
      wins_MxM: how strongly i beat j, at least 0; the diagonal and NaN are ignored.
      prior_sd: standard deviation of a normal prior on every mu, which keeps the result finite if a
        scorer was never beaten. Infinite: no prior, as in the paper.

    Raises:
      UsageError: the matrix is not square or has negative entries.
      DataError: there is no prior and no finite maximum, since some scorers were never beaten.
    """
    optimize, special = require("scipy.optimize"), require("scipy.special")
    wins = np.nan_to_num(np.asarray(wins_MxM, np.float64), nan=0.0)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or (wins < 0).any() or not prior_sd > 0:
        raise UsageError(
            f"Expected a square matrix of numbers of at least 0, and prior_sd above 0; got shape {wins.shape}, "
            f"smallest entry {wins.min() if wins.size else 'none'}, prior_sd {prior_sd}."
        )
    wins = wins * ~np.eye(len(wins), dtype=bool)
    if math.isinf(prior_sd):
        groups, _ = require("scipy.sparse.csgraph").connected_components(wins > 0, connection="strong")
        if groups > 1:
            raise DataError(
                "The likelihood does not have a finite maximum: some scorers were never beaten or never compared. "
                "Give a finite prior_sd, or more pairs."
            )

    def loss(mu: np.ndarray) -> tuple[float, np.ndarray]:
        gap = mu[:, None] - mu
        log_phi = special.log_ndtr(gap)
        # d log Phi(x) / dx = phi(x) / Phi(x), taken in logarithms since both vanish on the left.
        slope = wins * np.exp(-0.5 * gap**2 - 0.5 * math.log(2 * math.pi) - log_phi)
        value = -(wins * log_phi).sum() + 0.5 * (mu**2).sum() / prior_sd**2
        return value, slope.sum(0) - slope.sum(1) + mu / prior_sd**2

    found = optimize.minimize(loss, np.zeros(len(wins)), jac=True, method="BFGS", options={"gtol": 1e-10})
    return found.x - found.x.mean()


def strengths_of(rows: Iterable[Mapping[str, Any]], competition: Competition) -> dict[str, list[float]]:
    """Strengths from a table of ratings: one list per pair, with one entry per row.

    Columns: `pair`, the id of the pair; `better`, one of "left", "right", "same" or the name of the better
    image; `strength`, optional, how clearly it is better from 0 to 1 (default 1). `left` and `right` are optional
    names of the images, which must be those of the pair. Other columns are ignored.

    Raises:
      DataError: a pair, image or strength is unknown, or the pair shows other images.
    """
    known = {pair.id: pair for pair in competition.pairs}
    strengths: dict[str, list[float]] = {}
    for number, row in enumerate(rows, 2):
        where = f"Row {number} of the ranking"
        # JSONL may contain lists and objects, which cannot be keys.
        pair = known.get(row["pair"]) if isinstance(row.get("pair"), str) else None
        if pair is None:
            raise DataError(f"{where} names the pair {row.get('pair')!r}; the pairs are {', '.join(known) or 'none'}.")
        names = {"left": competition.names[pair.left], "right": competition.names[pair.right]}
        for side, name in names.items():
            if row.get(side) not in (None, "", name):
                raise DataError(
                    f"{where} has {row[side]!r} on the {side} of {pair.id}; this run shows {name!r}. "
                    "The folder, the scores or the settings have changed: rate the pairs again."
                )
        better, strength = row.get("better"), row.get("strength")
        left = 1.0 if pair.better_is_left else -1.0
        signs = {"left": left, "right": -left, names["left"]: left, names["right"]: -left, "same": 0.0}
        try:
            # An empty cell has the default; 0 is a strength.
            strength = 1.0 if strength in (None, "") else float(strength)
        except (TypeError, ValueError):
            strength = math.nan
        if not 0 <= strength <= 1:
            raise DataError(f"{where} has the strength {row.get('strength')!r}; expected a number from 0 to 1.")
        sign = signs.get(better) if isinstance(better, str) else None
        if sign is None:
            raise DataError(f"{where} says that {better!r} is better; expected left, right, same or one of {names}.")
        strengths.setdefault(pair.id, []).append(sign * strength)
    return strengths
