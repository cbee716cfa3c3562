"""Start-up time and memory of the command, as a user meets them.

    python benchmarks/startup.py [--model FOLDER_OR_FILE] [--images 200]

Without --model, random ViT-B/32 weights are written in our format and as LIQE.pt first.
"Cold" has no compiled programs in its cache; the operating system's file cache is warm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"


def random_models(folder: Path) -> list[Path]:
    """ViT-B/32 with LIQE's sentences, in our format and in OpenAI's layout."""
    import jax
    import numpy as np
    from flax.traverse_util import flatten_dict

    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.weights.checkpoint import Checkpoint
    from liqe_jax.weights.open import with_text_features
    from liqe_jax.weights.provenance import Provenance
    from liqe_jax.weights.write import write_model

    encoder = CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048))
    params = jax.jit(encoder.init_params)(jax.random.key(0))
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    checkpoint = with_text_features(Checkpoint(flat, encoder, Provenance("random")))
    paths = [folder / "native", folder / "LIQE.pt"]
    for path in paths:
        write_model(path, checkpoint)
    return paths


def timed(command: list[str], home: Path) -> tuple[float, float]:
    """Wall seconds of a process and its peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "LIQE_HOME": str(home)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return time.perf_counter() - began, usage.ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024


def score(model: Path, *paths: Path) -> list[str]:
    """The command that scores `paths`."""
    return [sys.executable, "-m", "liqe_jax.cli.main", "score", *map(str, paths), "--model", str(model), "--quiet"]


def main() -> None:
    """Prints one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        home = folder / "home"
        imports = [timed([sys.executable, "-c", "import liqe_jax"], home)[0] for _ in range(5)]
        scorers = [timed([sys.executable, "-c", "import liqe_jax.scoring.load"], home)[0] for _ in range(5)]
        print(
            f"import liqe_jax, whole process: {sorted(imports)[2]:.2f} s; with the scorer: {sorted(scorers)[2]:.2f} s"
        )
        for model in [arguments.model] if arguments.model else random_models(folder):
            own = folder / f"home {model.name}"
            cold, _ = timed(score(model, SAMPLE), own)
            again = sorted(timed(score(model, SAMPLE), own)[0] for _ in range(3))[1]
            print(f"liqe score, one image, {model.name}: cold {cold:.1f} s, again {again:.1f} s")
        few = max(arguments.images // 10, 1)
        for count in (few, arguments.images):
            many = folder / f"{count} images"
            many.mkdir()
            for number in range(count):
                (many / f"{number:05d}.jpg").symlink_to(SAMPLE.resolve())
            seconds, memory = timed(score(model, many), own)
            print(f"a folder of {count}: peak {memory:.0f} MB, {seconds:.0f} s in all")


if __name__ == "__main__":
    main()
