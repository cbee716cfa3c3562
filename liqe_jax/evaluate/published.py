"""Published results of LIQE and of other methods, shown next to measured results: `assets/published.csv`.

None of them was measured by this project.
"""

from __future__ import annotations

import csv
from typing import NamedTuple

from liqe_jax.evaluate.protocol import SESSION_PROTOCOL, WHOLE_PROTOCOL
from liqe_jax.markup import read_asset

LEADERBOARD = "public leaderboard"

# The methods that a reproduction should match.
BASELINES = ("Compare2Score", "ReLIQS")


class Published(NamedTuple):
    """One published result of a method on a test set: "srcc" or "plcc", the value as printed, and its source.

    Attributes:
      protocol: the protocol of this project that it can be compared with; "" if none matches.
      training: training data of the model; begins with "unknown" if the source does not state them.
      label: name of the test in the source, if it differs from the set's name.
    """

    method: str
    dataset: str
    protocol: str
    metric: str
    value: float
    source: str
    training: str
    label: str


def _published() -> list[Published]:
    rows = csv.DictReader(read_asset("published.csv").splitlines())
    return [Published(**{**row, "value": float(row["value"])}) for row in rows]  # type: ignore[arg-type]


def session_results() -> list[Published]:
    """Results on ten sessions of the six sets. The sources do not state whether they are means or medians."""
    return [row for row in _published() if row.protocol == SESSION_PROTOCOL and row.source != LEADERBOARD]


def leaderboard() -> list[Published]:
    """SRCC of LIQE on the public leaderboard, which does not state the training data."""
    return [row for row in _published() if row.source == LEADERBOARD]


def beside_whole_sets() -> list[Published]:
    """All published SRCC of LIQE on whole sets: leaderboard, training on KADID-10k alone, README of the reference."""
    return [row for row in _published() if row.protocol == WHOLE_PROTOCOL]
