"""The images of a shard, one after the other, whatever kind of shard it is. Shards are streamed and never unpacked."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import tarfile
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from liqe_jax.bounded_io import most_bytes
from liqe_jax.errors import UnreadableError, UsageError
from liqe_jax.images.stream import map_ahead
from liqe_jax.messages import printable, storable
from liqe_jax.scale.files import REQUESTS, is_image, join, open_shard, read_image, reason_of, too_large
from liqe_jax.scale.shards import Columns, Shard

# Rows of a parquet file that are in memory at a time; images are large.
_ROWS = 16

# Types of headers that hold the name, or other properties, of the member after them, and their bytes at most.
_OF_NAMES, _LONGEST_NAME = b"LKxgX", 1 << 20


class Sample(NamedTuple):
    """An image of a shard.

    Attributes:
      key: unique in its shard, if the input is as it should be.
      image: encoded; empty where there is a `problem`.
      warnings: what a reader of the row should know.
      sha256: of the encoded image, hexadecimal.
    """

    key: str
    image: bytes = b""
    problem: str = ""
    warnings: tuple[str, ...] = ()
    sha256: str | None = None


@dataclasses.dataclass
class Reading:
    """Counts by suffix of a tar's files that are not images, and why reading ended before the end, "" if not."""

    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    fault: str = ""


def read_samples(shard: Shard, reading: Reading) -> Iterator[Sample]:
    """The images of a shard in order; an image that cannot be read is a `Sample` with a problem.

    Where the shard breaks, the images end, and `reading`, which is final then, says why. It is not an exception, since
    the images that were read before are still on their way to the devices.
    """
    if shard.kind == "tar":
        return _in_tar(shard.url, reading)
    if shard.kind == "parquet":
        cells, folder = _in_parquet(shard.url, shard.columns, reading), os.path.dirname(shard.url)
    else:
        cells, folder = ((path, path) for path in shard.paths), shard.url
    return map_ahead(lambda cell: of_cell(*cell, folder), cells, REQUESTS, 2 * REQUESTS)


def read_ahead(samples: Iterator[Sample], most: int) -> Generator[Sample]:
    """The samples, taken on a thread, at most `most` before their turn; an error surfaces at its sample."""
    for sample in map_ahead(lambda _: next(samples, None), itertools.repeat(None), 1, most):
        if sample is None:
            return
        yield sample


def _sample(key: str, image: bytes, warnings: tuple[str, ...] = ()) -> Sample:
    # Parquet holds UTF-8.
    return Sample(storable(key), image, "", warnings, hashlib.sha256(image).hexdigest())


class _Header(tarfile.TarInfo):
    """A member's header; `tarfile` by itself takes a broken one for the end of the archive."""

    @classmethod
    def frombuf(cls, *block: Any) -> _Header:
        header = super().frombuf(*block)
        if header.type in _OF_NAMES and header.size > _LONGEST_NAME:  # tarfile would read it whole
            raise tarfile.InvalidHeaderError(f"a header of {header.size / 1e6:,.0f} MB")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros, the end of every tar
            raise
        except tarfile.HeaderError as error:
            reason = "it ends without a tar's end mark" if "empty header" in str(error) else error
            raise tarfile.ReadError(f"{reason}") from error


def _in_tar(url: str, reading: Reading) -> Iterator[Sample]:
    files, images = 0, 0
    try:
        with open_shard(url) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # they would fill the memory
                if member.isdir():
                    continue
                files += 1
                if is_image(member.name):
                    images += 1
                    yield _of_member(tar, member)
                else:
                    reading.passed_over[os.path.splitext(member.name)[1].lower()] += 1
    except UnreadableError as error:
        reading.fault = str(error)
    except Exception as error:  # parsers of untrusted bytes raise all sorts of things, and so do networks
        reading.fault = f"{printable(url)} breaks after {files} files: {reason_of(error)}"
    if not images and not reading.fault:
        reading.fault = f"{printable(url)} has no images, and {files} other files."


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Sample:
    folder, slash, last = member.name.rpartition("/")
    key = folder + slash + last.partition(".")[0]  # WebDataset's: up to the first dot of the last part
    if not member.isreg():
        return Sample(storable(key), problem="It is a link or a device, and only regular files are read.")
    if member.size > most_bytes():
        return Sample(storable(key), problem=too_large(member.size))
    content = tar.extractfile(member)
    assert content is not None  # only of what is not a regular file
    outside = member.name.startswith("/") or ".." in member.name.split("/")
    note = "the key is a path that leads out of the archive: do not write a file of that name"
    return _sample(key, content.read(), (note,) if outside else ())


def _in_parquet(url: str, columns: Columns, reading: Reading) -> Generator[tuple[str, Any]]:
    count = 0
    try:
        # Buffered, so that a row group of images is not read as a whole.
        with open_shard(url) as file, pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
            names = table.schema_arrow.names
            has_key = columns.key in names
            for name in (columns.image,) if has_key or columns.key == Columns.key else (columns.image, columns.key):
                if name not in names:
                    raise ValueError(f"it has no column {name!r}; it has {', '.join(names)}")
            for batch in table.iter_batches(_ROWS, columns=[columns.image, columns.key][: 1 + has_key]):
                for row in batch.to_pylist():
                    key = row.get(columns.key)
                    yield f"{count:09d}" if key is None else str(key), row[columns.image]
                    count += 1
    except UnreadableError as error:
        reading.fault = str(error)
    except Exception as error:  # pyarrow raises all sorts of things for a broken file, and so do networks
        reading.fault = f"{printable(url)} breaks after {count} rows: {reason_of(error)}"
    if not count and not reading.fault:
        reading.fault = f"{printable(url)} has no rows."


def of_cell(key: str, value: Any, folder: str) -> Sample:
    """The image in a cell: bytes, a path (absolute, or in the folder) or URL, or Hugging Face's struct of both."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return _sample(key, value)
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        return Sample(storable(key), problem=f"Expected encoded bytes or a path; the cell holds {kind}.")
    try:
        return _sample(key, read_image(join(folder, value)))
    except (UnreadableError, UsageError) as error:
        return Sample(storable(key), problem=str(error))
