"""The best images of a folder of outputs, as one list. Files are streamed, whatever their number and size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from liqe_jax.errors import UsageError
from liqe_jax.messages import printable, quoted
from liqe_jax.scale.files import find_file_system, reason_of, written_aside
from liqe_jax.scale.output import OutputFolder, read_settings
from liqe_jax.scale.rows import SUCCESS

# Rows in memory at a time.
_ROWS = 50_000


class Merged(NamedTuple):
    """What was merged.

    Attributes:
      shards, images, kept: numbers of outputs, of images with a score and a key of their own, and of rows written.
      least: the lowest quality that was kept.
      incomplete: names of the outputs whose shard was broken.
    """

    shards: int
    images: int
    kept: int
    least: float
    incomplete: list[str]


def merge_shards(
    folder: str, output: str, *, top: float | None = None, min_quality: float | None = None, overwrite: bool = False
) -> Merged:
    """Writes the rows of the best images to one parquet file, in the order of the shards, with a column `shard`.

    Args:
      folder, output: of `liqe score-shards`, and a parquet file: paths or URLs.
      top: keeps this fraction of all images, those of the highest quality; images with the same quality as the last one
        are kept too.
      min_quality: keeps the images with at least this quality.
      overwrite: replace the output if it exists.

    Raises:
      UsageError: the folder has no outputs, or outputs of different models or settings; the output exists.
      OSError: the output cannot be written.
    """
    fs, path = find_file_system(output)
    if fs.exists(path) and not overwrite:
        raise UsageError(f"{printable(output)} exists. Give --overwrite to replace it, or another name.")
    source = OutputFolder(folder)
    names = sorted(name for name in source.names() if source.rows_path(name) != path)
    if not names:
        raise UsageError(f"No outputs of liqe score-shards in {printable(folder)}. Check the path.")
    incomplete = _check(source, names)
    images = sum(len(quality) for quality in _qualities(source, names))
    least = _threshold(source, names, images, top) if min_quality is None else np.float32(min_quality)
    kept = 0
    schema = _schema(source, names[0])
    with written_aside(fs, path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for name, table in _tables(source, names):
            best = table.filter(pc.and_(pc.equal(table["status"], SUCCESS), pc.greater_equal(table["quality"], least)))
            if len(best):
                shards = pa.array([name] * len(best), pa.string())
                writer.write_table(best.add_column(0, "shard", shards).cast(schema))
                kept += len(best)
    return Merged(len(names), images, kept, float(least), incomplete)


def _check(source: OutputFolder, names: list[str]) -> list[str]:
    """Names of incomplete outputs, after all were found to be of one model and one set of options."""
    first: Mapping[str, Any] | None = None
    incomplete = []
    for name in names:
        settings, fault = read_settings(source.fs, source.rows_path(name))
        settings.pop("source", None)
        first = first or settings
        for key in first:
            if settings.get(key) != first[key]:
                raise UsageError(
                    f"{name}.parquet was made with {key} {quoted(settings.get(key))}, and {names[0]}.parquet with "
                    f"{quoted(first[key])}; their scores are not comparable. Merge folders with one model each."
                )
        if "quality" not in settings["columns"]:
            raise UsageError(f"{name}.parquet has no column quality. Score with it in --columns.")
        if fault:
            incomplete.append(name)
    return incomplete


def _schema(source: OutputFolder, name: str) -> pa.Schema:
    with source.fs.open(source.rows_path(name), "rb") as file:
        schema = pq.read_schema(file)
    own = {key: value for key, value in schema.metadata.items() if key == b"labels"}
    return schema.insert(0, pa.field("shard", pa.string())).with_metadata(own)


def _tables(source: OutputFolder, names: list[str], columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    for name in names:
        path = source.rows_path(name)
        try:
            with source.fs.open(path, "rb") as file, pq.ParquetFile(file) as table:
                for batch in table.iter_batches(_ROWS, columns=columns):
                    yield name, pa.Table.from_batches([batch])
        except pa.ArrowException as error:
            raise UsageError(f"Cannot read {printable(path)}: {reason_of(error)}. Score the shard again.") from error


def _qualities(source: OutputFolder, names: list[str]) -> Iterator[Float[np.ndarray, " N"]]:
    for _, table in _tables(source, names, ["quality", "status"]):
        yield table.filter(pc.equal(table["status"], SUCCESS))["quality"].to_numpy().astype(np.float32)


def _threshold(source: OutputFolder, names: list[str], images: int, top: float | None) -> np.float32:
    """The quality of the last image of the best fraction `top`, exactly, in two passes with 65,536 counts each.

    The bits of floats, seen as integers, have the order of the floats once negative ones are mapped. The first pass
    counts their upper halves, the second the lower halves of those whose upper half is that of the image in question.
    """
    if top is None or not 0 < top <= 1:
        raise UsageError(f"--top must be a fraction above 0 and at most 1, such as 0.1; got {top!r}.")
    rank = max(1, round(images * top))
    bits = 0
    for shift in (16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for quality in _qualities(source, names):
            found = quality.view(np.uint32)
            ordered = np.where(found >> 31, ~found, found | np.uint32(1 << 31))
            if shift == 0:
                ordered = ordered[ordered >> 16 == bits >> 16]
            counts += np.bincount(ordered >> shift & 0xFFFF, minlength=1 << 16)
        above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(above, rank))
        rank -= int(above[place - 1]) if place else 0
        bits |= (0xFFFF - place) << shift
    unmapped = bits & 0x7FFFFFFF if bits >> 31 else ~bits & 0xFFFFFFFF
    return np.uint32(unmapped).view(np.float32)
