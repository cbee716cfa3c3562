"""Training on what a frozen image encoder says of each picture and its mirror image, computed once and kept in files.

That is for an encoder whose image part is mostly frozen (`Encoder.pool`, `fit`, `project`).
Letters: N images of a set, B of a batch, S side of a crop, F pooled numbers of an image, r numbers that the trained
part takes. An axis of two has the picture and its mirror image.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict
from tqdm import tqdm

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.evaluation import PADDING, evaluation_images
from liqe_jax.encoders.base import Encoder, Params
from liqe_jax.errors import DataError, UsageError
from liqe_jax.images.preprocess import PRESETS, Preset
from liqe_jax.weights.checkpoint import Checkpoint

# Images per call.
_BATCH = 4


def pooled_features(config: ConfigDict, start: Checkpoint, sets: Sequence[LabelledSet]) -> dict[str, np.ndarray]:
    """The output of the frozen part for all images of each set, by name: float32 [N, 2, F], from files if they exist.

    The files are in `config.data.folder`/features. Raises UsageError if the encoder has no frozen part, DataError if an
    image cannot be decoded or a file cannot be written.
    """
    encoder = start.encoder
    if not encoder.has_frozen_part:
        raise UsageError(
            f"config.data.frozen_features is for encoders with a frozen part, and {encoder.name} has none. Set it to "
            "False."
        )
    preset = PRESETS[config.preprocess or start.preprocess]
    pool = jax.jit(functools.partial(_pool, encoder, start.params))
    found = {}
    for dataset in {one.name: one for one in sets}.values():
        path = path_of(config, start, dataset, preset)
        if not path.exists():
            _write(path, _pooled(pool, encoder, preset, dataset))
        found[dataset.name] = np.load(path)
    return found


def path_of(config: ConfigDict, start: Checkpoint, dataset: LabelledSet, preset: Preset) -> Path:
    """The file of a set's features; its name holds a digest of everything that they depend on."""
    encoder = start.encoder
    crop = jax.ShapeDtypeStruct((encoder.image_size, encoder.image_size, 3), np.uint8)
    shape = jax.eval_shape(encoder.pool, start.params, crop)
    found = hashlib.sha256(f"mirrored{encoder.name}{crop.shape}{shape}{preset}".encode())
    for name in sorted(start.flat):
        if encoder.is_pooled(name):
            found.update(name.encode())
            found.update(np.ascontiguousarray(start.flat[name]).tobytes())
    found.update("\n".join(dataset.names).encode("utf-8", "surrogateescape"))
    return Path(config.data.folder) / "features" / f"{dataset.name}-{found.hexdigest()[:16]}.npy"


def fitted(
    config: ConfigDict, start: Checkpoint, sets: Sequence[LabelledSet], pooled: Sequence[np.ndarray]
) -> Checkpoint:
    """A random start with the statistics of the training images; a trained model keeps those that it learned with."""
    if config.init != "random":
        return start
    split = config.data.split
    chosen = [
        features[dataset.indices(split if split in dataset.splits else "all", "train"), 0]
        for dataset, features in zip(sets, pooled, strict=True)
    ]
    tree = start.encoder.fit(start.params, chosen)
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()}
    return dataclasses.replace(start, flat=flat)


def projected(
    encoder: Encoder, params: Params, pooled: Mapping[str, Float[np.ndarray, "N 2 F"]]
) -> dict[str, Float[np.ndarray, "N 2 r"]]:
    """The input of the trained part, by the name of the set, computed from `pooled_features`."""
    project = jax.jit(encoder.project)
    return {name: np.asarray(project(params, features)) for name, features in pooled.items()}


def on_features(dataset: LabelledSet, features: Float[np.ndarray, "N 2 r"], noise: float) -> LabelledSet:
    """A set whose training images are features instead of crops, with noise of this standard deviation."""

    def ready(index: int, flip: bool, where: Float[np.ndarray, " P"]) -> Float[np.ndarray, "P r"]:
        # The uniform numbers that would have placed crops decide on the noise, so it depends on seed and step alone.
        rng = np.random.default_rng((where * 2**53).astype(np.uint64))
        shape = (len(where), features.shape[2])
        return features[index, int(flip)] + np.float32(noise) * rng.standard_normal(shape, np.float32)

    return dataclasses.replace(dataset, ready=ready)


def _pool(encoder: Encoder, params: Params, crops: Num[Array, "B 2 S S 3"]) -> Float[Array, "B 2 F"]:
    if jax.default_backend() != "cpu":
        return encoder.pool(params, crops)
    # One after another, in the same memory: more of it stays in the processor's cache.
    one_by_one = jax.lax.map(functools.partial(encoder.pool, params), crops.reshape(-1, *crops.shape[2:]))
    return one_by_one.reshape(*crops.shape[:2], -1)


def _pooled(
    pool: Callable[[np.ndarray], Array], encoder: Encoder, preset: Preset, dataset: LabelledSet
) -> Float[np.ndarray, "N 2 F"]:
    images = evaluation_images(
        dataset, np.arange(len(dataset)), batch_size=_BATCH, preset=preset, image_size=encoder.image_size
    )
    rows: list[np.ndarray] = []
    with tqdm(total=len(dataset), unit="image", desc=f"features of {dataset.name}") as bar:
        while batch := list(itertools.islice(images, _BATCH)):
            crops = np.concatenate([crops for _, crops in batch])
            features = np.asarray(pool(np.stack([crops, crops[:, :, ::-1]], 1)))
            rows += [row for (index, _), row in zip(batch, features, strict=True) if index != PADDING]
            bar.update(len(rows) - bar.n)
    return np.stack(rows)


def _write(path: Path, features: Float[np.ndarray, "N 2 F"]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, features)
        part.replace(path)
    except OSError as error:
        raise DataError(f"Cannot write {path} ({error}). Check the disk and your permissions.") from error
