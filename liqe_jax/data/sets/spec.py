"""What a builder knows of a data set: where it comes from, how it lies on disk, how its labels are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION

# LIQE's own sets have ten sessions; a set without any has only the split "all".
SESSIONS = tuple(str(session) for session in range(1, 11))

# Makes an image from a file and the image's name.
Make = Callable[[Path, str], UInt8[np.ndarray, "H W 3"]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of a data set as its label files describe it.

    Attributes:
      name: unique in the set, relative to its folder, as LIQE's label files or the official ones write it.
      mos: opinion score, higher is better.
      raw_distortion: the set's own name of the distortion, "" where it has none.
      scenes: labels of `taxonomy.SCENE`; empty where nobody said.
      reference: id of the pristine original, "" where there is none.
      parts: split name -> "train", "val" or "test".
    """

    name: str
    mos: float
    raw_distortion: str = ""
    scenes: tuple[str, ...] = ()
    reference: str = ""
    parts: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user can choose when a set is prepared.

    Attributes:
      liqe_labels: a checkout of zwx8981/LIQE, for the labels of its six sets. None looks below the
        manual directory and goes without where nothing is there.
      fix_live_fastfading: give LIVE's fast-fading images their own distortion and scenes.
      table: `folder_csv` only: the CSV file; None takes the only one there is.
      mos_range: `folder_csv` only: lowest and highest possible score; None takes those that occur.
      kinds, levels: `synthetic` only: which distortions (1..25), how strong (1..5); None takes all.
      seed: `synthetic` only: of the distortions and the sessions.
    """

    liqe_labels: Path | None = None
    fix_live_fastfading: bool = False
    table: Path | None = None
    mos_range: tuple[float, float] | None = None
    kinds: tuple[int, ...] | None = None
    levels: tuple[int, ...] | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Labels:
    """Everything that the label files say.

    Attributes:
      rows: in the order of the label files.
      anomalies: what a user of the labels should know, one sentence each.
      mos_range: where the set itself, not its description, decides on it.
    """

    rows: Sequence[Row]
    anomalies: tuple[str, ...] = ()
    mos_range: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class DataSetSpec:
    """A data set; its page in docs/datasets is made from this.

    Attributes:
      name: as results and provenance call it, such as "KADID-10k".
      slug: in commands and folders, such as "kadid10k".
      title: full name and publication.
      count: official number of rows; None for folders of one's own.
      url: where to get it.
      terms: licence or conditions, and what is not known about them.
      tree: the expected files, as drawn in the error about a wrong folder.
      mos_range: lowest and highest score of the scale, after `score` was applied.
      score: how the MOS here follows from the official label.
      liqe: what LIQE does with the set.
      quirks: oddities and what is done about them.
      read: (files, options) -> labels.
      places: image name -> further relative paths to look at, after the name itself.
      liqe_folder: of the set in LIQE's IQA_Database; "" where LIQE has no labels for it.
      liqe_prefix: of its label files' names.
      maker: options -> (file, image name -> pixels), where images are not read but made from the files
        that `places` names; None where they are read.
      categories: raw distortion -> category, besides LIQE's own map.
      command: options that `liqe data prepare` should be given.
    """

    name: str
    slug: str
    title: str
    count: int | None
    url: str
    terms: str
    tree: str
    mos_range: tuple[float, float]
    score: str
    liqe: str
    quirks: tuple[str, ...]
    read: Callable[[FileIndex, Options], Labels]
    places: Callable[[str], Sequence[str]] = lambda name: (name.rsplit("/", 1)[-1],)
    maker: Callable[[Options], Make] | None = None
    liqe_folder: str = ""
    liqe_prefix: str = ""
    categories: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    command: str = ""

    def category(self, raw_distortion: str) -> str:
        """The category of a raw distortion in `taxonomy.DISTORTION`, "" where there is none."""
        return CATEGORY_OF_RAW_DISTORTION.get(raw_distortion) or self.categories.get(raw_distortion, "")
