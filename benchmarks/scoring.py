"""Images per second of scoring, as ratios against PyTorch doing the same work in the same run.

    python benchmarks/scoring.py [--rounds 9] [--peer-python OTHER/bin/python]

Every contender is a process of its own; they take turns, one image each, so that a machine
whose speed drifts slows all of them alike. The peer is transformers' CLIPModel in PyTorch
with SDPA attention, inference mode and text features computed beforehand; its file loop is
the reference's: Pillow, a float tensor, unfold, gather. Weights are random: time does not
depend on them. `--peer-python` runs PyTorch under another interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CONTENDERS = ("liqe float32", "liqe bfloat16", "liqe int8", "torch float32", "torch bfloat16")
BASE = "torch float32"
WIDTH, HEIGHT, CROPS, CROP_SIZE, STRIDE = 1024, 768, 15, 224, 48


def liqe_jobs(dtype: str, folder: Path) -> dict[str, Callable[[], float]]:
    """This package: a batch of crops, and a loop over files."""
    import jax
    import numpy as np

    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.scoring.model import Model
    from liqe_jax.taxonomy import JOINT
    from liqe_jax.weights.provenance import Provenance

    encoder = CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048))
    params = jax.jit(encoder.init_params)(jax.random.key(0))
    text = np.random.default_rng(0).standard_normal((495, 512)).astype(np.float32)
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    model = Model(params, text, encoder, JOINT, Provenance("random"), dtype, jax.devices()[0])
    crops = np.random.default_rng(1).integers(0, 256, (CROPS, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    files = sorted(folder.glob("*.jpg"))

    def compute() -> float:
        (batch,) = model.forward.stream(model.weights, [crops], lambda item: item, batch_size=1, crops=CROPS)
        return float(batch.prediction.values["quality"][0])

    def from_files() -> float:
        return sum(score.quality for score in model.score_many(files))

    return {"compute": compute, "files": from_files}


def torch_jobs(dtype: str, folder: Path) -> dict[str, Callable[[], float]]:
    """PyTorch with transformers: the same, with the reference's loader."""
    import contextlib

    import numpy as np
    import torch
    from PIL import Image
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=768, intermediate_size=3072, patch_size=32, projection_dim=512)
    ).eval()
    text = torch.nn.functional.normalize(torch.randn(495, 512), dim=-1)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    low = dtype == "bfloat16"
    autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if low else contextlib.nullcontext
    stored = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (CROPS, 3, CROP_SIZE, CROP_SIZE), np.uint8))
    files = sorted(folder.glob("*.jpg"))

    def score(pixels: torch.Tensor) -> float:
        with torch.inference_mode(), autocast():
            features = torch.nn.functional.normalize(model(pixel_values=pixels).image_embeds.float(), dim=-1)
            joint = (100 * features @ text.T).mean(0).softmax(0).view(5, 99)
            return float(joint.sum(1) @ torch.arange(1.0, 6.0))

    def compute() -> float:
        return score((stored.float() / 255 - mean) / std)

    def load(path: Path) -> torch.Tensor:
        image = Image.open(path).convert("RGB")
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
        grid = ((pixels - mean) / std).unfold(1, CROP_SIZE, STRIDE).unfold(2, CROP_SIZE, STRIDE)
        grid = grid.permute(1, 2, 0, 3, 4).reshape(-1, 3, CROP_SIZE, CROP_SIZE)
        return grid[torch.arange(CROPS) * (len(grid) // CROPS)]

    return {"compute": compute, "files": lambda: sum(score(load(path)) for path in files)}


def work(contender: str, folder: Path) -> None:
    """A contender's process: runs the job named on each line of its input, answers with seconds."""
    library, dtype = contender.split()
    jobs = (liqe_jobs if library == "liqe" else torch_jobs)(dtype, folder)
    for line in sys.stdin:
        began = time.perf_counter()
        jobs[line.strip()]()
        print(json.dumps(time.perf_counter() - began), flush=True)


def make_photographs(folder: Path, count: int) -> None:
    """JPEGs with the size and the compressed size of KonIQ-10k's photographs (about 130 kB)."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        total = np.zeros((HEIGHT, WIDTH, 3))
        for size in (4, 16, 64, 256):
            coarse = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
            total += np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) / size**0.4
        pixels = (total - total.min()) / np.ptp(total) * 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)


def measure(job: str, rounds: int, workers: dict[str, subprocess.Popen], images: int) -> dict[str, list[float]]:
    """Seconds per image of every contender in every round; one round in front is not counted."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(job + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
            if not answer:
                raise SystemExit(f"The contender {name!r} stopped; its own error is above.")
            if number:
                times[name].append(json.loads(answer) / images)
    return times


def report(title: str, times: dict[str, list[float]]) -> None:
    """Medians, spread, and the ratio round by round to the base, or to the first where that does not run."""
    base = BASE if BASE in times else next(iter(times))
    print(f"\n{title}\n{'':16}{'s/image':>9}{'min':>8}{'max':>8}{'times ' + base:>22}")
    for name, seconds in times.items():
        ratio = statistics.median(peer / own for peer, own in zip(times[base], seconds, strict=True))
        print(f"{name:16}{statistics.median(seconds):9.3f}{min(seconds):8.3f}{max(seconds):8.3f}{ratio:22.2f}")


def main() -> None:
    """Starts the contenders and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=4, help="files per round")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS, help="contenders to run")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.folder)
        return

    with tempfile.TemporaryDirectory() as scratch:
        make_photographs(Path(scratch), arguments.images)
        workers = {}
        for name in arguments.only:
            python = sys.executable if name.startswith("liqe") else arguments.peer_python
            command = [python, __file__, "--worker", name, "--folder", scratch]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            workers[name] = subprocess.Popen(command, text=True, env=os.environ, **pipes)
        try:
            import jax

            print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, jax {jax.__version__}, ViT-B/32")
            report("15 crops in memory", measure("compute", arguments.rounds, workers, 1))
            title = f"from {WIDTH}x{HEIGHT} JPEG files"
            report(title, measure("files", max(arguments.rounds // 2, 1), workers, arguments.images))
        finally:
            for worker in workers.values():
                worker.terminate()


if __name__ == "__main__":
    main()
