"""gMAD: pairs of images that one scorer calls equal and another tells apart as far as it can.

Ma et al., "Group maximum differentiation competition: model comparison with few samples",
TPAMI 2020. The defender says which images are alike in quality (a level set); the attacker
chooses the best and the worst of them by its own scores. One look at such a pair decides
between the two scorers, where an average over random images hardly could.

Everything here is a function of scores; higher is better. N images, L levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from liqe_jax.errors import DataError, UsageError

ROLES = ("first", "second")

# Half the width of a level set as a share of the spread of the defender's scores between their
# 5th and 95th percentiles (the tails hold outliers). Ours: the paper leaves it to the user.
TOLERANCE_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class LevelSet:
    """Images that a defender calls alike.

    Attributes:
      center: the defender's score in the middle.
      tolerance: members' scores lie within `center` +- `tolerance`.
      members: indices of the images, ascending in name.
    """

    center: float
    tolerance: float
    members: Int[np.ndarray, " M"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that the defender calls alike and the attacker tells apart.

    Attributes:
      id: such as "first-defends-3"; level 1 is the defender's worst.
      defender, attacker: 0 for the first scorer, 1 for the second.
      level: 1 to L.
      level_set: what the pair was chosen from.
      better, worse: indices of the images with the attacker's highest and lowest score.
      better_is_left: which side the better one is shown on, so that people judge it blindly.
    """

    id: str
    defender: int
    attacker: int
    level: int
    level_set: LevelSet
    better: int
    worse: int
    better_is_left: bool

    @property
    def left(self) -> int:
        """Index of the image that is shown on the left."""
        return self.better if self.better_is_left else self.worse

    @property
    def right(self) -> int:
        """Index of the image that is shown on the right."""
        return self.worse if self.better_is_left else self.better


@dataclasses.dataclass(frozen=True)
class Competition:
    """What `compete` found.

    Attributes:
      names: of the images, in the caller's order.
      scores: of both scorers, [2, N].
      pairs: the first scorer's defences by level, then the second's.
      left_out: names of the images without a finite score of both, in the caller's order.
      without_pair: id -> why a level gave no pair.
    """

    names: tuple[str, ...]
    scores: Float[np.ndarray, "2 N"]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    without_pair: dict[str, str]


def check_settings(levels: int, tolerances: Sequence[float | None] = (), seed: int = 0) -> None:
    """Refuses settings of a competition that make no sense; for callers who score first, before they do.

    Raises:
      UsageError: no level, a negative or non-finite tolerance, or a negative seed.
    """
    if levels < 1:
        raise UsageError(f"levels must be at least 1; got {levels}.")
    for tolerance in tolerances:
        if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
            raise UsageError(f"tolerance must be a number of at least 0, on the defender's scale; got {tolerance}.")
    if seed < 0:
        raise UsageError(f"seed must be at least 0; got {seed}.")


def default_tolerance(defender_N: Float[np.ndarray, " N"]) -> float:
    """`TOLERANCE_SHARE` of the spread of these scores between their 5th and 95th percentiles."""
    low, high = np.quantile(defender_N, (0.05, 0.95))
    return float(TOLERANCE_SHARE * (high - low))


