"""Writes mean opinion scores: `python tools/mos_table.py LIQE > liqe_jax/assets/kadid10k_mos.csv`.

LIQE is the root of a checkout of github.com/zwx8981/LIQE, or a folder with its IQA_Database.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from liqe_jax.errors import DataError, LiqeError

FILES = tuple(f"kadid10k_{part}_clip.txt" for part in ("train", "val", "test"))
FOLDER = "IQA_Database/kadid10k/splits2/1"  # every session has all the images
IMAGE = re.compile(r"I(\d+)_(\d+)_(\d+)\.png")
ORIGINALS, KINDS, LEVELS = 81, 25, 5

HEADER = """\
# Mean opinion scores of KADID-10k by type and level: written by `python tools/mos_table.py`.
# Source: the scores (1 to 5, higher is better; each the mean of about 30 people's) of the 10,125 images of KADID-10k
# (H. Lin, V. Hosu, D. Saupe, QoMEX 2019) as LIQE's label files repeat them (zwx8981/LIQE at a64655f,
# IQA_Database/kadid10k/splits2, MIT licence).
# Columns: type, level, mean and standard deviation (n - 1) over 81 images.
"""


def read_scores(checkout: str | Path) -> Float[np.ndarray, "25 5 81"]:
    """The score of every image, by type, level and original.

    Raises:
      DataError: files are missing or malformed, or images are.
    """
    folder = Path(checkout) / FOLDER
    scores = np.full((KINDS, LEVELS, ORIGINALS), np.nan)
    for name in FILES:
        try:
            lines = (folder / name).read_text("utf-8").splitlines()
        except OSError as error:
            raise DataError(f"Cannot read {folder / name}: {error.strerror}. Give a checkout of LIQE.") from error
        for line in lines:
            image, score, *_ = line.split("\t")
            match = IMAGE.search(image)
            if not match:
                raise DataError(f"{folder / name}: {image!r} is not named as KADID-10k's images are, I01_01_01.png.")
            original, kind, level = (int(number) - 1 for number in match.groups())
            scores[kind, level, original] = float(score)
    if absent := int(np.isnan(scores).sum()):
        raise DataError(f"{folder}: {absent:,} of {scores.size:,} images have no score. Fetch the files again.")
    return scores


def table(scores: Float[np.ndarray, "25 5 81"]) -> str:
    """The content of `kadid10k_mos.csv`."""
    means, deviations = scores.mean(-1), scores.std(-1, ddof=1)
    rows = [
        f"{kind + 1},{level + 1},{means[kind, level]:.4f},{deviations[kind, level]:.4f}\n"
        for kind, level in np.ndindex(KINDS, LEVELS)
    ]
    return HEADER + "".join(rows)


if __name__ == "__main__":
    try:
        print(table(read_scores(sys.argv[1])), end="")
    except (IndexError, LiqeError) as problem:
        sys.exit(f"{problem}\nusage: python tools/mos_table.py LIQE")
