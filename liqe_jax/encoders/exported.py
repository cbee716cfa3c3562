"""A whole model as one program, behind the protocol of encoders, so that everything that scores can use it.

The feature of a crop is the logarithm of its joint distribution: its logits but for a constant, which softmax ignores.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from liqe_jax.encoders.base import Crops, Encoder, ImageFeatures, Params, Prompts, TextFeatures
from liqe_jax.errors import UsageError
from liqe_jax.text.tokenizer import BaseTokenizer

# The logarithm of 0 is not finite; a probability this small never changes a score.
_SMALLEST = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True)
class ExportedModel(Encoder):
    """A program that `liqe_jax.export` wrote: from crops to joint distributions, weights and sentences inside.

    `projection_dim` is the number of its sentences, `computes_in` the operand type, `sha256` the program's digest.
    """

    image_size: int
    projection_dim: int
    computes_in: str
    sha256: str
    program: export.Exported = dataclasses.field(compare=False, repr=False)

    name: ClassVar[str] = "stablehlo"

    def init_params(self, key: Array) -> Params:
        """None: they are inside."""
        return {}

    def image_features(
        self, params: Params, crops: Crops, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "*batch D"]:
        """Logarithms of the joint distribution of each crop; UsageError for another `dtype`, or crops not of uint8."""
        if jnp.dtype(dtype).name != self.computes_in:
            raise UsageError(
                f"This exported model computes in {self.computes_in}; got dtype {jnp.dtype(dtype).name}. Load it with "
                f'dtype="{self.computes_in}" (--dtype {self.computes_in}).'
            )
        if crops.dtype != jnp.uint8:
            raise UsageError(f"An exported model takes crops of uint8; got {crops.dtype}. Load the original model.")
        count = math.prod(crops.shape[:-3])
        (joint,) = self.program.call(jnp.asarray(crops).reshape(count, 1, *crops.shape[-3:]))
        return jnp.log(jnp.maximum(joint, _SMALLEST)).reshape(*crops.shape[:-3], self.projection_dim)

    def logits(
        self, params: Params, image_features: ImageFeatures, text_features: TextFeatures
    ) -> Float[Array, "*batch K"]:
        """The features."""
        return jnp.asarray(image_features)

    def prompts(self, sentences: Sequence[str], tokenizer: BaseTokenizer | None = None, devices: int = 1) -> Prompts:
        """Refuses: the sentences are inside."""
        self._refuse("its sentences cannot be changed")

    def text_features(
        self, params: Params, rows: Any, dtype: DTypeLike = jnp.float32, remat: bool = False
    ) -> Float[Array, "B R D"]:
        """Refuses: there is no text encoder."""
        self._refuse("it has no text encoder")

    def to_config(self) -> dict[str, Any]:
        """Sizes and the digest of the program, for `liqe info`."""
        sizes = {"image_size": self.image_size, "dtype": self.computes_in, "sha256": self.sha256}
        return {"model_type": self.name, **sizes}

    def describe(self) -> dict[str, str]:
        """The input and the type that it computes in."""
        return {"input": f"{self.image_size} x {self.image_size}", "computes in": self.computes_in}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ExportedModel:
        """Refuses: the program is not in `config.json`."""
        raise ValueError("an exported model is one file")

    def _refuse(self, why: str) -> NoReturn:
        raise UsageError(f"This is an exported model: {why}. Export the original model with other tasks instead.")
