"""gMAD: pairs of images of equal quality by one scorer and of maximally different quality by another.

Ma et al., "Group maximum differentiation competition: model comparison with few samples", TPAMI 2020. The defender's
scores define sets of images of equal quality (level sets); the attacker chooses the best and the worst image of each
set. A few such pairs show which scorer agrees better with people. Higher scores are better. N images, L levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from liqe_jax.errors import DataError, UsageError

ROLES = ("first", "second")

# Half the width of a level set as a share of the spread of the defender's scores between their
# 5th and 95th percentiles (the tails contain outliers). Our choice; the paper leaves it to the user.
TOLERANCE_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class LevelSet:
    """Images (`members`, ascending by name) whose scores by the defender lie within `center` +- `tolerance`."""

    center: float
    tolerance: float
    members: Int[np.ndarray, " M"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images of equal quality by the defender and of different quality by the attacker.

    Attributes:
      id: such as "first-defends-3"; level 1 is the defender's worst.
      defender, attacker: 0 for the first scorer, 1 for the second.
      level, level_set: 1 to L, and its images.
      better, worse: indices of the images with the attacker's highest and lowest score.
      better_is_left: whether the better image is shown on the left; random, so that raters are blind.
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
    """Result of `compete`, images in the caller's order.

    Attributes:
      names, scores: of the images; of both scorers.
      pairs: the pairs that the first scorer defends, by level, then those that the second defends.
      left_out: names of the images that lack a finite score of either scorer.
      without_pair: id -> the reason why a level has no pair.
    """

    names: tuple[str, ...]
    scores: Float[np.ndarray, "2 N"]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    without_pair: dict[str, str]


def check_settings(levels: int, tolerances: Sequence[float | None] = (), seed: int = 0) -> None:
    """Checks the settings of a competition; call it before scoring images.

    Raises:
      UsageError: fewer than one level, a negative or non-finite tolerance, or a negative seed.
    """
    if levels < 1:
        raise UsageError(f"levels must be at least 1; got {levels}.")
    for tolerance in tolerances:
        if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
            raise UsageError(f"tolerance must be a number of at least 0, on the defender's scale; got {tolerance}.")
    if seed < 0:
        raise UsageError(f"seed must be at least 0; got {seed}.")


def default_tolerance(defender_N: Float[np.ndarray, " N"]) -> float:
    """`TOLERANCE_SHARE` times the spread of the scores between their 5th and 95th percentiles."""
    low, high = np.quantile(defender_N, (0.05, 0.95))
    return float(TOLERANCE_SHARE * (high - low))


def level_sets(
    defender_N: Float[np.ndarray, " N"], levels: int = 6, tolerance: float | None = None
) -> tuple[LevelSet, ...]:
    """Level sets around the quantiles (l - 1/2) / L of the defender's finite scores, worst first.

    Every center is the score of an image, the lower one if a quantile falls between two. So no level is
    empty. Sets may overlap. Equal centers are one level, so a constant defender has one level of all images.
    Six levels are customary. The tolerance is half the width of a set; None uses `default_tolerance`.

    Raises:
      UsageError: fewer than one level, or a negative or non-finite tolerance.
      DataError: there are no scores, or a score is not finite.
    """
    defender_N = np.asarray(defender_N, np.float64)
    check_settings(levels, (tolerance,))
    if not defender_N.size or not np.isfinite(defender_N).all():
        raise DataError(f"Level sets need finite scores; got {np.isfinite(defender_N).sum()} of {defender_N.size}.")
    if tolerance is None:
        tolerance = default_tolerance(defender_N)
    centers = np.unique(np.quantile(defender_N, (np.arange(levels) + 0.5) / levels, method="inverted_cdf"))
    # Rounding must not exclude scores exactly at the tolerance.
    reach = tolerance + 4 * np.spacing(np.abs(centers).max())
    return tuple(
        LevelSet(float(center), float(tolerance), np.flatnonzero(np.abs(defender_N - center) <= reach))
        for center in centers
    )


def extremes(members: Int[np.ndarray, " M"], attacker_N: Float[np.ndarray, " N"]) -> tuple[int, int] | None:
    """(best, worst) image by the attacker's scores, the earlier of equal ones; None if all scores are equal."""
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
    """Runs the competition: each scorer defends once and attacks once, with one pair per level.

    The result does not depend on the order of the images: ties between scores are broken by name.

    Args:
      names: unique names of the images.
      first_N, second_N: scores, higher is better, on any scale; NaN for images without a score.
      levels: number of level sets per defender.
      tolerances: half widths of the first and second scorer's level sets, each on its own scale.
      seed: seed of the sides on which images are shown.

    Raises:
      UsageError: lengths differ, names repeat, or a setting is invalid.
      DataError: fewer than two images have both scores.
    """
    check_settings(levels, tolerances, seed)
    for values in (first_N, second_N):
        if np.shape(values) != (len(names),):
            raise UsageError(f"Expected {len(names)} scores, one per name; got an array of shape {np.shape(values)}.")
    scores: Float[np.ndarray, "2 N"] = np.array([first_N, second_N], np.float64)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise UsageError(f"Image names must be unique; {twice!r} occurs more than once.")
    usable: np.ndarray = np.isfinite(scores).all(axis=0)
    left_out = tuple(name for name, kept in zip(names, usable, strict=True) if not kept)
    if usable.sum() < 2:
        raise DataError(
            f"gMAD needs at least two images with both scores; {usable.sum()} of {len(names)} have them. "
            "Check that both scorers scored the same images."
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
                reason = "the attacker scores them equally" if count > 1 else "a pair needs two"
                without_pair[pair_id] = f"{count} image{'s' * (count != 1)} in the level set: {reason}"
                continue
            side = bool(sides[defender, number])
            pairs.append(Pair(pair_id, defender, attacker, number + 1, level_set, *chosen, side))
    return Competition(tuple(names), scores, tuple(pairs), left_out, without_pair)
