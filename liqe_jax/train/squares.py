"""The stem of frequencies computed once, for crops that are seen again and again.

It has no parameters, so what it makes of a crop never changes, and takes a third of a small model's step. The
file holds it in float16, 0.12 MB a crop, and a mirrored crop is computed from it (`stem.mirrored`).

Letters: N crops, P crops of an image, L squares of a crop, F numbers of a square.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Float16, Int, UInt8
from tqdm import tqdm

from liqe_jax.data.crops import SPLIT, crop_pixels, views_of_crops
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.errors import DataError
from liqe_jax.model.stem import frequency_features, mirrored, stem_features

SQUARES = "squares.npy"
_BATCH = 32  # crops at a time

# Of float16 at the largest features, about 6, and of another batch's or device's rounding.
_TOLERANCE = 0.02


def with_squares(
    dataset: LabelledSet, folder: Path, patch_size: int, patches: int = 1, mosaic: float = 0.0
) -> LabelledSet:
    """A set of crops whose training images come from the stem; the file is made where there is none.

    Args:
      dataset, folder: what `crops_set` reads, and where from.
      patch_size: side of a square, pixels.
      patches: P, of every training image: a crop and those after it of the same view.
      mosaic: share of training images of which half the squares, taken at random, are another photograph's under the
        same damage. Squares show damage and photographs only hide it: there are few photographs, but many of their
        mixtures, which nobody learns by heart. The scenes remain those of the first.

    Raises:
      DataError: the file was made by another stem, or of other crops; or views have fewer crops than P.
    """
    pixels = crop_pixels(folder)
    path = folder / SQUARES
    if not path.exists():
        write_squares(pixels, path, patch_size)
    squares = np.load(path, mmap_mode="r")
    ends = [0, len(pixels) - 1]
    wanted = _squares_of(pixels[ends], patch_size)
    if len(squares) != len(pixels) or squares.shape[1:] != wanted.shape[1:]:
        raise DataError(f"{path} has shape {squares.shape}; expected {(len(pixels), *wanted.shape[1:])}. Remove it.")
    difference = float(np.abs(squares[ends].astype(np.float32) - wanted).max())
    if not difference <= _TOLERANCE:
        raise DataError(f"{path} is of another stem or of other crops (they differ by {difference:.3g}). Remove it.")

    together = _together(folder, len(pixels), patches)
    alike = _alike(dataset) if mosaic else []

    def ready(index: int, flip: bool, where: Float[np.ndarray, " P"]) -> Float16[np.ndarray, "P L F"]:
        chosen = np.stack([squares[row] for row in together[index]])
        if mosaic:
            rng = np.random.default_rng((where * 2**53).astype(np.uint64))
            if rng.random() < mosaic:
                other = np.stack([squares[row] for row in together[rng.choice(alike[index])]])
                chosen = np.where(rng.random(chosen.shape[:2])[..., None] < 0.5, chosen, other)
        return mirrored(chosen, patch_size) if flip else chosen

    return dataclasses.replace(dataset, ready=ready)


def _alike(dataset: LabelledSet) -> list[Int[np.ndarray, " n"]]:
    """For each crop those of its part, distortion and opinion score, itself among them."""
    parts = dataset.parts.get(SPLIT, [""] * len(dataset))
    groups: dict[tuple[str, str, float], list[int]] = {}
    keys = list(zip(parts, dataset.raw_distortion, dataset.mos.tolist(), strict=True))
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    members = {key: np.asarray(indices) for key, indices in groups.items()}
    return [members[key] for key in keys]


def _together(folder: Path, crops: int, patches: int) -> Int[np.ndarray, "N P"]:
    """Each crop and the next of its view, the first after the last."""
    if patches == 1:
        return np.arange(crops)[:, None]
    views = views_of_crops(folder)
    if views.shape[1] < patches:
        raise DataError(
            f"{folder} has {views.shape[1]} crops of each view; config.data.patches wants {patches}. Ask for fewer, or "
            "make crops with --pairs."
        )
    together = np.empty((crops, patches), np.int64)
    for first in range(views.shape[1]):
        together[views[:, first]] = np.roll(views, -first, axis=1)[:, :patches]
    return together


def write_squares(pixels: UInt8[np.ndarray, "N S S 3"], path: Path, patch_size: int) -> None:
    """Writes float16 [N, L, F]; a file that was begun and not finished has another name.

    Args:
      pixels: crops.
      path: of the new file.
      patch_size: side of a square, pixels.
    """
    squares = (pixels.shape[1] // patch_size) ** 2
    shape = (len(pixels), squares, stem_features(patch_size))
    logging.info("Writing %s, %.1f GB, once.", path, 2 * np.prod(shape) / 1e9)
    part = path.with_name(f"{path.stem}.{jax.process_index()}.part.npy")
    out = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    for start in tqdm(range(0, len(pixels), _BATCH), unit_scale=_BATCH, unit="crop", desc="stem"):
        out[start : start + _BATCH] = _squares_of(pixels[start : start + _BATCH], patch_size)
    out.flush()
    part.rename(path)


def _squares_of(pixels: UInt8[np.ndarray, "n S S 3"], patch_size: int) -> np.ndarray:
    full = np.concatenate([pixels, np.zeros((_BATCH - len(pixels), *pixels.shape[1:]), np.uint8)])
    return np.asarray(_stem(full, patch_size))[: len(pixels)]


_stem = jax.jit(frequency_features, static_argnums=1)
