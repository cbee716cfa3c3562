"""The report of a preparation: counts and problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Number of names that a message shows of a long list.
SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts and problems of one preparation.

    Attributes:
      name: name of the data set.
      stored: number of stored images.
      labelled: number of rows of the label files.
      expected: official number of rows, or None.
      missing: names of missing images.
      unreadable: name -> decoding error.
      anomalies: irregularities of the labels, one sentence each.
      resized, converted, made, reused: numbers of images that were downscaled, re-encoded, created from others,
        reused from an earlier run.
    """

    name: str
    stored: int
    labelled: int
    expected: int | None
    missing: Sequence[str] = ()
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    anomalies: Sequence[str] = ()
    resized: int = 0
    converted: int = 0
    made: int = 0
    reused: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return dataclasses.asdict(self)

    def problems(self, limit: int | None = SHOWN) -> str:
        """Missing and unreadable images by name, one per line; at most `limit` of each kind."""
        lines = []
        for title, names in (
            ("missing", list(self.missing)),
            ("unreadable", [f"{name}: {reason}" for name, reason in self.unreadable.items()]),
        ):
            if names:
                lines.append(f"{len(names)} {title}:")
                lines += [f"  {name}" for name in names[:limit]]
                if limit is not None and len(names) > limit:
                    lines.append(f"  ... and {len(names) - limit} more")
        return "\n".join(lines)

    def text(self) -> str:
        """The report as text."""
        expected = "" if self.expected is None else f" (official number: {self.expected})"
        kept = self.stored - self.resized - self.converted - self.made
        made = f", {self.made} created from photographs" if self.made else ""
        lines = [
            f"{self.name}: {self.stored} images stored; the label files have {self.labelled} rows{expected}.",
            f"  {kept} unchanged, {self.resized} downscaled to a short side of 768, {self.converted} re-encoded{made}; "
            f"{self.reused} reused from an earlier run.",
        ]
        if problems := self.problems():
            lines.append(problems)
        lines += [f"Note: {anomaly}" for anomaly in self.anomalies]
        return "\n".join(lines)
