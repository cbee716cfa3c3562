"""What a builder knows of a data set: where it comes from, how it lies on disk, how its labels are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.errors import DataError
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
class Option:
    """A setting of `liqe data prepare` that a data set declares for itself.

    Attributes:
      name: its key in the options of `prepare`; on the command line `mos_range` is `--mos-range`.
      help: one line for `liqe data prepare --help`.
      default: its value where it is not given.
      parse: converts one word of the command line.
      words: the number of words on the command line; 0 for a switch, "+" for one or more.
      metavar: what the help shows for the words.
    """

    name: str
    help: str
    default: Any = None
    parse: Callable[[str], Any] = str
    words: int | str = 1
    metavar: str | tuple[str, ...] | None = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")


# Option name -> value, for every option of a set.
Options = Mapping[str, Any]

LIQE_LABELS = Option("labels", "checkout of zwx8981/LIQE (default: look below D)", parse=Path, metavar="LIQE")


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
      options: settings that `liqe data prepare` takes for this set.
      command: options in the example of the set's page.
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
    options: tuple[Option, ...] = ()
    command: str = ""

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every option of this set: the given one, or else its default.

        Raises:
          DataError: the set does not have one of the given options.
        """
        own = {option.name: option for option in self.options}
        if unknown := [name for name in given if name not in own]:
            has = ", ".join(option.flag for option in self.options) or "no options of its own"
            raise DataError(f"{self.name} does not take {Option(unknown[0], '').flag}. It takes {has}.")
        return {name: given.get(name, option.default) for name, option in own.items()}

    def category(self, raw_distortion: str) -> str:
        """The category of a raw distortion in `taxonomy.DISTORTION`, "" where there is none."""
        return CATEGORY_OF_RAW_DISTORTION.get(raw_distortion) or self.categories.get(raw_distortion, "")
