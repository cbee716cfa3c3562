"""The 25 distortions of KADID-10k at five levels, for training and for rank tests.

Needs OpenCV: pip install 'liqe_jax[synthetic]'.
"""

from liqe_jax.errors import UsageError

try:
    import cv2 as _cv2  # noqa: F401
except ImportError as error:
    raise UsageError(
        f"Synthetic distortions need OpenCV, which cannot be imported ({error}). "
        "Install it with: pip install 'liqe_jax[synthetic]'"
    ) from error

from liqe_jax.synthetic.distort import distort
from liqe_jax.synthetic.kinds import KINDS, LEVELS, Kind

__all__ = ["KINDS", "LEVELS", "Kind", "distort"]
