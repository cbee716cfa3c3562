"""Published results of LIQE and of other methods, shown next to measured results.

None of them was measured by this project. `training` states the training data, or `UNKNOWN`.
"""

from __future__ import annotations

from typing import NamedTuple

from liqe_jax.evaluate.protocol import OFFICIAL_PROTOCOL, SESSION_PROTOCOL, SIX_SETS, WHOLE_PROTOCOL

UNKNOWN = "unknown"
SIX = "the six sets together"

# No protocol of this project matches the published result.
NO_PROTOCOL = ""


class Published(NamedTuple):
    """One published result.

    Attributes:
      method: name of the method.
      dataset: name of the test set.
      protocol: the protocol of this project that it can be compared with, or `NO_PROTOCOL`.
      metric: "srcc" or "plcc".
      value: as printed.
      source: the publication.
      training: training data of the model, or `UNKNOWN`.
      label: name of the test in the source, if it differs from the set's name.
    """

    method: str
    dataset: str
    protocol: str
    metric: str
    value: float
    source: str
    training: str
    label: str = ""


RELIQS = "ReLIQS, Table 2 (arXiv 2608.01730)"
RELIQS_AND_LODA = f"{RELIQS}; LoDa, Table 1 (CVPR 2024)"

_SESSION_RESULTS = {
    ("LIQE", "srcc"): (0.970, 0.936, 0.930, 0.875, 0.904, 0.919),
    ("LIQE", "plcc"): (0.951, 0.939, 0.931, 0.900, 0.910, 0.908),
    ("Compare2Score", "srcc"): (0.972, 0.950, 0.952, 0.919, 0.914, 0.931),
    ("ReLIQS", "srcc"): (0.978, 0.944, 0.948, 0.914, 0.921, 0.944),
    ("Q-Align", "srcc"): (0.913, 0.915, 0.869, 0.904, 0.931, 0.935),
    ("UNIQUE", "srcc"): (0.961, 0.902, 0.884, 0.852, 0.854, 0.895),
}

# LoDa's table has the same results for LIQE on these sets.
_TWICE = ("LIVE", "KADID-10k", "CLIVE", "KonIQ-10k")

# The methods that a reproduction should match.
BASELINES = ("Compare2Score", "ReLIQS")


def session_results() -> tuple[Published, ...]:
    """Results on ten sessions of the six sets. The sources do not state whether they are means or medians."""
    return tuple(
        Published(
            method,
            dataset,
            SESSION_PROTOCOL,
            metric,
            value,
            RELIQS_AND_LODA if method == "LIQE" and dataset in _TWICE else RELIQS,
            SIX if method == "LIQE" else UNKNOWN,
        )
        for (method, metric), values in _SESSION_RESULTS.items()
        for dataset, value in zip(SIX_SETS, values, strict=True)
    )


def leaderboard() -> tuple[Published, ...]:
    """SRCC of LIQE on the public leaderboard, which does not state the training data."""
    seen_in_six = f"{UNKNOWN}; not the six sets, which include it"
    equals_six = f"{UNKNOWN}; equal to the result of {SIX}"
    rows = (
        ("SPAQ", WHOLE_PROTOCOL, 0.83, UNKNOWN, "SPAQ"),
        ("AGIQA-3K", WHOLE_PROTOCOL, 0.653, f"{UNKNOWN}; equal to the result of KADID-10k alone", "AGIQA-3K"),
        ("CSIQ", SESSION_PROTOCOL, 0.936, equals_six, "CSIQ (test)"),
        ("KonIQ-10k", WHOLE_PROTOCOL, 0.813, seen_in_six, "KonIQ-10k"),
        ("PIPAL", WHOLE_PROTOCOL, 0.446, UNKNOWN, "PIPAL"),
        ("KADID-10k", WHOLE_PROTOCOL, 0.809, seen_in_six, "KADID"),
        ("KADID-10k", SESSION_PROTOCOL, 0.93, equals_six, "KADID-10k (test)"),
        ("KonIQ-10k", OFFICIAL_PROTOCOL, 0.928, f"{UNKNOWN}; the test split is not stated", "KonIQ-10k (test)"),
        ("FLIVE", WHOLE_PROTOCOL, 0.277, UNKNOWN, "FLIVE"),
        ("AGIQA-3K", NO_PROTOCOL, 0.708, f"{UNKNOWN}; the split is not stated", "AGIQA-3K (test)"),
    )
    return tuple(
        Published("LIQE", dataset, protocol, "srcc", value, "public leaderboard", training, label)
        for dataset, protocol, value, training, label in rows
    )


def beside_whole_sets() -> tuple[Published, ...]:
    """All published SRCC of LIQE on whole sets: leaderboard, training on KADID-10k alone, README of the reference."""
    on_kadid = {"BID": 0.677, "CLIVE": 0.719, "KonIQ-10k": 0.684, "SPAQ": 0.815, "AGIQA-3K": 0.653}
    rows = [(name, value, "arXiv 2505.14460, Table 2", "KADID-10k alone") for name, value in on_kadid.items()]
    rows.append(("AGIQA-3K", 0.7212, "README of zwx8981/LIQE", f"{UNKNOWN}; probably {SIX}"))
    return (
        *(row for row in leaderboard() if row.protocol == WHOLE_PROTOCOL),
        *(
            Published("LIQE", name, WHOLE_PROTOCOL, "srcc", value, source, training)
            for name, value, source, training in rows
        ),
    )
