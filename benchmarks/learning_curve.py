"""What limits `liqe_nano`: its recipe on parts of its training data, beside kernel ridge regression on all statistics.

    python benchmarks/learning_curve.py data photos/test [--sessions 10] [--methods recipe kernel_ridge]

DATA is the folder in which configs/liqe_nano.py trains, with CLIVE and the varied copies; PHOTOS a folder of pristine
photographs. A row has the SRCC on CLIVE's test images (median of the sessions), and on KADID-10k's distortions of
ten photographs (mean of the sessions). The recipe is that of configs/liqe_nano.py, with other images; kernel ridge
regression takes the same pooled statistics, without principal components, in place of the trained layers. Features of
images are computed once, into DATA/features.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from scipy.linalg import solve
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.nano import distorted
from configs import liqe_nano
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.named import load_sets
from liqe_jax.encoders.efficientnet import LARGEST
from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import PRESETS, prepare
from liqe_jax.model.predict import predict_from_features
from liqe_jax.scoring.load import load
from liqe_jax.train.frozen import pooled_features
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.weights.checkpoint import Checkpoint

# Photographs of the distortions, 125 images each.
PHOTOGRAPHS = 10

# Images of CLIVE's 813 training images, and copies of each photograph, of which the last is the photograph itself.
IMAGES, COPIES = (100, 200, 400, 813), (2, 5, 11)

METHODS = ("recipe", "kernel_ridge")

# Added to the diagonal of the kernel matrix; the kernel's width is the median distance of two images.
RIDGE = 0.1

Scores: TypeAlias = "tuple[Float[np.ndarray, ' N'], Float[np.ndarray, ' T']]"  # of CLIVE, of the distorted images
Method: TypeAlias = "Callable[[Study, str, np.ndarray, np.ndarray], Scores]"


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything that is trained on and tested with; N images of a set, F statistics."""

    sets: tuple[LabelledSet, LabelledSet]
    pooled: tuple[Float[np.ndarray, "N F"], Float[np.ndarray, "N F"]]
    mos: tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]
    test_pooled: Float[np.ndarray, "T F"]
    test_mos: Float[np.ndarray, " T"]
    folder: Path


def study_of(folder: Path, photos: Path) -> Study:
    """Reads the sets, and computes the features that are missing."""
    config = liqe_nano.get_config()
    config.data.folder = str(folder)
    start = starting_checkpoint(config)
    clive, varied = load_sets(("CLIVE", "varied"), folder)
    pooled = {name: features[:, 0] for name, features in pooled_features(config, start, [clive, varied]).items()}
    files = sorted(photos.iterdir())[:PHOTOGRAPHS]
    test_pooled, test_mos = _distorted_features(start, [Image.open(path).convert("RGB") for path in files])
    lowest, highest = config.data.mos_scale
    mos = [
        lowest + (np.asarray(one.mos) - one.mos_range[0]) / np.ptp(one.mos_range) * (highest - lowest)
        for one in (clive, varied)
    ]
    return Study((clive, varied), tuple(pooled.values()), tuple(mos), test_pooled, test_mos, folder)


