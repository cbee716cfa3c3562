"""A model as it stands on disk, whatever the format: parameters, shape, tasks, provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Float

from liqe_jax.encoders.base import Encoder
from liqe_jax.encoders.find import encoder_of
from liqe_jax.errors import ModelError
from liqe_jax.tasks import TaskSet
from liqe_jax.text.tokenizer import BaseTokenizer
from liqe_jax.weights.files import read_json
from liqe_jax.weights.layouts import Flat
from liqe_jax.weights.provenance import Provenance


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything that a model file says.

    Attributes:
      flat: parameter path, joined with slashes -> float32 array.
      encoder: the architecture.
      tasks: attributes and sentences; None where the file does not say, as a plain CLIP's.
      provenance: where it comes from.
      tokenizer: for `tasks`; None stands for the encoder's default.
      text_features: unit features [K, D] of the prompts, where the file holds them.
      source_dtypes: how many arrays of the file had which type.
      preprocess: preset that images are prepared with where nobody names another; LIQE's where the file does not say.
      features_of: what `text_features` came with, filled in by itself: these features, and the parameters then.
    """

    flat: Flat
    encoder: Encoder
    provenance: Provenance
    tasks: TaskSet | None = None
    tokenizer: BaseTokenizer | None = None
    text_features: Float[np.ndarray, "K D"] | None = None
    source_dtypes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    preprocess: str = "paper"
    features_of: tuple[np.ndarray, Flat] | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # `dataclasses.replace` with other parameters leaves the record as it was, so it shows that they changed.
        if self.text_features is None:
            object.__setattr__(self, "features_of", None)
        elif self.features_of is None or self.features_of[0] is not self.text_features:
            object.__setattr__(self, "features_of", (self.text_features, dict(self.flat)))

    @property
    def features_fit(self) -> bool:
        """Whether the text tower is the one that `text_features` came with; True where there are none."""
        if self.features_of is None:
            return True

        def of_text(flat: Flat) -> Flat:
            return {name: array for name, array in flat.items() if self.encoder.is_text(name)}

        before, now = of_text(self.features_of[1]), of_text(self.flat)
        # Arrays are the same objects where nobody tuned them, so that this costs nothing.
        return before.keys() == now.keys() and all(
            now[name] is before[name] or np.array_equal(now[name], before[name], equal_nan=True) for name in now
        )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as the nested dictionary that encoders take."""
        return unflatten_dict(self.flat, sep="/")

    @property
    def parameter_count(self) -> int:
        """Numbers in all arrays."""
        return sum(array.size for array in self.flat.values())


def read_config(path: Path, encoder: type[Encoder] | str | None = None) -> Encoder:
    """Reads a model folder's `config.json`; ModelError where it is corrupt or its encoder is unknown."""
    content = read_json(path)
    # Early CLIP checkpoints do not name their type.
    found = encoder_of(str(content.get("model_type", "clip")), encoder)
    try:
        return found.from_config(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{path} describes no {found.name} ({error!r}). Download the folder again.") from error


def check_against_encoder(flat: Flat, encoder: Encoder, where: str) -> None:
    """Compares names and shapes of parameters with an architecture's; ModelError shows both sides where they differ."""
    try:
        shapes = encoder.param_shapes(len(flat))
    except (ModelError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: {error or repr(error)}") from error
    differences = [
        f"  {name}: expected {shapes.get(name, 'nothing')}, got {flat[name].shape if name in flat else 'nothing'}"
        for name in sorted(shapes.keys() | flat.keys())
        if name not in flat or name not in shapes or tuple(flat[name].shape) != tuple(shapes[name])
    ]
    if differences:
        shown = "\n".join(differences[:12]) + ("\n  ..." if len(differences) > 12 else "")
        raise ModelError(
            f"The weights in {where} do not fit their configuration ({len(differences)} differences):\n{shown}\n"
            "Give the config.json that belongs to these weights."
        )
