"""From what the user names to a list of shards, in a fixed order."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from liqe_jax.errors import UnreadableError, UsageError
from liqe_jax.messages import printable
from liqe_jax.scale.files import find_file_system, is_image, is_local, join, name_of, reason_of

TARS = (".tar", ".tar.gz", ".tgz")
PARQUET = (".parquet",)
LISTS = (".txt",)

# Images of a shard that is cut from a folder or a list; common tools put as many into a tar.
IMAGES_PER_SHARD = 10_000

_MAGIC = re.compile(r"[*?\[]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of parquet files: of bytes, paths, URLs or structs of `bytes` and `path`; of keys, else row numbers."""

    image: str = "image"
    key: str = "key"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of the input with an output file of its own.

    Attributes:
      name: the output is NAME.parquet.
      url: the tar or parquet file; of a list, the folder that relative paths start from.
      kind: "tar", "parquet" or "list".
      paths: of a list; each is the key of its row.
      columns: of a parquet file.
    """

    name: str
    url: str
    kind: str
    paths: tuple[str, ...] = ()
    columns: Columns = Columns()

    @property
    def source(self) -> str:
        """What the rows depend on, for comparison with the shard of an earlier run."""
        if self.kind == "parquet":
            return f"{self.url} (columns {self.columns.image}, {self.columns.key})"
        if self.kind == "list":
            digest = hashlib.sha256("\n".join(self.paths).encode("utf-8", "surrogateescape")).hexdigest()[:12]
            return f"{self.url} ({len(self.paths)} images, {digest})"
        return self.url

    def to_json(self) -> str:
        """All fields, for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """The shard that `to_json` describes."""
        fields = json.loads(text)
        return cls(**{**fields, "paths": tuple(fields["paths"]), "columns": Columns(**fields["columns"])})


def find_shards(
    inputs: Sequence[str],
    *,
    columns: Columns | None = None,
    images_per_shard: int = IMAGES_PER_SHARD,
) -> list[Shard]:
    """The shards of some inputs.

    Args:
      inputs: tars, parquet files, folders of images (searched with their sub-folders) and .txt files with a path or URL
        on each line; paths or URLs, with braces (`{00000..00041}`, `{a,b}`) and patterns. Relative paths in lists and
        parquet files start from the folder of that file.

    Raises:
      UsageError: an input leads to nothing, or two shards have one name.
    """
    shards: list[Shard] = []
    for url in itertools.chain.from_iterable(_expanded(each) for each in inputs):
        lower = name_of(url).lower()
        stem = name_of(url)
        if suffix := next((s for s in TARS if lower.endswith(s)), None):
            shards.append(Shard(stem[: -len(suffix)], url, "tar"))
        elif lower.endswith(PARQUET):
            shards.append(Shard(stem[: -len(PARQUET[0])], url, "parquet", columns=columns or Columns()))
        elif lower.endswith(LISTS):
            lines = _lines(url)
            shards += _cut(stem[: -len(LISTS[0])], posixpath.dirname(url), lines, images_per_shard)
        else:
            shards += _cut(stem, url, _in_folder(url), images_per_shard)
    twice = [name for name, count in Counter(shard.name for shard in shards).items() if count > 1]
    if twice:
        raise UsageError(
            f"{len(twice)} names of shards occur more than once, such as {printable(twice[0])}, and each shard writes "
            "NAME.parquet. Score them in runs of their own, with other folders for --output."
        )
    return shards


def _expanded(argument: str) -> Iterator[str]:
    """Absolute paths or URLs of one input, without braces and patterns."""
    for pattern in _without_braces(argument):
        fs, path = find_file_system(pattern)
        try:
            is_pattern = bool(_MAGIC.search(path)) and not fs.exists(path)
            found = sorted(fs.glob(path)) if is_pattern else [path]
        except Exception as error:  # each file system has errors of its own
            raise UsageError(f"Cannot list {printable(pattern)}: {reason_of(error)}") from error
        if not found:
            raise UsageError(f"No file matches {printable(pattern)}.")
        for each in found:
            # As it was named, where it is not found by a pattern: a URL can be a chain of file systems.
            yield each if is_local(fs) else fs.unstrip_protocol(each) if is_pattern else pattern


def _without_braces(pattern: str) -> Iterator[str]:
    """Braces as in a shell: `{a,b}`, and `{000..041}`, whose numbers have leading zeros where the first has."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    if numbers := _RANGE.fullmatch(match[1]):
        first, last = numbers.groups()
        parts = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    else:
        parts = match[1].split(",")
    for part in parts:
        yield from _without_braces(pattern[: match.start()] + part + pattern[match.end() :])


def _lines(url: str) -> list[str]:
    fs, path = find_file_system(url)
    try:
        with fs.open(path, "rb") as file:
            lines = [os.fsdecode(line).rstrip("\r\n") for line in file]
    except Exception as error:  # each file system has errors of its own
        raise UnreadableError(f"Cannot read the list {printable(url)}: {reason_of(error)}") from error
    found = [line for line in lines if line]
    if not found:
        raise UsageError(f"The list {printable(url)} is empty. Expected a path or URL on each line.")
    return found


def _in_folder(url: str) -> list[str]:
    """Paths of a folder's images, relative to it, sorted."""
    fs, path = find_file_system(url)
    try:
        if not fs.isdir(path):
            raise UsageError(
                f"{printable(url)} is not a folder, a tar ({', '.join(TARS)}), a parquet file or a list (.txt). Check "
                "the path."
            )
        found = [posixpath.relpath(each, path) for each in fs.find(path)]
    except UsageError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise UsageError(f"Cannot list {printable(url)}: {reason_of(error)}") from error
    images = sorted(each for each in found if is_image(each))
    if not images:
        pattern = next((f"*{s}" for s in (*TARS, *PARQUET) if any(each.endswith(s) for each in found)), None)
        advice = f"It has shards: name them with a pattern, '{join(url, pattern)}'." if pattern else "Check the path."
        raise UsageError(f"No images in {printable(url)}. {advice}")
    return images


def _cut(name: str, folder: str, paths: list[str], images: int) -> list[Shard]:
    starts = range(0, len(paths), images)
    digits = max(5, len(str(len(starts))))
    return [
        Shard(f"{name}-{number:0{digits}d}", folder, "list", tuple(paths[start : start + images]))
        for number, start in enumerate(starts)
    ]
