"""A data set in memory: training and evaluation on arrays, without files and without preparation.

    python examples/data_in_memory.py runs/memory
    liqe score samples --model runs/memory/last

The pictures are grey with noise, and the model learns to see how much.
"""

import io
import sys

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from liqe_jax.data.labelled import UNKNOWN, LabelledSet
from liqe_jax.evaluate.run import evaluate
from liqe_jax.evaluate.settings import default_eval_config
from liqe_jax.taxonomy import SCENE
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.settings import default_config


def from_arrays(name, pictures, mos, mos_range, parts):
    """A data set of N pictures.

    Args:
      name: of the data set, for `config.data.sets`.
      pictures: uint8 [N, H, W, 3], or N arrays of different sizes.
      mos: N mean opinion scores, higher is better.
      mos_range: lowest and highest possible MOS.
      parts: "train", "val" or "test" for each picture.
    """

    def read(indices):
        files = [io.BytesIO() for _ in indices]
        for file, index in zip(files, indices, strict=True):
            Image.fromarray(pictures[index]).save(file, "png")
        return [file.getvalue() for file in files]

    count = len(pictures)
    return LabelledSet(
        name=name,
        names=[f"{number}.png" for number in range(count)],
        mos=np.asarray(mos, np.float64),
        mos_range=mos_range,
        raw_distortion=[""] * count,
        distortion=np.full(count, UNKNOWN),
        scenes=np.zeros((count, len(SCENE.labels)), bool),
        reference=[""] * count,
        read=read,
        splits={"mine": parts},
    )


def main(workdir):
    """Trains a tiny model to see noise, and evaluates it on the test part."""
    rng = np.random.default_rng(0)
    noise = np.arange(60) % 5
    pictures = [np.clip(rng.normal(128, 5 + 20 * level, (240, 240, 3)), 0, 255).astype(np.uint8) for level in noise]
    parts = np.repeat(["train", "val", "test"], 20).tolist()
    dataset = from_arrays("noisy", pictures, 5 - noise, (1, 5), parts)

    config = default_config()
    config.init, config.tasks = "random", "quality"
    tower = {"width": 32, "layers": 1, "heads": 1, "mlp_width": 64}
    sizes = {"image_size": 224, "patch_size": 32, "projection_dim": 32, "vision": tower, "text": tower}
    config.architecture = ConfigDict(sizes)
    config.data.sets, config.data.split = (("noisy", 8),), "mine"
    config.epochs, config.steps_per_epoch, config.optimizer.learning_rate = 2, 10, 1e-3
    train_and_evaluate(config, workdir, sets=[dataset])

    settings = default_eval_config()
    settings.sets, settings.sessions, settings.official, settings.whole = ("noisy",), ("mine",), (), ()
    return evaluate(settings, f"{workdir}/last", f"{workdir}/evaluation", load_set=lambda name: dataset)


if __name__ == "__main__":
    main(sys.argv[1])
