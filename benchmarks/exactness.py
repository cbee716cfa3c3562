"""Largest differences from the reference's own figures.

    LIQE_GOLDENS=FOLDER python benchmarks/exactness.py [--dtype float32|bfloat16|int8]

The tests assert that they stay within tolerance; this prints what they are. The folder holds
`scores_tiny.json` and `scores_vit_b32.json`, and the photographs lie in `../images`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from liqe_jax.scoring.load import load
from liqe_jax.weights.torch_writer import write_torch

HEADS = ("quality", "quality_scene", "quality_distortion")


def weight_file(goldens: Path, weights: str | dict, scratch: Path) -> Path:
    """The file that the figures belong to; large random weights are drawn again from their seed."""
    if isinstance(weights, str):
        return goldens / weights
    spec = importlib.util.spec_from_file_location("random_clip", goldens / "random_clip.py")
    assert spec is not None
    assert spec.loader is not None
    random_clip = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(random_clip)
    state = random_clip.round_like_checkpoint(random_clip.openai_state_dict(weights["seed"]))
    assert random_clip.state_dict_sha256(state) == weights["sha256"]
    write_torch(scratch / "LIQE.pt", state)
    return scratch / "LIQE.pt"


def differences(figures: dict, path: Path, images: Path, dtype: str) -> dict[str, float]:
    """Largest absolute difference of logits, probabilities and scores."""
    worst = {"logit": 0.0, "probability": 0.0, "score": 0.0}

    def note(kind: str, got: object, expected: object) -> None:
        worst[kind] = max(worst[kind], float(np.abs(np.asarray(got) - np.asarray(expected)).max()))

    files = [images / name for name in figures["images"]]
    for head in ("joint", *HEADS):
        model = load(path, tasks=head, dtype=dtype)
        for preprocess in ("paper", "pyiqa"):
            scores = model.score_many(files, preprocess=preprocess)
            for score, expected in zip(scores, figures["images"].values(), strict=True):
                wanted = expected[preprocess]
                if head == "joint":
                    note("logit", score.logits, wanted["logits"])
                    for name in ("quality", "scene", "distortion"):
                        note("probability", list(score.probabilities[name].values()), wanted[f"{name}_probs"])
                    note("score", score.quality, wanted["quality"])
                else:
                    note("probability", score.joint.ravel(), wanted[f"{head}_head"]["probs"])
                    note("score", score.quality, wanted[f"{head}_head"]["quality"])
    return worst


def main() -> None:
    """Prints a line per set of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "int8"))
    arguments = parser.parse_args()
    goldens = Path(os.environ["LIQE_GOLDENS"])
    for name in ("scores_tiny.json", "scores_vit_b32.json"):
        figures = json.loads((goldens / name).read_text("utf-8"))
        with tempfile.TemporaryDirectory() as scratch:
            path = weight_file(goldens, figures["weights"], Path(scratch))
            worst = differences(figures, path, goldens.parent / "images", arguments.dtype)
        shown = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
        print(f"{name}, {len(figures['images'])} photographs, {arguments.dtype}: {shown}")


if __name__ == "__main__":
    main()
