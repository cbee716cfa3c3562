"""Runs the rank tests on a folder of pristine photographs: distorts and scores them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from liqe_jax.compare import ranktest
from liqe_jax.errors import DataError, UsageError
from liqe_jax.images.decode import decode_upright
from liqe_jax.scoring.result import Failure

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

LEVELS = (1, 2, 3, 4, 5)
PRISTINE = (0, 0)  # kind and level of the pristine image

# Longest side, pixels. The distortions have the strengths of KADID-10k, whose images are 512x384; on an image
# of twelve megapixels its blurs are hardly visible.
SIDE = 512

Distort = Callable[[Float[np.ndarray, "H W 3"], int, int, int], Float[np.ndarray, "H W 3"]]
# Maps image-like objects (numpy.asarray gives uint8 [H, W, 3]) to scores, one each, in the same order.
Scorer = Callable[[Iterable["Rendering"]], Iterable[float | Failure]]
# Maps kind and level to the mean and standard deviation of MOS over images.
MosOf = Callable[[int, int], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Rendering:
    """One photograph with one distortion, computed when a scorer's decoding thread converts it to an array."""

    name: str
    kind: int
    level: int
    photo: Callable[[], UInt8[np.ndarray, "H W 3"]]
    distort: Distort
    seed: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels, uint8 [H, W, 3]."""
        pixels = self.photo()
        if (self.kind, self.level) != PRISTINE:
            # The noise of a photograph does not depend on the other files in the folder.
            state = np.random.SeedSequence([self.seed, zlib.crc32(self.name.encode("utf-8", "surrogateescape"))])
            own_seed = int(state.generate_state(1)[0])
            distorted = self.distort(pixels.astype(np.float32) / 255, self.kind, self.level, own_seed)
            pixels = np.rint(np.clip(distorted, 0, 1) * 255).astype(np.uint8)
        return pixels if dtype is None else pixels.astype(dtype)

    @property
    def key(self) -> tuple[str, int, int]:
        """Photograph, kind and level, which identify it."""
        return self.name, self.kind, self.level


def renderings(
    folder: str | os.PathLike,
    names: Sequence[str],
    kinds: Sequence[int],
    distort: Distort,
    *,
    side: int = SIDE,
    seed: int = 0,
) -> Iterator[Rendering]:
    """Yields each photograph without distortion, then with every kind and level.

    Names are relative to the folder. `distort` is a function of pixels (float32 in 0..1), kind, level and seed.
    Photographs with a side above `side` are shrunk to it (0: none is). Raises UsageError if the seed is negative.
    """
    if seed < 0:
        raise UsageError(f"seed must be at least 0; got {seed}.")
    for name in names:
        # Decoded on first use, for all its renderings.
        photo = functools.cache(functools.partial(decode_upright, os.path.join(folder, name), side))
        yield Rendering(name, *PRISTINE, photo, distort, seed)
        for kind in kinds:
            for level in LEVELS:
                yield Rendering(name, kind, level, photo, distort, seed)


def scorer_of(model: Model, *, preprocess: str | None = None, batch_size: int | None = None) -> Scorer:
    """Wraps a LIQE model as a scorer; `preprocess` None uses the preset of the model."""

    def score(images: Iterable[Rendering]) -> Iterator[float | Failure]:
        results = model.score_many(images, preprocess=preprocess, batch_size=batch_size)  # type: ignore[arg-type]
        for result in results:
            yield result if isinstance(result, Failure) else result.quality

    return score


def score_renderings(scorer: Scorer, wanted: Iterable[Rendering]) -> Iterator[dict[str, Any]]:
    """Yields a row for every rendering, in order: image, kind, level, and quality or error.

    Raises:
      DataError: the scorer does not return one score per image.
    """
    kept, given = itertools.tee(wanted)  # the scorer reads ahead
    for item, score in itertools.zip_longest(kept, scorer(given)):
        if item is None or score is None:
            more = "more" if item is None else "fewer"
            raise DataError(f"The scorer returned {more} scores than images. Expected one score per image, in order.")
        row: dict[str, Any] = {"image": item.name, "kind": item.kind, "level": item.level}
        if isinstance(score, Failure):
            yield row | {"error": score.error}
        elif not np.isfinite(score):
            yield row | {"error": f"The score is {score}."}
        else:
            yield row | {"quality": float(score)}


@dataclasses.dataclass(frozen=True)
class RankTests:
    """Results of all three tests on one folder.

    Attributes:
      photographs: number of photographs with at least one score.
      kinds: the kinds of distortion, K.
      d, l, p: results of the tests; p is None if no two scored images differ by more than the margin.
      l_by_mos: the L-test with the levels of each kind in descending order of MOS. The orders differ for kinds
        whose levels are not degrees of distortion (KADID-10k's mean shift and contrast change go both ways).
      d_by_kind: accuracy of the D-test with the distorted images of one kind, [K].
      people: `ranktest.expected_consistency` for the images of the P-test; None if p is None.
      without_p: the reason why there is no P-test; "" if there is one.
      failed: number of images without a score.
    """

    photographs: int
    kinds: tuple[int, ...]
    d: ranktest.DTest
    l: ranktest.LTest  # noqa: E741 - the test's own name
    p: ranktest.PTest | None
    l_by_mos: ranktest.LTest
    d_by_kind: Float[np.ndarray, " K"]
    people: float | None
    without_p: str
    failed: int


def run_rank_tests(
    rows: Iterable[Mapping[str, Any]],
    mos_of: MosOf,
    margin: float = ranktest.MARGIN,
) -> RankTests:
    """Runs the three tests on the rows of `score_renderings`, in any order.

    `mos_of` is the expected MOS, such as `synthetic.mos.mean_mos`; the margin of the P-test is in its units.

    Raises:
      DataError: there are too few scores for the D-test or the L-test.
      UsageError: the margin is invalid.
    """
    ranktest.check_margin(margin)
    scores: dict[tuple[str, int, int], float] = {}
    for row in rows:
        scores[row["image"], int(row["kind"]), int(row["level"])] = float(row.get("quality", np.nan))
    names = sorted({name for name, _, _ in scores})
    kinds = tuple(sorted({kind for _, kind, _ in scores} - {0}))
    if not kinds:
        raise DataError("Expected distorted images; got pristine ones only.")
    pristine = np.array([scores.get((name, *PRISTINE), np.nan) for name in names])
    cube = np.array(
        [[[scores.get((name, kind, level), np.nan) for level in LEVELS] for kind in kinds] for name in names]
    )
    scored = np.isfinite(cube)
    mos, sd = np.moveaxis(np.array([[mos_of(kind, level) for level in LEVELS] for kind in kinds]), -1, 0)
    means, sds = np.broadcast_to(mos, cube.shape), np.broadcast_to(sd, cube.shape)
    p, people, without_p = None, None, ""
    try:
        p = ranktest.p_test(cube.ravel(), means.ravel(), margin)
        people = ranktest.expected_consistency(means[scored], sds[scored], margin)
    except DataError as error:
        # Kinds of nearly equal MOS have no such pairs; the other two tests do not need them.
        without_p = str(error)
    falling = np.argsort(-mos, axis=1, kind="stable")
    return RankTests(
        photographs=int((scored.any((1, 2)) | np.isfinite(pristine)).sum()),
        kinds=kinds,
        d=ranktest.d_test(pristine, cube),
        l=ranktest.l_test(cube),
        p=p,
        l_by_mos=ranktest.l_test(np.take_along_axis(cube, falling[None], axis=2)),
        d_by_kind=np.array([_d_or_nan(pristine, cube[:, index]) for index in range(len(kinds))]),
        people=people,
        without_p=without_p,
        failed=int(sum(not np.isfinite(score) for score in scores.values())),
    )


def _d_or_nan(pristine: np.ndarray, distorted: np.ndarray) -> float:
    return ranktest.d_test(pristine, distorted).accuracy if np.isfinite(distorted).any() else float("nan")
