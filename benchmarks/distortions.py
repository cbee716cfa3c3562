"""How long the synthetic distortions take: all 25 types at 5 levels on one photograph of 512x384 pixels.

    python benchmarks/distortions.py

Prints the time of all 125 copies, of the average one and of the slowest types; one thread of OpenCV, best of three.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from liqe_jax.synthetic import KINDS, LEVELS, distort

SAMPLE = Path(__file__).parents[1] / "samples" / "coffee.jpg"
ROUNDS = 3


def seconds(photo: np.ndarray, kind: int) -> float:
    """Seconds that one type's five levels take, the quickest of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for level in LEVELS:
            distort(photo, kind, level, 0)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Prints the table."""
    cv2.setNumThreads(1)
    photo = np.asarray(Image.open(SAMPLE).convert("RGB").resize((512, 384))).astype(np.float32) / 255
    found = {kind: seconds(photo, kind) for kind in KINDS}
    copies = len(KINDS) * len(LEVELS)
    print(f"{copies} copies: {sum(found.values()):.2f} s, {1000 * sum(found.values()) / copies:.1f} ms each")
    for kind in sorted(found, key=found.__getitem__, reverse=True)[:5]:
        print(f"{1000 * found[kind] / len(LEVELS):7.1f} ms  {kind:2d} {KINDS[kind]}")


if __name__ == "__main__":
    main()
