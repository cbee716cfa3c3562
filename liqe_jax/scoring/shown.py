"""What of a result people are shown: a distortion only where the quality says that there is one.

LIQE has no label "undistorted", so every photograph gets a likeliest distortion. `web/page.js` repeats the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liqe_jax.tasks import Attribute

NONE_STANDS_OUT = "none stands out"

# Where the upper end of the scale begins, as a share of it: 3.5 of LIQE's 1 to 5, the nearest level being "good".
_GOOD = 0.625


def shown_label(row: Mapping[str, Any], attribute: str, attributes: Sequence[Attribute]) -> str:
    """The likeliest label of an attribute in `row`, a result of `Score.to_dict`; `attributes` are all of the model's.

    For `distortion` it is `NONE_STANDS_OUT` where the quality is 3.5 or more on LIQE's scale, or where the likeliest
    distortion has less than half of the probability.
    """
    label = str(row[attribute])
    if attribute != "distortion":
        return label
    scale = next((a.values for a in attributes if a.name == "quality" and a.values is not None), None)
    good = scale is not None and row["quality"] >= min(scale) + _GOOD * (max(scale) - min(scale))
    return NONE_STANDS_OUT if good or row["distortion_probs"][label] < 0.5 else label