def level_sets(
    defender_N: Float[np.ndarray, " N"], levels: int = 6, tolerance: float | None = None
) -> tuple[LevelSet, ...]:
    """Level sets about the quantiles (l - 1/2) / L of the defender's scores, worst first.

    Every centre is the score of an image, the lower one where a quantile falls between two, so no
    level is empty, also where the scores leave gaps. Sets may overlap where the scores crowd; equal
    centres are one level, so a constant defender has one level of all images.

    Args:
      defender_N: finite scores.
      levels: L. Six is customary for gMAD.
      tolerance: half the width of a set; default `default_tolerance`.

    Raises:
      UsageError: no level, or a negative or non-finite tolerance.
      DataError: no scores, or some that are not finite.
    """
    defender_N = np.asarray(defender_N, np.float64)
    check_settings(levels, (tolerance,))
    if not defender_N.size or not np.isfinite(defender_N).all():
        raise DataError(f"Level sets need finite scores; got {np.isfinite(defender_N).sum()} of {defender_N.size}.")
    if tolerance is None:
        tolerance = default_tolerance(defender_N)
    centers = np.unique(np.quantile(defender_N, (np.arange(levels) + 0.5) / levels, method="inverted_cdf"))
    # Scores at the tolerance's very end must not be lost to rounding.
    reach = tolerance + 4 * np.spacing(np.abs(centers).max())
    return tuple(
        LevelSet(float(center), float(tolerance), np.flatnonzero(np.abs(defender_N - center) <= reach))
        for center in centers
    )


def extremes(members: Int[np.ndarray, " M"], attacker_N: Float[np.ndarray, " N"]) -> tuple[int, int] | None:
    """(best, worst) of these images by the attacker; the earlier of equals; None where all are equal."""
    scores = np.asarray(attacker_N)[members]
    if len(members) < 2 or scores.min() == scores.max():
        return None
    return int(members[scores.argmax()]), int(members[scores.argmin()])


def compete(
    names: Sequence[str],
    first_N: Float[np.ndarray, " N"],
    second_N: Float[np.ndarray, " N"],
    *,
    levels: int = 6,
    tolerances: tuple[float | None, float | None] = (None, None),
    seed: int = 0,
) -> Competition:
    """Each scorer defends once and attacks once; one pair per level.

    The outcome depends on the set of images, not on their order: equal scores are told apart
    by name.

    Args:
      names: of the images, unique.
      first_N, second_N: scores, higher is better, on any scale; NaN where there is none.
      levels: level sets per defender.
      tolerances: half widths of the first's and the second's level sets, each on its own scale.
      seed: for the sides on which images are shown.

    Raises:
      UsageError: lengths differ, names repeat, or a setting makes no sense.
      DataError: fewer than two images have both scores.
    """
    check_settings(levels, tolerances, seed)
    scores = np.stack([_as_scores(values, len(names)) for values in (first_N, second_N)])
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise UsageError(f"Image names must be unique; {twice!r} comes more than once.")
    usable = np.isfinite(scores).all(0)
    left_out = tuple(name for name, kept in zip(names, usable, strict=True) if not kept)
    if usable.sum() < 2:
        raise DataError(
            f"gMAD needs at least two images with both scores; {usable.sum()} of {len(names)} have them. "
            "Check that the names in both scores are those of the same images."
        )
    by_name = np.array([i for i in sorted(range(len(names)), key=names.__getitem__) if usable[i]])
    sides = np.random.default_rng(seed).random((2, levels)) < 0.5
    pairs, without_pair = [], {}
    for defender, role in enumerate(ROLES):
        attacker = 1 - defender
        for number, found in enumerate(level_sets(scores[defender, by_name], levels, tolerances[defender])):
            level_set = dataclasses.replace(found, members=by_name[found.members])
            pair_id = f"{role}-defends-{number + 1}"
            chosen = extremes(level_set.members, scores[attacker])
            if chosen is None:
                count = len(level_set.members)
                reason = "the attacker tells none of them apart" if count > 1 else "a pair takes two"
                without_pair[pair_id] = f"{count} image{'s' * (count != 1)} in the level set: {reason}"
                continue
            side = bool(sides[defender, number])
            pairs.append(Pair(pair_id, defender, attacker, number + 1, level_set, *chosen, side))
    return Competition(tuple(names), scores, tuple(pairs), left_out, without_pair)


def _as_scores(values: Float[np.ndarray, " N"], count: int) -> Float[np.ndarray, " N"]:
    scores = np.asarray(values, np.float64)
    if scores.shape != (count,):
        raise UsageError(f"Expected {count} scores, one per image name; got an array of shape {scores.shape}.")
    return scores
