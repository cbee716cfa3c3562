"""The arrays that functions take."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array

# Functions take NumPy's arrays too; they return JAX's.
AnyArray = Array | np.ndarray
