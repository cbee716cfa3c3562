"""Reading for training: images per second and core, against a loop that does what the reference's dataset does.

    python benchmarks/pipeline.py                 both on one core, in turns
    python benchmarks/pipeline.py --steps 2000    host memory over that many steps of ours

The peer (zwx8981/LIQE, ImageDataset.py) opens a file with PIL, may flip it, makes a float tensor, unfolds
every crop of the grid, and gathers three of them at random. Ours is `training_batches`, labels and all.
Pictures are random ones with a natural spectrum, 1024x768 as JPEG and 512x384 as PNG, made anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import random
import resource
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

CROP_SIZE, CROPS, STEP_SECONDS, PAPER_IMAGES = 224, 3, 0.05, 48
FORMS = {"1024x768 JPEG": (768, 1024, "jpeg", {"quality": 92}), "512x384 PNG": (384, 512, "png", {})}


def pictures(form: str, count: int = 12) -> list[bytes]:
    """Encoded pictures with structure at all scales."""
    height, width, kind, options = FORMS[form]
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        total = np.zeros((height, width, 3))
        for size in (3, 9, 27, 81, 243):
            coarse = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
            total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / size**0.5
        total = 255 * (total - total.min()) / np.ptp(total)
        file = io.BytesIO()
        Image.fromarray(total.astype(np.uint8)).save(file, kind, **options)
        files.append(file.getvalue())
    return files


def reference_images(files: list[bytes]) -> Iterator[object]:
    """The reference's way, one image after the other."""
    import torch

    random.seed(0)
    for encoded in _for_ever(files):
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        mean, deviation = torch.tensor([0.481, 0.458, 0.408]), torch.tensor([0.269, 0.261, 0.276])
        pixels = ((pixels - mean[:, None, None]) / deviation[:, None, None])[None]
        stride = 48 if max(image.size) >= 1024 else 32
        cells = pixels.unfold(2, CROP_SIZE, stride).unfold(3, CROP_SIZE, stride)
        cells = cells.permute(2, 3, 0, 1, 4, 5).reshape(-1, 3, CROP_SIZE, CROP_SIZE)
        yield cells[torch.randint(len(cells), (CROPS,))]


def _for_ever(files: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from files


def our_set(files: list[bytes]) -> object:
    """The same files as a data set."""
    from liqe_jax.data.generated import generated_set

    def read(indices: Sequence[int]) -> list[bytes]:
        return [files[index % len(files)] for index in indices]

    return dataclasses.replace(generated_set("pictures", 60), read=read)


def our_images(files: list[bytes]) -> Iterator[object]:
    """Ours, an item for each image."""
    from liqe_jax.data.reading.training import training_batches

    for batch in training_batches([our_set(files)], [8], session="all", seed=0, workers=1):
        yield from batch.crops


def seconds_for(images: Iterator[object], count: int) -> float:
    """Time for the next `count` images."""
    start = time.perf_counter()
    for _ in range(count):
        next(images)
    return time.perf_counter() - start


def compare(rounds: int) -> None:
    """Both on one core, in turns."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    import torch

    torch.set_num_threads(1)
    for form in FORMS:
        files = pictures(form)
        contenders = {"reference": (reference_images(files), 12), "ours": (our_images(files), 96)}
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, (images, count) in contenders.items():
                rate = count / seconds_for(images, count)
                if turn:  # the first is a warm-up
                    rates[name].append(rate)
        ours, theirs = (statistics.median(rates[name]) for name in ("ours", "reference"))
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["reference"], strict=True))
        cores = PAPER_IMAGES / STEP_SECONDS / ours
        print(
            f"{form}: reference {theirs:.1f}, ours {ours:.1f} images/s and core; {ratio:.1f} times "
            f"({min(a / b for a, b in zip(rates['ours'], rates['reference'], strict=True)):.1f} at least). A step of "
            f"{PAPER_IMAGES} images every {STEP_SECONDS * 1000:.0f} ms needs {cores:.1f} cores."
        )


def memory(steps: int) -> None:
    """Resident memory of this process while batches are made."""
    from liqe_jax.data.reading.training import training_batches

    sets = [our_set(pictures("512x384 PNG"))]
    for step, _ in enumerate(training_batches(sets, [16], session="all", seed=0, steps=steps), 1):
        if step in (100, 200, 500, 1000, 1500, 2000) or step == steps:
            with open("/proc/self/statm") as file:
                resident = int(file.read().split()[1]) * resource.getpagesize() / 1e6
            print(f"step {step}: {resident:.0f} MB", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Reading for training, against the reference's loop.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="measure memory over this many steps instead")
    options = parser.parse_args()
    if options.steps:
        memory(options.steps)
    else:
        compare(options.rounds)


if __name__ == "__main__":
    main()
