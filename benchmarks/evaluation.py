"""Images per second of evaluation, as a ratio to scoring the same files in the same process.

    python benchmarks/evaluation.py [--rounds 5] [--images 12] [--tiny]

Both start from 1024x768 JPEGs, use the same random ViT-B/32 and the same batch, and take turns, so that
a machine whose speed drifts slows both alike. Evaluation includes what it alone does: padding, gathering,
and a line of JSON per image that is flushed to disk. Expected: a ratio of at least 0.9.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.evaluate.predictions import PredictionFile, row_of
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.predict_set import predict_set
from liqe_jax.taxonomy import JOINT, SCENE
from liqe_jax.weights.provenance import Provenance

sys.path.insert(0, str(Path(__file__).parent))
from scoring import make_photographs

# One layer instead of twelve shows what surrounds the model.
SIZES = {
    False: (TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048)),
    True: (TowerConfig(64, 1, 1, 64), TowerConfig(64, 1, 1, 64)),
}


def random_model(tiny: bool) -> Model:
    """Random weights: time does not depend on them."""
    encoder = CLIP(*SIZES[tiny], projection_dim=32 if tiny else 512)
    params = jax.jit(encoder.init_params)(jax.random.key(0))
    text = np.random.default_rng(0).standard_normal((len(JOINT.prompts), encoder.projection_dim)).astype(np.float32)
    return Model(params, text / np.linalg.norm(text, axis=-1, keepdims=True), encoder, JOINT, Provenance("random"))


def set_of(files: list[Path]) -> LabelledSet:
    """The files as a data set with labels of no meaning."""
    count = len(files)
    return LabelledSet(
        name="photographs",
        names=[path.name for path in files],
        mos=np.arange(count, dtype=np.float64),
        mos_range=(0.0, float(count)),
        raw_distortion=[""] * count,
        distortion=np.full(count, -1),
        scenes=np.zeros((count, len(SCENE.labels)), bool),
        reference=[""] * count,
        read=lambda indices: [files[i].read_bytes() for i in indices],
    )


def jobs(model: Model, folder: Path) -> dict[str, Callable[[], None]]:
    """The two contenders."""
    files = sorted(folder.glob("*.jpg"))
    dataset = set_of(files)
    indices, preset = np.arange(len(files)), PRESETS["paper"]

    def score() -> None:
        assert sum(result.quality > 0 for result in model.score_many(files)) == len(files)

    def evaluate() -> None:
        path = folder / "predictions.jsonl"
        path.unlink(missing_ok=True)
        file = PredictionFile(path, {})
        with file.append() as add:
            for batch in predict_set(model.forward, model.weights, dataset, indices, preset=preset):
                for k, (i, q) in enumerate(zip(batch.indices, batch.quality, strict=True)):
                    add([row_of(dataset, int(i), q, {name: p[k] for name, p in batch.probabilities.items()})])
        file.finish(dataset.names)
        assert len(file.rows) == len(files)

    return {"scoring": score, "evaluation": evaluate}


def main() -> None:
    """Takes turns and prints seconds per image and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--tiny", action="store_true", help="a model of next to no work")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make_photographs(Path(scratch), arguments.images)
        contenders = jobs(random_model(arguments.tiny), Path(scratch))
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(arguments.rounds + 1):  # the first compiles, and is not counted
            for name, job in contenders.items():
                began = time.perf_counter()
                job()
                if number:
                    times[name].append((time.perf_counter() - began) / arguments.images)
    device = jax.local_devices()
    print(f"{len(device)} x {device[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    for name, seconds in times.items():
        print(f"{name:12}{1 / statistics.median(seconds):9.2f} images/s  ({min(seconds):.3f} to {max(seconds):.3f} s)")
    ratios = [one / other for one, other in zip(times["scoring"], times["evaluation"], strict=True)]
    print(f"evaluation reaches {statistics.median(ratios):.0%} of scoring ({min(ratios):.0%} to {max(ratios):.0%})")


if __name__ == "__main__":
    main()
