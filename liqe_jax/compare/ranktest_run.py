"""A folder of pristine photographs, distorted in every way and scored: what the rank tests are made of."""

from __future__ import annotations

import dataclasses
import functools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from liqe_jax.compare.ranktest import (
    MARGIN,
    DTest,
    LTest,
    PTest,
    check_margin,
    d_test,
    expected_consistency,
    l_test,
    p_test,
)
from liqe_jax.errors import DataError, UsageError
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.scoring.result import Failure

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model

LEVELS = (1, 2, 3, 4, 5)
PRISTINE = (0, 0)  # kind and level of an image that nothing was done to

# Longest side, pixels. The strengths of the distortions are those of KADID-10k, which showed
# images of 512x384; on a picture of twelve megapixels its blurs would hardly be seen.
SIDE = 512

Distort = Callable[[Float[np.ndarray, "H W 3"], int, int, int], Float[np.ndarray, "H W 3"]]
# Image-like objects (numpy.asarray gives uint8 [H, W, 3]) -> scores in the same order, one each.
Scorer = Callable[[Iterable["Rendering"]], Iterable[float | Failure]]


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photograph, decoded when it is first needed and kept as long as somebody holds it."""

    path: str
    side: int

    @functools.cached_property
    def pixels(self) -> UInt8[np.ndarray, "H W 3"]:
        """Upright, no side longer than `side` (0: as it is).

        Raises:
          ImageError: it cannot be decoded.
        """
        pixels = decode(self.path, DecodeOptions(apply_exif=True, white_background=True)).pixels
        if not self.side or max(pixels.shape[:2]) <= self.side:
            return pixels
        picture = Image.fromarray(pixels)
        picture.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        return np.asarray(picture)


@dataclasses.dataclass(frozen=True)
class Rendering:
    """One photograph with one distortion, computed by whoever asks for its pixels.

    A scorer takes it for an array; decoding threads then distort while the devices compute.
    """

    name: str
    kind: int
    level: int
    photo: Photo
    distort: Distort
    seed: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels, uint8 [H, W, 3]."""
        pixels = self.photo.pixels
        if (self.kind, self.level) != PRISTINE:
            # Another photograph in the folder must not change this one's noise.
            state = np.random.SeedSequence([self.seed, zlib.crc32(self.name.encode("utf-8", "surrogateescape"))])
            own_seed = int(state.generate_state(1)[0])
            distorted = self.distort(pixels.astype(np.float32) / 255, self.kind, self.level, own_seed)
            pixels = np.rint(np.clip(distorted, 0, 1) * 255).astype(np.uint8)
        return pixels if dtype is None else pixels.astype(dtype)

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from the others."""
        return self.name, self.kind, self.level


def check_seed(seed: int) -> None:
    """Refuses a seed that no distortion can take.

    Raises:
      UsageError: it is negative.
    """
    if seed < 0:
        raise UsageError(f"seed must be at least 0; got {seed}.")


def renderings(
    folder: str | os.PathLike,
    names: Sequence[str],
    kinds: Sequence[int],
    distort: Distort,
    *,
    side: int = SIDE,
    seed: int = 0,
) -> Iterator[Rendering]:
    """Each photograph as it is, then with every kind and level; names are relative to the folder.

    Raises:
      UsageError: a negative seed; when the first is taken.
    """
    check_seed(seed)
    for name in names:
        photo = Photo(os.path.join(folder, name), side)
        yield Rendering(name, *PRISTINE, photo, distort, seed)
        for kind in kinds:
            for level in LEVELS:
                yield Rendering(name, kind, level, photo, distort, seed)


def scorer_of(model: Model, *, preprocess: str | None = None, batch_size: int | None = None) -> Scorer:
    """A LIQE model as a scorer; `preprocess` None takes the model's own preset."""

    def score(images: Iterable[Rendering]) -> Iterator[float | Failure]:
        results = model.score_many(images, preprocess=preprocess, batch_size=batch_size)  # type: ignore[arg-type]
        for result in results:
            yield result if isinstance(result, Failure) else result.quality

    return score


