"""A model whose weights are a weighted mean of two models of one run: less of what each learnt by heart.

    python tools/average_models.py runs/nano/best_quality runs/nano/best_average averaged --share 0.4

`--share` is that of the second. Text features are computed again.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from liqe_jax.errors import ModelError
from liqe_jax.scoring.load import open_checkpoint, with_text_features
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native


def average(one: Checkpoint, other: Checkpoint, share: float) -> Checkpoint:
    """`share` of `other` and the rest of `one`, without text features.

    Raises:
      ModelError: they are not of one kind.
    """
    if one.config != other.config or one.tasks != other.tasks or one.flat.keys() != other.flat.keys():
        raise ModelError("The two models differ in architecture or tasks; give two of one run.")
    flat = {
        name: np.asarray((1 - share) * leaf.astype(np.float64) + share * other.flat[name], np.float32)
        for name, leaf in one.flat.items()
    }
    shares = ((1 - share, one), (share, other))
    notes = tuple(f"{part:g} of: {'; '.join(model.provenance.notes)}" for part, model in shares)
    seen = None
    if one.provenance.trained_on is not None and other.provenance.trained_on is not None:
        seen = tuple(dict.fromkeys([*one.provenance.trained_on, *other.provenance.trained_on]))
    provenance = dataclasses.replace(one.provenance, notes=notes, trained_on=seen, source_sha256="")
    return dataclasses.replace(one, flat=flat, provenance=provenance, text_features=None)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1")
    options = parser.parse_args()
    if not 0 <= options.share <= 1:
        parser.error(f"--share lies between 0 and 1; got {options.share}")
    averaged = average(open_checkpoint(options.one), open_checkpoint(options.other), options.share)
    write_native(options.out, with_text_features(averaged))


if __name__ == "__main__":
    main()
