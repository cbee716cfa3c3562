"""Orders and selects results, and puts the photographs they belong to where photo managers find them."""

from __future__ import annotations

import heapq
import os
import shutil
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liqe_jax.cli.writers import PERCENTILE, value_of
from liqe_jax.errors import UsageError

# https://developer.adobe.com/xmp/docs/XMPNamespaces/xmp/: Rating is a whole number of stars.
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{stars}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>
"""


def arrange(
    rows: Iterable[dict[str, Any]], sort: str | None, descending: bool, worst: int | None, percentile: bool
) -> list[dict[str, Any]]:
    """Rows in the order asked for; those of images without a score come last.

    With `worst`, all but that number of rows with the lowest quality are dropped as they come. With `percentile`, rows
    get the percentage of the images that have a lower quality, plus half of those with the same.
    """
    failed: list[dict[str, Any]] = []
    qualities = array("d")

    def scored() -> Iterable[dict[str, Any]]:
        for row in rows:
            if "error" in row:
                failed.append(row)
                continue
            if worst or percentile:
                qualities.append(_quality(row))
            yield row

    kept = heapq.nsmallest(worst, scored(), key=_quality) if worst else [*scored()]
    if percentile:
        everything = np.sort(np.asarray(qualities))
        for row in kept:
            below, up_to = (np.searchsorted(everything, row["quality"], side) for side in ("left", "right"))
            row[PERCENTILE] = float(50 * (below + up_to) / len(everything))
    if sort:
        if kept and not isinstance(value_of(kept[0], sort), (int, float, str)):
            raise UsageError(f"Cannot sort by {sort!r}: expected a field with a number or a text, such as quality.")
        kept.sort(key=lambda row: value_of(row, sort), reverse=descending)
    return kept + failed


def _quality(row: dict[str, Any]) -> float:
    quality = row.get("quality")
    if not isinstance(quality, float):
        raise UsageError("--worst and --percentile need a quality that is a number; this model predicts none.")
    return quality


def gather(rows: Sequence[dict[str, Any]], folder: Path, link: bool) -> None:
    """Copies or links the photographs into a folder that exists, their names preceded by rank and quality."""
    try:
        for rank, row in enumerate(rows, start=1):
            source = Path(row["image"]).absolute()
            target = folder / f"{rank:0{len(str(len(rows)))}}_{row['quality']:.2f}_{source.name}"
            if os.path.lexists(target):
                raise UsageError(f"{target} exists. Give an empty folder.")
            if link:
                target.symlink_to(source)
            else:
                shutil.copy2(source, target)
    except OSError as error:
        raise UsageError(f"Cannot write to {folder}: {error.strerror or error}.") from error


def write_rating(row: dict[str, Any]) -> bool:
    """Writes IMAGE.xmp, with the quality as 1 to 5 stars; returns False if there is one, which is kept.

    darktable and digiKam read sidecar files of this name.
    """
    stars = min(max(round(_quality(row)), 1), 5)
    try:
        with open(f"{row['image']}.xmp", "x", encoding="utf-8") as file:
            file.write(_XMP.format(stars=stars))
    except FileExistsError:
        return False
    return True