def score_renderings(scorer: Scorer, wanted: Iterable[Rendering]) -> Iterator[dict[str, Any]]:
    """A row for every rendering, in order: image, kind, level, and quality or error.

    Raises:
      DataError: the scorer gave fewer or more scores than images.
    """
    taken: list[Rendering] = []

    def passing() -> Iterator[Rendering]:
        for item in wanted:
            taken.append(item)
            yield item

    for score in scorer(passing()):
        if not taken:
            raise DataError("The scorer gave more scores than it took images. Expected one score per image, in order.")
        item = taken.pop(0)
        row: dict[str, Any] = {"image": item.name, "kind": item.kind, "level": item.level}
        if isinstance(score, Failure):
            yield row | {"error": score.error}
        elif not np.isfinite(score):
            yield row | {"error": f"The score is {score}."}
        else:
            yield row | {"quality": float(score)}
    if taken:
        raise DataError(f"The scorer gave no score for {len(taken)} images. Expected one score per image, in order.")


@dataclasses.dataclass(frozen=True)
class RankTests:
    """All three tests on one folder.

    Attributes:
      photographs: those of which at least one rendering has a score.
      kinds: the distortions, K.
      d, l, p: the tests; p is None where no two scored images differ by more than the margin.
      l_by_opinion: the L-test with each kind's levels in the order of people's mean opinions, which is another
        one where levels are not degrees of damage (KADID-10k's mean shift and contrast change go both ways).
      d_by_kind: the D-test with the distorted images of one kind, [K].
      people: `expected_consistency` for the images of the P-test; None where that is.
      without_p: why there is no P-test, a sentence; "" where there is one.
      failed: images without a score.
    """

    photographs: int
    kinds: tuple[int, ...]
    d: DTest
    l: LTest  # noqa: E741 - the test's own name
    p: PTest | None
    l_by_opinion: LTest
    d_by_kind: Float[np.ndarray, " K"]
    people: float | None
    without_p: str
    failed: int


def evaluate(
    rows: Iterable[Mapping[str, Any]],
    opinion: Callable[[int, int], tuple[float, float]],
    pristine_opinion: tuple[float, float] | None = None,
    margin: float = MARGIN,
) -> RankTests:
    """The three tests from the rows of `score_renderings`.

    Args:
      rows: in any order.
      opinion: kind, level -> mean and standard deviation of people's opinions.
      pristine_opinion: those of pristine photographs; None leaves them out of the P-test.
      margin: of the P-test.

    Raises:
      DataError: too few scores for the D- or the L-test.
      UsageError: see `ranktest.check_margin`.
    """
    check_margin(margin)
    scores: dict[tuple[str, int, int], float] = {}
    for row in rows:
        scores[row["image"], int(row["kind"]), int(row["level"])] = float(row.get("quality", np.nan))
    names = sorted({name for name, _, _ in scores})
    kinds = tuple(sorted({kind for _, kind, _ in scores} - {0}))
    if not kinds:
        raise DataError("There are no distorted images, so there is nothing to test.")
    pristine = np.array([scores.get((name, *PRISTINE), np.nan) for name in names])
    cube = np.array(
        [[[scores.get((name, kind, level), np.nan) for level in LEVELS] for kind in kinds] for name in names]
    )
    opinions = np.array([[opinion(kind, level) for level in LEVELS] for kind in kinds])
    flat = np.concatenate([cube.ravel(), pristine if pristine_opinion else []])
    means, sds = (
        np.concatenate(
            [
                np.broadcast_to(opinions[..., part], cube.shape).ravel(),
                np.full(len(names), pristine_opinion[part]) if pristine_opinion else [],
            ]
        )
        for part in (0, 1)
    )
    scored = np.isfinite(flat)
    p, people, without_p = None, None, ""
    try:
        p = p_test(flat, means, margin)
        people = expected_consistency(means[scored], sds[scored], margin)
    except DataError as error:
        # Kinds that people mind little have no such pairs; the other two tests need none.
        without_p = str(error)
    falling = np.argsort(-opinions[..., 0], axis=1, kind="stable")
    return RankTests(
        int((np.isfinite(cube).any((1, 2)) | np.isfinite(pristine)).sum()),
        kinds,
        d_test(pristine, cube),
        l_test(cube),
        p,
        l_test(np.take_along_axis(cube, falling[None], axis=2)),
        np.array([_d_or_nan(pristine, cube[:, index]) for index in range(len(kinds))]),
        people,
        without_p,
        int(sum(not np.isfinite(score) for score in scores.values())),
    )


def _d_or_nan(pristine: np.ndarray, distorted: np.ndarray) -> float:
    return d_test(pristine, distorted).accuracy if np.isfinite(distorted).any() else float("nan")
