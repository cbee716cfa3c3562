"""Finds the files of a data set below a folder; errors show the expected and the existing files."""

from __future__ import annotations

import os
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from liqe_jax.bounded_io import read_bytes
from liqe_jax.errors import DataError
from liqe_jax.locks import SUFFIX

# Created by archives and file managers; not part of a data set.
JUNK_FOLDERS = frozenset({"__MACOSX", "@eaDir"})

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
ARCHIVE_SUFFIXES = (".zip", ".rar", ".tar", ".tgz", ".gz", ".7z", ".z01")

# Entries of a folder that an error message shows.
SHOWN_ENTRIES = 25


class FileIndex:
    """Index of all files below a folder by the end of their paths, ignoring case.

    A path ends with another one if its last components are equal. So the folder may be that of the set, a
    parent or a sub-folder.
    """

    def __init__(self, root: str | os.PathLike, title: str = "the data set", tree: str = ""):
        """Walks through `root`; `title` and `tree` appear in errors."""
        self.root = Path(root).expanduser().absolute()
        self._title, self._tree = title, tree
        if not self.root.is_dir():
            raise DataError(f"No folder {self.root}. Give the folder that holds {title}.{self._expected()}")
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        walked: set[tuple[int, int]] = set()
        _is_new(self.root, walked)
        for folder, folders, files in os.walk(self.root, followlinks=True):
            folders[:] = sorted(f for f in folders if f not in JUNK_FOLDERS and not f.startswith("."))
            folders[:] = [f for f in folders if _is_new(Path(folder, f), walked)]
            for file in sorted(files):
                # Where --data-dir lies within the folder, the lock of this preparation is in it too.
                if not file.startswith(".") and not file.endswith(SUFFIX):
                    self._by_name[file.lower()].append(Path(folder, file))

    def all(self, end: str) -> list[Path]:
        """Files whose path ends with `end`: equal case first, then those closest to the root."""
        wanted = PurePosixPath(end).parts
        size, lower = len(wanted), [part.lower() for part in wanted]
        same_file = self._by_name.get(lower[-1], ())
        found = [path for path in same_file if [part.lower() for part in path.parts[-size:]] == lower]
        return sorted(found, key=lambda path: (path.parts[-size:] != wanted, len(path.parts), path))

    def find(self, ends: Iterable[str]) -> Path | None:
        """The first file that ends with one of `ends`, in their order.

        A file name without a folder must be unique or in the root, since originals and copies, or images of
        different sizes, can have the same names.
        """
        for end in ends:
            found = self.all(end)
            if found and ("/" in end or len(found) == 1 or found[0].parent == self.root):
                return found[0]
        return None

    def first(self, *ends: str) -> Path | None:
        """The label file that ends with one of `ends`, or None."""
        for end in ends:
            found = self.all(end)
            if len({read_bytes(path) for path in found}) > 1:
                shown = ", ".join(str(path.relative_to(self.root)) for path in found)
                raise DataError(
                    f"{len(found)} different files {end} below {self.root}: {shown}. Give a folder with one of them."
                )
            if found:
                return found[0]
        return None

    def require(self, *ends: str) -> Path:
        """Like `first`, but raises if there is no such file."""
        found = self.first(*ends)
        if found is None:
            raise self.missing(" or ".join(ends))
        return found

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Files with one of these lower-case suffixes, sorted."""
        return sorted(path for paths in self._by_name.values() for path in paths if path.suffix.lower() in suffixes)

    def missing(self, what: str) -> DataError:
        """The error for a missing file, with the expected and the existing files."""
        archives = [str(path.relative_to(self.root)) for path in self.with_suffix(*ARCHIVE_SUFFIXES)]
        hint = f"\nThere are archives that are not unpacked: {', '.join(archives[:6])}." if archives else ""
        if any(name.lower().endswith(".rar") for name in archives):
            hint += " For RAR archives use unrar x, 7z x or bsdtar -xf."
        return DataError(f"No {what} for {self._title} below {self.root}.{hint}{self._expected()}\n{self.describe()}")

    def _expected(self) -> str:
        return f"\nExpected:\n{textwrap.indent(self._tree, '  ')}" if self._tree else ""

    def describe(self) -> str:
        """Describes the existing files: the upper folders, with the number of files by type."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for paths in self._by_name.values():
            for path in paths:
                below = path.relative_to(self.root)
                folder = "/".join(below.parts[:-1][:2])
                counts[folder][path.name if not folder else (path.suffix or "(no suffix)")] += 1
        if not counts:
            return "Found: no files at all."
        lines = []
        for folder, kinds in sorted(counts.items()):
            if folder:
                lines.append(f"{folder}/  " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(4)))
            else:
                lines += sorted(kinds)
        more = [f"... and {len(lines) - SHOWN_ENTRIES} more"] if len(lines) > SHOWN_ENTRIES else []
        return "Found:\n" + textwrap.indent("\n".join(lines[:SHOWN_ENTRIES] + more), "  ")


def _is_new(folder: Path, walked: set[tuple[int, int]]) -> bool:
    """Whether a folder has not been walked through: links can form a ring, and two of them take exponential time."""
    try:
        status = folder.stat()
    except OSError:
        return False
    known = (status.st_dev, status.st_ino)
    is_new = known not in walked
    walked.add(known)
    return is_new
