"""What the user named, as image paths in a fixed order."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Set

from liqe_jax.errors import UsageError
from liqe_jax.images.unread import HEIC_SUFFIXES, RAW_SUFFIXES, SUFFIXES, UNREAD_SUFFIXES, reads_heic
from liqe_jax.scoring.result import Failure

# What sub-folders are counted under, beside suffixes, which begin with a dot.
FOLDERS = "folders"


def expand(
    arguments: Iterable[str], recursive: bool, passed: Counter[str] | None = None, raw_previews: bool = False
) -> Iterator[str | Failure]:
    """Image paths in files, folders, patterns and, for "-", in a list on standard input.

    Folders are listed in alphabetical order, files before sub-folders. Folders and patterns with `**` are searched by
    suffix; a file that is named, or found by another pattern, is always tried. What leads to nothing is a `Failure` in
    its place. `passed` counts by suffix the photographs in folders that are of kinds that are not read, and, under
    `FOLDERS`, the sub-folders that are not looked into.
    """
    passed = Counter() if passed is None else passed
    wanted = SUFFIXES | (HEIC_SUFFIXES if reads_heic() else set()) | (RAW_SUFFIXES if raw_previews else set())
    for argument in arguments:
        if argument == "-":
            yield from _listed()
        elif os.path.isdir(argument):
            yield from _in_folder(argument, recursive, passed, wanted)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            found = sorted(glob.glob(argument, recursive=True))
            if not found:
                yield Failure(argument, "No file matches this pattern.")
            everything = "**" in argument  # finds folders and what is in them, whatever that is
            for path in found:
                if os.path.isdir(path):
                    yield from () if everything else _in_folder(path, recursive, passed, wanted)
                elif not everything or _is_wanted(path, passed, wanted):
                    yield path
        else:
            yield argument


def _listed() -> Iterator[str]:
    """Paths on standard input, one a line; they may be no UTF-8."""
    if sys.stdin is None:
        raise UsageError("There is no standard input to read a list from. Name files or folders.")
    lines = getattr(sys.stdin, "buffer", sys.stdin)
    for line in lines:
        path = (os.fsdecode(line) if isinstance(line, bytes) else line).rstrip("\r\n")
        if path:
            yield path


def _is_wanted(name: str, passed: Counter[str], wanted: Set[str]) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in UNREAD_SUFFIXES and suffix not in wanted:
        passed[suffix] += 1
    return suffix in wanted


def passed_over(passed: Counter[str]) -> str:
    """Sentences on what `expand` counted; "" where it is nothing."""
    said = []
    suffixes = {suffix: count for suffix, count in sorted(passed.items()) if suffix != FOLDERS}
    if suffixes:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.items())
        said.append(f"Passed over, since such files are not read: {kinds}.")
        if any(suffix in HEIC_SUFFIXES for suffix in suffixes):
            said.append("pip install 'liqe_jax[heic]' reads HEIC.")
        if any(suffix in RAW_SUFFIXES for suffix in suffixes):
            said.append("--raw-previews scores raw files' previews.")
        said.append("Or export them as JPEG.")
    if count := passed[FOLDERS]:
        folders = "1 sub-folder was" if count == 1 else f"{count} sub-folders were"
        said.append(f"{folders} left out: add --recursive to look into sub-folders.")
    return " ".join(said)


def _in_folder(folder: str, recursive: bool, passed: Counter[str], wanted: Set[str]) -> Iterator[str | Failure]:
    waiting = [folder]  # not by recursion: folders can be nested in more levels than Python calls functions
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(((entry.name, _is_folder(entry)) for entry in entries), key=lambda entry: entry[0])
        except OSError as error:
            yield Failure(folder, f"Cannot list the folder: {error.strerror or error}. Check its permissions.")
            continue
        for name, is_folder in listed:
            if not is_folder and _is_wanted(name, passed, wanted):
                yield os.path.join(folder, name)
        paths = [os.path.join(folder, name) for name, is_folder in listed if is_folder]
        inside = [path for path in paths if not os.path.islink(path)]  # links to folders can form a ring
        if recursive:
            waiting += reversed(inside)
        elif inside:
            passed[FOLDERS] += len(inside)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one: the row of this entry says so, and the others are listed
        return False
