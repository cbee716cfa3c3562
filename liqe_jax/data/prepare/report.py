"""What preparation did, and what it found wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# How many names a message shows of a long list.
SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts and names of one preparation.

    Attributes:
      name: of the data set.
      stored: images that were stored.
      labelled: rows of the label files.
      expected: official number of rows; None where there is none.
      missing: names of images that are not there.
      unreadable: name -> why it could not be decoded.
      anomalies: of the labels, a sentence each.
      resized, converted, made, reused: images that were shrunk, re-encoded, made from others, known
        from an earlier attempt.
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
        """Missing and unreadable images by name, a line each; at most `limit` of either kind."""
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
        """The report as it is printed."""
        expected = "" if self.expected is None else f" (officially {self.expected})"
        kept = self.stored - self.resized - self.converted - self.made
        made = f", {self.made} made from photographs" if self.made else ""
        lines = [
            f"{self.name}: {self.stored} images stored; the label files have {self.labelled} rows{expected}.",
            f"  {kept} as they were, {self.resized} shrunk to a short side of 768, {self.converted} re-encoded{made}; "
            f"{self.reused} known from an earlier attempt.",
        ]
        if problems := self.problems():
            lines.append(problems)
        lines += [f"Note: {anomaly}" for anomaly in self.anomalies]
        return "\n".join(lines)
