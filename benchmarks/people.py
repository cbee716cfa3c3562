"""What people get in the measures of benchmarks/nano.py: the row "people" under "How good it is" of docs/liqe_nano.md.

    python benchmarks/people.py path/to/LIQE

`liqe_nano` is compared with KADID-10k's mean opinion of a type and level, whatever the photograph. Here the scorer is
KADID-10k's observers: the mean of about 30 people's scores of each of its 10,125 images. LIQE is a checkout of
github.com/zwx8981/LIQE, whose label files repeat those scores.

Nobody scored undamaged images; those of mean shift at its third level, which shifts nothing, stand for them in the
D-test.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from liqe_jax.compare.ranktest import d_test, l_test, p_test
from liqe_jax.metrics.correlation import plcc, srcc

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.mos_table import read_scores

SHIFT, NO_SHIFT = 18, 3  # type and level of the images that are as they were
PHOTOGRAPHS, DRAWS = 33, 1000  # as many as benchmarks/nano.py has


def measure(scores: Float[np.ndarray, "N 25 5"]) -> dict[str, float]:
    """The measures of benchmarks/nano.py for the scores of N photographs' images."""
    opinions = scores.mean(0)
    opinion = np.broadcast_to(opinions, scores.shape)
    by_opinion = np.take_along_axis(scores, np.argsort(-opinions, axis=1, kind="stable")[None], axis=2)
    return {
        "SRCC": srcc(opinion.ravel(), scores.ravel()),
        "PLCC": plcc(opinion.ravel(), scores.ravel()),
        "D": d_test(scores[:, SHIFT - 1, NO_SHIFT - 1], scores.ravel()).accuracy,
        "L": l_test(scores).srcc,
        "L by opinion": l_test(by_opinion).srcc,
        "P": p_test(scores.ravel(), opinion.ravel()).consistency,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="LIQE")
    scores = np.moveaxis(read_scores(parser.parse_args().checkout), 2, 0)
    opinions = scores.mean(0)
    print(f"people, {len(scores)} photographs: " + "  ".join(f"{k} {v:.3f}" for k, v in measure(scores).items()))
    rng = np.random.default_rng(0)
    draws = [
        srcc(np.broadcast_to(opinions, some.shape).ravel(), some.ravel())
        for some in (scores[rng.choice(len(scores), PHOTOGRAPHS, replace=False)] for _ in range(DRAWS))
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    print(f"SRCC of {PHOTOGRAPHS} photographs, {DRAWS} draws: 95% from {low:.3f} to {high:.3f}")
    within = [srcc(opinions.ravel(), of_photograph.ravel()) for of_photograph in scores]
    print(f"SRCC within a photograph: {min(within):.3f} to {max(within):.3f}, median {np.median(within):.3f}")


if __name__ == "__main__":
    main()
