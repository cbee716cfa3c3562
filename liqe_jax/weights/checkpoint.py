"""A model as it stands on disk, whatever the format: parameters, shape, tasks, provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from liqe_jax.errors import ModelError
from liqe_jax.model.clip import param_shapes
from liqe_jax.model.config import CLIPConfig
from liqe_jax.tasks import TaskSet
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.files import read_json
from liqe_jax.weights.layouts import Flat, check_shapes
from liqe_jax.weights.provenance import Provenance


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything that a model file says.

    Attributes:
      flat: parameter path, joined with slashes -> float32 array.
      config: the shape of the model.
      tasks: attributes and sentences; None where the file does not say (a plain CLIP).
      provenance: where it comes from.
      tokenizer: for `tasks`; None stands for CLIP's own.
      text_features: unit features [K, D] of the prompts, where the file holds them.
      source_dtypes: how many arrays of the file had which type.
      preprocess: preset that images are prepared with where nobody names another; LIQE's where the file does not say.
      features_of: what `text_features` came with, filled in by itself: these features, and the parameters then.
    """

    flat: Flat
    config: CLIPConfig
    provenance: Provenance
    tasks: TaskSet | None = None
    tokenizer: Tokenizer | None = None
    text_features: Float[np.ndarray, "K D"] | None = None
    source_dtypes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    preprocess: str = "paper"
    features_of: tuple[np.ndarray, Flat] | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # `dataclasses.replace` with other parameters leaves the record as it was, and so tells on them.
        if self.text_features is None:
            object.__setattr__(self, "features_of", None)
        elif self.features_of is None or self.features_of[0] is not self.text_features:
            object.__setattr__(self, "features_of", (self.text_features, dict(self.flat)))

    @property
    def features_fit(self) -> bool:
        """Whether the text tower is the one that `text_features` came with; True where there are none."""
        if self.features_of is None:
            return True
        before = self.features_of[1]
        names = [name for name in self.flat.keys() | before.keys() if name.startswith("text_")]
        # Arrays are the same objects where nobody tuned them, so that this costs nothing.
        return all(
            name in self.flat
            and name in before
            and (self.flat[name] is before[name] or np.array_equal(self.flat[name], before[name], equal_nan=True))
            for name in names
        )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as the nested dictionary that `liqe_jax.model` takes."""
        return unflatten_dict(self.flat, sep="/")

    @property
    def parameter_count(self) -> int:
        """Numbers in all arrays."""
        return sum(array.size for array in self.flat.values())


def read_config(path: Path) -> CLIPConfig:
    """Reads a model folder's `config.json`.

    Raises:
      ModelError: damaged, or not that of a CLIP.
    """
    try:
        return CLIPConfig.from_hugging_face(read_json(path))
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{path} describes no CLIP ({error}). Download the folder again.") from error


def check_against_config(flat: Flat, config: CLIPConfig, where: str) -> None:
    """Compares parameters with a configuration.

    Raises:
      ModelError: names or shapes differ; the message shows both sides.
    """
    sizes = {
        **{f"{name} {key}": size for name in ("vision", "text") for key, size in vars(getattr(config, name)).items()},
        **vars(config),
    }
    wrong = [f"{name} {size}" for name, size in sizes.items() if isinstance(size, int) and size < 1]
    # Every block has arrays of its own; a damaged number would list names without end.
    wrong += [f"{name} layers {n}" for name in ("vision", "text") if (n := getattr(config, name).layers) > len(flat)]
    if wrong:
        raise ModelError(f"The configuration of {where} describes no model that its {len(flat)} arrays fit: {wrong}.")
    # Tracing one block per tower and repeating its shapes takes a tenth of the time of all.
    towers = {f"{name}_model": getattr(config, name) for name in ("vision", "text")}
    single = dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), layers=1) for name in ("vision", "text")}
    )
    expected: dict[str, tuple[int, ...]] = {}
    for name, leaf in flatten_dict(param_shapes(single), sep="/").items():
        tower, block, rest = name.partition("/encoder/layers/0/")
        copies = range(towers[tower].layers) if block else ()
        expected |= {f"{tower}/encoder/layers/{layer}/{rest}": leaf.shape for layer in copies} or {name: leaf.shape}
    check_shapes(flat, expected, where)
