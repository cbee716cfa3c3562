"""Description of a data set: source, layout on disk, label reader, options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from liqe_jax.data.sets.files import FileIndex
from liqe_jax.errors import DataError
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION

# LIQE's six sets have ten sessions; other sets have official sessions, your own ones or none.
SESSIONS = tuple(str(session) for session in range(1, 11))

# Creates an image from a file and the image's name.
Maker = Callable[[Path, str], UInt8[np.ndarray, "H W 3"]]


@dataclasses.dataclass(frozen=True)
class Row:
    """The labels of one image of a data set.

    Attributes:
      name: unique path relative to the set's folder, as in LIQE's or the official label files.
      mos: mean opinion score, higher is better.
      raw_distortion: the set's name of the distortion, or "".
      scenes: labels of `taxonomy.SCENE`; empty if unknown.
      reference: id of the pristine original, or "".
      splits: session -> "train", "val" or "test".
    """

    name: str
    mos: float
    raw_distortion: str = ""
    scenes: tuple[str, ...] = ()
    reference: str = ""
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting of `liqe data prepare` that a data set declares for itself.

    Attributes:
      name: its key in the options of `prepare`; on the command line `mos_range` is `--mos-range`.
      help: one line for `liqe data prepare --help`.
      default: value if the option is not given.
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
class SetLabels:
    """All labels of a data set.

    Attributes:
      rows: images in the order of the label files.
      anomalies: irregularities of the labels, one sentence each.
      mos_range: lowest and highest possible MOS, if it depends on the user's data; None uses that of the spec.
    """

    rows: Sequence[Row]
    anomalies: tuple[str, ...] = ()
    mos_range: Sequence[float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSetSpec:
    """Description of a data set; its page in docs/datasets has more about its labels and irregularities.

    Attributes:
      name, title: name in results and provenance, such as "KADID-10k"; full name and publication.
      slug: name in commands, folders and LIQE's label files, such as "kadid10k".
      aliases: other names that differ by more than case and punctuation, without both.
      count: official number of images; None for the user's own data.
      url, licence: download page, and licence or terms of use, as far as they are known.
      tree: expected files, shown in errors about missing files.
      mos_range: lowest and highest possible MOS, higher is better.
      label_file: official label file of a set with LIQE's labels.
      liqe: the set's folder in LIQE's IQA_Database; "" if LIQE has no label files for it.
      liqe_tolerance: largest difference between LIQE's and the official MOS that is due to rounding.
      search: relative paths to search for an image after its name itself; {name} stands for the name, {file} for its
        last component, {parent} for the path before that, and {folder} for the last component of that.
      reference_until: character before which the file names have the id of the pristine original; "" if they have none.
      categories: raw distortion -> category, in addition to LIQE's map.
      command: options in the example of the set's page.
      read: (description, files, options) -> official labels; missing and malformed files are a `DataError`. If the
        official file is missing, sets with LIQE's labels give no rows.
      finish: (rows, files, options) -> rows and notes, after LIQE's labels have been added.
      maker: options -> function of a file and an image name that returns pixels, for images that are created from
        the files that `search` names; None for images that are read.
      options: settings that `liqe data prepare` takes for this set; sets with LIQE's labels have `LIQE_LABELS` too.
    """

    name: str
    slug: str
    aliases: Sequence[str] = ()
    title: str
    count: int | None = None
    url: str = ""
    licence: str
    tree: str
    mos_range: Sequence[float]
    label_file: str = ""
    liqe: str = ""
    liqe_tolerance: float = 0.0
    search: Sequence[str] = ("{file}",)
    reference_until: str = ""
    categories: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    command: str = ""
    read: Callable[[DataSetSpec, FileIndex, Options], SetLabels]
    finish: Callable[[list[Row], FileIndex, Options], tuple[list[Row], list[str]]] | None = None
    maker: Callable[[Options], Maker] | None = None
    options: tuple[Option, ...] = ()

    def places(self, name: str) -> list[str]:
        """Relative paths to search for an image."""
        path = PurePosixPath(name)
        parts = {"name": name, "file": path.name, "parent": str(path.parent), "folder": path.parent.name}
        return [name, *(place.format(**parts) for place in self.search)]

    def reference(self, name: str) -> str:
        """The id of the pristine original in the name of an image, or ""."""
        return PurePosixPath(name).name.split(self.reference_until)[0] if self.reference_until else ""

    def summary(self) -> str:
        """What `liqe data list NAME` prints: source, licence, expected files, and the command that prepares the set."""
        low, high = self.mos_range
        facts = [
            f"Images: {self.count:,}. MOS: {low:g} to {high:g}, higher is better." if self.count else "",
            f"Source: {self.url}" if self.url else "",
            f"Licence: {self.licence}",
            f"LIQE's labels: IQA_Database/{self.liqe}/splits2" if self.liqe else "",
        ]
        own = "--labels LIQE" if self.liqe else self.command
        command = f"liqe data prepare {self.slug} --manual-dir D --data-dir O {own}".rstrip()
        return "\n".join([f"{self.name}: {self.title}.", *filter(None, facts), "", self.tree, "", command])

    @property
    def all_options(self) -> tuple[Option, ...]:
        """All settings that `liqe data prepare` takes for this set."""
        return (LIQE_LABELS, *self.options) if self.liqe else self.options

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every option of this set: the given one, or else its default.

        Raises:
          DataError: the set does not have one of the given options.
        """
        own = {option.name: option for option in self.all_options}
        if unknown := [name for name in given if name not in own]:
            has = ", ".join(option.flag for option in self.all_options) or "no options of its own"
            raise DataError(f"{self.name} does not take {Option(unknown[0], '').flag}. It takes {has}.")
        return {name: given.get(name, option.default) for name, option in own.items()}

    def category(self, raw_distortion: str) -> str:
        """The category of a raw distortion in `taxonomy.DISTORTION`, or "" if it has none."""
        return CATEGORY_OF_RAW_DISTORTION.get(raw_distortion) or self.categories.get(raw_distortion, "")
