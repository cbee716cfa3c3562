"""The model inside the package."""

from __future__ import annotations

from pathlib import Path

from liqe_jax import assets

EMBEDDED = "liqe_nano"

# What a user of it should know, in a line.
ABOUT = (
    "liqe_nano, the small model inside the package: trained on 1,162 photographs with MOS and on synthetic "
    "distortions. LIQE's own weights are a larger model, trained on six data sets (--model liqe_mix fetches them)."
)


def embedded_folder() -> Path:
    """Where the embedded model lies, in our own format."""
    return Path(str(assets.__path__[0])) / EMBEDDED
