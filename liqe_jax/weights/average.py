"""The mean of several models' weights: as quick as one of them, and often more robust than each.

Models that went on from the same weights lie in one valley, and so does what is between them: Wortsman et al.,
"Model soups", ICML 2022. Between a pretrained model and what fine-tuning made of it, the mean keeps some of the
first's robustness: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance


def averaged(models: Sequence[Checkpoint], shares: Sequence[float] | None = None) -> Checkpoint:
    """The weighted mean of models of one shape and one task set, without text features.

    Args:
      models: two or more; the first gives the name and the preset.
      shares: of each, positive; they are divided by their sum. None takes all alike.

    Returns:
      A model whose parameters are the means, summed in float64, and whose provenance is that of all: licences joined,
      training sets of every one, unknown if one's are unknown.

    Raises:
      ModelError: shapes, task sets or tokenizers differ.
      UsageError: fewer than two models, or shares that are not one positive number for each.
    """
    if len(models) < 2:
        raise UsageError(f"A mean needs two models or more; got {len(models)}.")
    shares = [1.0] * len(models) if shares is None else list(shares)
    if len(shares) != len(models) or not all(0 < share < np.inf for share in shares):
        raise UsageError(f"Expected one positive share for each of {len(models)} models; got {shares}.")
    first = models[0]
    # What plain CLIP files leave open, their tasks, the others decide.
    tasks = next((model.tasks for model in models if model.tasks is not None), None)
    for model in models:
        _check_alike(first, model)
        if model.tasks not in (None, tasks):
            raise ModelError(
                f"The models have different task sets: {tasks}, {model.tasks} ({model.provenance.name}). Give "
                "models of one task set."
            )
    parts = np.asarray(shares) / np.sum(shares)
    flat = {
        name: np.tensordot(parts, np.stack([model.flat[name] for model in models]), 1).astype(np.float32)
        for name in first.flat
    }
    return dataclasses.replace(
        first,
        flat=flat,
        provenance=_joined([model.provenance for model in models], parts.tolist()),
        tasks=tasks,
        text_features=None,
        source_dtypes={},
    )


def _check_alike(first: Checkpoint, other: Checkpoint) -> None:
    names = f"{first.provenance.name} and {other.provenance.name}"
    if first.encoder != other.encoder:
        raise ModelError(f"{names} have different shapes: {first.encoder}, {other.encoder}. Give models of one shape.")
    vocabularies = [(model.tokenizer or first.encoder.tokenizer_class.default()).vocab for model in (first, other)]
    if vocabularies[0] != vocabularies[1]:
        raise ModelError(f"{names} have different vocabularies. Give models of one tokenizer.")


def _joined(provenances: Sequence[Provenance], parts: Sequence[float]) -> Provenance:
    known = [provenance.trained_on for provenance in provenances]
    sources = [f"{part:.3g} {p.name} ({p.source})" for part, p in zip(parts, provenances, strict=True)]
    return Provenance(
        name=provenances[0].name,
        source=f"mean of weights: {' + '.join(sources)}",
        licence=" and ".join(dict.fromkeys(provenance.licence for provenance in provenances)),
        trained_on=None
        if None in known
        else tuple(dict.fromkeys(entry for entries in known for entry in entries or ())),
        notes=tuple(dict.fromkeys(note for provenance in provenances for note in provenance.notes)),
    )
