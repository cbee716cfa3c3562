"""A small generated data set for trials only: noise of a natural spectrum, whose amount of blur or noise is the MOS."""

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.taxonomy import DISTORTION, SCENE

GENERATED = "generated"

# Number of images and their sides in pixels: enough for a batch, fast to decode.
COUNT, HEIGHT, WIDTH = 60, 256, 320
LEVELS = 5


def generated_set(name: str = GENERATED, count: int = COUNT) -> LabelledSet:
    """A set of `count` PNGs that depends on its name only; "1" is its only session.

    MOS are 5 to 1, decreasing with the level of distortion. All versions of a picture are in the same split.
    """
    kinds = ("gaussian blur", "white noise")
    seed = zlib.crc32(name.encode())
    index = np.arange(count)
    picture, level = index // LEVELS, index % LEVELS
    kind = (picture + picture // 6) % len(kinds)  # both kinds in every split
    category = [DISTORTION.labels.index(label) for label in ("blur", "noise")]
    splits = np.choose(picture % 6, ["train", "train", "val", "train", "test", "train"])

    def read(indices: Sequence[int]) -> list[bytes]:
        return [_png(seed + int(picture[i]), int(kind[i]), int(level[i])) for i in indices]

    names = [f"{p:03d}_{kinds[k].replace(' ', '_')}_{v + 1}.png" for p, k, v in zip(picture, kind, level, strict=True)]
    scenes = np.zeros((count, len(SCENE.labels)), bool)
    scenes[index, picture % len(SCENE.labels)] = True
    return LabelledSet(
        name=name,
        names=names,
        mos=(LEVELS - level).astype(np.float64),
        mos_range=(1.0, 5.0),
        raw_distortion=[kinds[k] for k in kind],
        distortion=np.asarray(category)[kind],
        scenes=scenes,
        reference=[f"{p:03d}" for p in picture],
        read=read,
        splits={"1": splits.tolist()},
    )


@functools.lru_cache(maxsize=2 * COUNT)  # 18 MB
def _png(seed: int, kind: int, level: int) -> bytes:
    rng = np.random.default_rng(seed)
    total = np.zeros((HEIGHT, WIDTH, 3))
    for size in (3, 9, 27, 81):
        coarse = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
        total += np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) / size**0.5
    total = 255 * (total - total.min()) / np.ptp(total)
    if kind == 1:
        total = np.clip(total + rng.normal(0, 12 * level + 1e-9, total.shape), 0, 255)
    picture = Image.fromarray(total.astype(np.uint8))
    if kind == 0:
        picture = picture.filter(ImageFilter.GaussianBlur(1.5 * level))
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()