def _distorted_features(start: Checkpoint, photos: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    pool = jax.jit(lambda crops: start.encoder.pool(start.params, crops))
    rows, mos = [], []
    for picture in distorted(photos, "synthetic"):
        crops = prepare(decode(picture.pixels), PRESETS["whole"], start.encoder.image_size).crops()
        rows.append(np.asarray(pool(crops))[0])
        mos.append(picture.mos)
    return np.stack(rows), np.asarray(mos)


def part_of(dataset: LabelledSet, session: str, kept: Int[np.ndarray, " M"]) -> LabelledSet:
    """The set with a session "part", whose training images are `kept` alone."""
    split = np.asarray(dataset.splits[session] if session in dataset.splits else ["train"] * len(dataset), object)
    split[split == "train"] = "unused"
    split[kept] = "train"
    return dataclasses.replace(dataset, splits={"part": split.tolist()})


def recipe(study: Study, session: str, images: Int[np.ndarray, " M"], copies: Int[np.ndarray, " L"]) -> Scores:
    """A model of the recipe, trained on images of CLIVE and on varied copies, or on one of them."""
    config = liqe_nano.get_config()
    data = config.data
    settings = zip(study.sets, (images, copies), data.sets, data.weights, data.pairs, data.mixup, strict=True)
    used = [one for one in settings if len(one[1])]
    data.sets, weights, data.pairs, data.mixup = (tuple(column) for column in list(zip(*used, strict=True))[2:])
    # Copies alone have no scenes to learn.
    learnt = [place for place, of_a_loss in enumerate(zip(*weights, strict=True)) if any(of_a_loss)]
    config.losses, config.loss_weights = (
        tuple(column[place] for place in learnt) for column in (config.losses, config.loss_weights)
    )
    data.weights = tuple(tuple(row[place] for place in learnt) for row in weights)
    config.data.split, config.data.folder = "part", str(study.folder)
    with tempfile.TemporaryDirectory() as workdir:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            train_and_evaluate(config, workdir, sets=[part_of(one, session, kept) for one, kept, *_ in used])
        model = load(Path(workdir) / "last")

    def scores(pooled: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
        encoder, params = model.encoder, model.params
        features = encoder.image_features(params, encoder.project(params, pooled))[:, None]
        found = predict_from_features(params, features, model.text_features, encoder=encoder, tasks=model.tasks)
        return np.asarray(found.values["quality"])

    return scores(study.pooled[0]), scores(study.test_pooled)


def kernel_ridge(study: Study, session: str, images: Int[np.ndarray, " M"], copies: Int[np.ndarray, " L"]) -> Scores:
    """Kernel ridge regression of the MOS with a Gaussian kernel; all images have the same weight."""
    del session
    chosen = [features[kept] for features, kept in zip(study.pooled, (images, copies), strict=True)]
    used = [features for features in chosen if len(features)]
    mean = np.mean([features.mean(0) for features in used], 0)
    std = np.sqrt(np.mean([features.var(0) for features in used], 0)) + 1e-3

    def standard(pooled: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
        return np.clip((pooled - mean) / std, -LARGEST, LARGEST).astype(np.float32)

    x = standard(np.concatenate(used))
    mos = np.concatenate([one[kept] for one, kept in zip(study.mos, (images, copies), strict=True)])
    squared = _squared_distances(x, x)
    width = np.median(squared)
    kernel = np.exp(-squared / width) + RIDGE * np.eye(len(x), dtype=np.float32)
    weights = solve(kernel, mos - mos.mean(), assume_a="pos")
    return tuple(
        np.exp(-_squared_distances(standard(pooled), x) / width) @ weights + mos.mean()
        for pooled in (study.pooled[0], study.test_pooled)
    )


def _squared_distances(a: Float[np.ndarray, "N F"], b: Float[np.ndarray, "M F"]) -> Float[np.ndarray, "N M"]:
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0)


def rows_of(study: Study, sessions: int, methods: Sequence[str]) -> Iterator[str]:
    """The lines of the table."""
    clive, varied = study.sets
    all_copies = np.arange(len(varied))
    photograph = np.unique(np.asarray(varied.reference), return_inverse=True)[1]
    order = np.concatenate([np.arange((photograph == one).sum()) for one in np.unique(photograph)])
    number = np.empty(len(varied), int)
    number[np.argsort(photograph, kind="stable")] = order  # of a copy among those of its photograph
    most, none = IMAGES[-1], np.arange(0)
    cases: list[tuple[Method, int, np.ndarray]] = [
        *((recipe, count, all_copies) for count in IMAGES),
        *((recipe, most, all_copies[number < count]) for count in COPIES[:-1]),
        (recipe, most, none),
        *((recipe, 0, all_copies[number < count]) for count in COPIES),
        *((kernel_ridge, count, copies) for count, copies in ((most, none), (most, all_copies), (0, all_copies))),
    ]
    for method, count, copies in cases:
        if method.__name__ not in methods:
            continue
        real, synthetic = [], []
        for session in [str(one) for one in range(1, sessions + 1)][: None if count else 1]:
            images = np.random.default_rng(int(session)).permutation(clive.indices(session, "train"))[:count]
            scores, test_scores = method(study, session, images, copies)
            test = clive.indices(session, "test")
            real.append(spearmanr(scores[test], study.mos[0][test]).statistic)
            synthetic.append(spearmanr(test_scores, study.test_mos).statistic)
        yield (
            f"| {method.__name__.replace('_', ' ')} | {count} | {len(copies)} | {np.median(real):.3f} | "
            f"{np.mean(synthetic):.3f} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DATA")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--sessions", type=int, choices=range(1, 11), default=10, metavar="N")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args(arguments)
    study = study_of(options.folder, options.photos)
    print("| method | images of CLIVE | copies | SRCC, CLIVE | SRCC, distortions |\n|---|---|---|---|---|", flush=True)
    for row in rows_of(study, options.sessions, options.methods):
        print(row, flush=True)


if __name__ == "__main__":
    main()
