"""LIQE in JAX: blind image quality, scene and distortion from CLIP.

    import liqe_jax
    model = liqe_jax.load()  # or "liqe_mix", "LIQE.pt", ...
    print(model.score("photo.jpg").quality)

Names are imported when first used, so that `import liqe_jax` costs nothing.
docs/architecture.md says how the package is divided.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTED = {
    "liqe_jax.errors": ("LiqeError", "ModelError", "ImageError", "UsageError"),
    "liqe_jax.exports.export": ("export",),
    "liqe_jax.images.preprocess": ("PRESETS", "Preset"),
    "liqe_jax.model.predict": ("predict",),
    "liqe_jax.scoring.load": ("load",),
    "liqe_jax.scoring.loss": ("as_loss",),
    "liqe_jax.scoring.model": ("Model",),
    "liqe_jax.scoring.result": ("Failure", "QualityMap", "Score"),
    "liqe_jax.tasks": ("Attribute", "TaskSet"),
    "liqe_jax.weights.open": ("with_params",),
}
_HOMES = {name: module for module, names in _EXPORTED.items() for name in names}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604

if TYPE_CHECKING:
    from liqe_jax.errors import ImageError as ImageError
    from liqe_jax.errors import LiqeError as LiqeError
    from liqe_jax.errors import ModelError as ModelError
    from liqe_jax.errors import UsageError as UsageError
    from liqe_jax.exports.export import export as export
    from liqe_jax.images.preprocess import PRESETS as PRESETS
    from liqe_jax.images.preprocess import Preset as Preset
    from liqe_jax.model.predict import predict as predict
    from liqe_jax.scoring.load import load as load
    from liqe_jax.scoring.loss import as_loss as as_loss
    from liqe_jax.scoring.model import Model as Model
    from liqe_jax.scoring.result import Failure as Failure
    from liqe_jax.scoring.result import QualityMap as QualityMap
    from liqe_jax.scoring.result import Score as Score
    from liqe_jax.tasks import Attribute as Attribute
    from liqe_jax.tasks import TaskSet as TaskSet
    from liqe_jax.weights.open import with_params as with_params


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
