"""How well models judge pairs of crops by their mean, for choosing one, or shares of several.

    python -m liqe_jax.synthetic.crops photos data/crops-pairs-2 --pairs --seed 30
    python benchmarks/pairs.py data/crops-pairs-2 runs/pairs-mean 'runs/pairs-mean+runs/enlarged/best_quality*2'

A model is a folder, or folders joined by +, each with its share after a *: the mean of their weights. `seen` are
photographs that it was trained on; where they do better than those of validation, it has learnt them by heart.
"AUC" is how often an undamaged view scores above one whose opinion is below 4.45.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from liqe_jax.data.crops import SPLIT, crop_pixels, crops_set, views_of_crops
from liqe_jax.encoders.stem import frequency_features
from liqe_jax.metrics.correlation import plcc, srcc
from liqe_jax.model.predict import predict
from liqe_jax.weights.average import averaged
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.open import open_checkpoint, with_text_features

BATCH = 64  # views
DAMAGED = 4.45  # opinion; above it few people see damage


def model_of(description: str) -> Checkpoint:
    """`A+B*2` is the mean of A and B with shares 1 and 2."""
    names, _, shares = zip(*(part.partition("*") for part in description.split("+")), strict=True)
    models = [open_checkpoint(name) for name in names]
    joined = models[0] if len(models) == 1 else averaged(models, [float(share or 1) for share in shares])
    return with_text_features(joined)


def squares_of(folder: Path, views: Int[np.ndarray, "V C"], patch_size: int) -> Float[np.ndarray, "V C L F"]:
    """What the stem makes of the crops of some views."""
    pixels = crop_pixels(folder)
    stem = jax.jit(functools.partial(frequency_features, patch_size=patch_size))
    found = []
    for start in tqdm(range(0, len(views), BATCH), desc="stem", disable=None):
        rows = views[start : start + BATCH].ravel()
        full = np.resize(rows, BATCH * views.shape[1])  # one shape, one program
        found.append(np.asarray(stem(pixels[full])).astype(np.float16)[: len(rows)])
    squares = np.concatenate(found)
    return squares.reshape(*views.shape, *squares.shape[1:])


def judge(model: Checkpoint, squares: Float[np.ndarray, "V C L F"]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [V] and the numbers of the most probable distortions [V]."""
    assert model.tasks is not None
    assert model.text_features is not None
    function = jax.jit(functools.partial(predict, encoder=model.encoder, tasks=model.tasks))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model.params)
    quality, distortion = [], []
    for start in range(0, len(squares), BATCH):
        some = squares[start : start + BATCH].astype(np.float32)
        full = some[np.arange(BATCH) % len(some)]
        prediction = function(params, full, jnp.asarray(model.text_features, jnp.float32))
        quality.append(np.asarray(prediction.values["quality"])[: len(some)])
        distortion.append(np.asarray(prediction.marginals["distortion"])[: len(some)].argmax(-1))
    return np.concatenate(quality), np.concatenate(distortion)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="folder of crops made with --pairs")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--seen", type=int, default=25, help="photographs of the training part (0: none)")
    options = parser.parse_args()
    crops, views = crops_set(options.crops), views_of_crops(options.crops)
    first = views[:, 0]
    part = np.asarray(crops.splits[SPLIT])[first]
    photo = np.asarray(crops.reference)[first]
    train = np.unique(photo[part == "train"])
    seen = np.random.default_rng(0).choice(train, min(options.seen, len(train)), replace=False)
    groups = {"val": np.flatnonzero(part == "val"), "seen": np.flatnonzero(np.isin(photo, seen))}
    models = [model_of(description) for description in options.models]
    for group, chosen in groups.items():
        if not len(chosen):
            continue
        squares = squares_of(options.crops, views[chosen], models[0].encoder.patch_size)
        opinion, label = crops.mos[first[chosen]], crops.distortion[first[chosen]]
        damaged = label >= 0
        for description, model in zip(options.models, models, strict=True):
            quality, distortion = judge(model, squares)
            pristine = quality[~damaged]
            worse = np.sort(quality[damaged & (opinion < DAMAGED)])
            print(
                f"{group} {description}: SRCC {srcc(opinion[damaged], quality[damaged]):.3f}  "
                f"PLCC {plcc(opinion[damaged], quality[damaged]):.3f}  "
                f"category {(distortion == label)[damaged].mean():.3f}  pristine {pristine.mean():.2f}  "
                f"AUC {np.searchsorted(worse, pristine).mean() / len(worse):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
