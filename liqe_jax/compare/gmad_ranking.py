"""What people's judgement of gMAD pairs says of the scorers: aggressiveness, resistance, a ranking.

A pair's strength lies in [-1, 1]: 1 where the attacker's better image clearly is the better
one, 0 where both look alike, -1 where it is the other way round. The ideas are those of Ma et
al. (TPAMI 2020); the mean over pairs of `max(strength, 0)` and of `1 - |strength|` is the form
used here. M scorers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.gmad import Competition
from liqe_jax.errors import DataError, UsageError
from liqe_jax.extras import require

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One pair, judged.

    Attributes:
      defender, attacker: indices of the scorers.
      strength: in [-1, 1], see above; the mean over several people.
    """

    defender: int
    attacker: int
    strength: float


def aggressiveness(strengths: Sequence[float]) -> float:
    """How well an attacker shows that a defender is wrong, in [0, 1]: the mean of max(strength, 0)."""
    return float(np.maximum(_checked(strengths), 0).mean())


def resistance(strengths: Sequence[float]) -> float:
    """How well a defender's claim of equal quality holds, in [0, 1]: the mean of 1 - |strength|."""
    return float((1 - np.abs(_checked(strengths))).mean())


def tally(verdicts: Iterable[Verdict], scorers: int) -> tuple[Float[np.ndarray, "M M"], Float[np.ndarray, "M M"]]:
    """Aggressiveness [attacker, defender] and resistance [defender, attacker]; NaN without a pair, and the diagonal.

    Raises:
      UsageError: a strength outside [-1, 1], or a scorer that competes with itself.
    """
    groups: dict[tuple[int, int], list[float]] = {}
    for verdict in verdicts:
        if verdict.attacker == verdict.defender:
            raise UsageError(f"Scorer {verdict.attacker} cannot attack itself.")
        groups.setdefault((verdict.attacker, verdict.defender), []).append(verdict.strength)
    aggressive, resistant = np.full((2, scorers, scorers), np.nan)
    for (attacker, defender), strengths in groups.items():
        aggressive[attacker, defender] = aggressiveness(strengths)
        resistant[defender, attacker] = resistance(strengths)
    return aggressive, resistant


def global_ranking(wins_MxM: Float[np.ndarray, "M M"], prior_sd: float = math.inf) -> Float[np.ndarray, " M"]:
    """One number per scorer from a matrix of pairwise results, by maximum likelihood; their mean is 0.

    Maximises sum_ij wins[i, j] log Phi(mu_i - mu_j) (Thurstone's model; Tsukida & Gupta, "How to
    analyze paired comparison data", 2011; used by Ma et al. for both matrices of `tally`).

    Args:
      wins_MxM: how strongly i beat j, at least 0; the diagonal and NaN do not count.
      prior_sd: standard deviation of a normal prior on every mu, which keeps the numbers finite
        where one scorer was never beaten. Infinite: no prior, as in the paper.

    Raises:
      UsageError: the matrix is not square or has negative entries.
      DataError: without a prior, where no finite maximum exists: some scorers were never beaten
        by the others.
    """
    optimize, special = require("scipy.optimize"), require("scipy.special")
    wins = np.nan_to_num(np.asarray(wins_MxM, np.float64), nan=0.0)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or (wins < 0).any() or not prior_sd > 0:
        raise UsageError(
            f"Expected a square matrix of numbers from 0 and prior_sd above 0; got shape {wins.shape}, "
            f"least entry {wins.min() if wins.size else 'none'}, prior_sd {prior_sd}."
        )
    wins = wins * ~np.eye(len(wins), dtype=bool)
    if math.isinf(prior_sd):
        groups, _ = require("scipy.sparse.csgraph").connected_components(wins > 0, connection="strong")
        if groups > 1:
            raise DataError(
                "The likelihood has no finite maximum: some scorers were never beaten by the others, or never met. "
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


def verdicts_of(competition: Competition, strengths: Mapping[str, Sequence[float]]) -> list[Verdict]:
    """Pairs that were judged, with the mean strength of each; `strengths` is what `read_ranking` gives."""
    return [
        Verdict(pair.defender, pair.attacker, float(np.mean(strengths[pair.id])))
        for pair in competition.pairs
        if pair.id in strengths
    ]


def strengths_of(rows: Iterable[Mapping[str, Any]], competition: Competition) -> dict[str, list[float]]:
    """Strengths from a table of judgements: one list per pair, an entry for every row.

    Columns: `pair` (its id); `better`: "left", "right", "same", or the name of the better image;
    `strength`, optional: 0 to 1, how clearly (1 where it is absent or empty). `left` and `right`
    are compared with the pair where they are given, so that judgements of other pictures are
    not taken for these. Other columns are ignored.

    Raises:
      DataError: unknown pair, image or strength; or the pair shows other images.
    """
    known = {pair.id: pair for pair in competition.pairs}
    strengths: dict[str, list[float]] = {}
    for number, row in enumerate(rows, 2):
        where = f"Row {number} of the ranking"
        pair = _known(row.get("pair"), known)
        if pair is None:
            raise DataError(f"{where} names the pair {row.get('pair')!r}; the pairs are {', '.join(known) or 'none'}.")
        names = {"left": competition.names[pair.left], "right": competition.names[pair.right]}
        for side, name in names.items():
            if row.get(side) not in (None, "", name):
                raise DataError(
                    f"{where} judges {row[side]!r} on the {side} of {pair.id}, where this run shows {name!r}. "
                    "The folder, the scores or the settings have changed: judge the pairs again."
                )
        better, strength = row.get("better"), row.get("strength")
        sides = {"left": pair.better_is_left, "right": not pair.better_is_left}
        sides |= {names["left"]: sides["left"], names["right"]: sides["right"]}
        try:
            # A cell that nobody filled in; 0 is a strength.
            strength = 1.0 if strength in (None, "") else float(strength)
        except (TypeError, ValueError):
            strength = math.nan
        if not 0 <= strength <= 1:
            raise DataError(f"{where} has the strength {row.get('strength')!r}; expected a number from 0 to 1.")
        attackers = True if better == "same" else _known(better, sides)
        if attackers is None:
            raise DataError(f"{where} says that {better!r} is better; expected left, right, same or one of {names}.")
        if better == "same":
            strength = 0.0
        strengths.setdefault(pair.id, []).append(strength if attackers else -strength)
    return strengths


def _known(key: object, values: Mapping[str, T]) -> T | None:
    """None for what is no key, and also for what cannot be one: JSONL holds lists and objects too."""
    return values.get(key) if isinstance(key, str) else None


def _checked(strengths: Sequence[float]) -> Float[np.ndarray, " P"]:
    array = np.asarray(strengths, np.float64)
    if not array.size or not (np.abs(array) <= 1).all():  # also refuses NaN
        raise UsageError(f"Expected at least one strength, all in [-1, 1]; got {list(strengths)}.")
    return array
