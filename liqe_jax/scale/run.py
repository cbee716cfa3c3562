"""Scores shards, one after the other. A shard is done when its file of rows exists, so any run can go on."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import liqe_jax
from liqe_jax.errors import UsageError
from liqe_jax.images.stream import map_ahead
from liqe_jax.locks import in_use
from liqe_jax.messages import json_text
from liqe_jax.scale.files import REQUESTS, is_local, written_aside
from liqe_jax.scale.output import FAULT, SETTINGS, OutputFolder
from liqe_jax.scale.rows import DUPLICATE, SUCCESS, row_of, schema_of
from liqe_jax.scale.samples import Reading, Sample, read_ahead, read_samples
from liqe_jax.scale.shards import Shard
from liqe_jax.scoring.model import Model
from liqe_jax.tasks import TaskSet

# Rows of a row group, which is what is held in memory before it is written: some 10 MB.
ROW_GROUP = 10_000

# Bins of the histogram of quality.
BINS = 40


@dataclasses.dataclass(frozen=True)
class Options:
    """How shards are scored: options of `liqe score-shards`, with its defaults for None."""

    preprocess: str | None = None
    columns: tuple[str, ...] | None = None
    batch_size: int | None = None
    workers: int | None = None
    overwrite: bool = False


def settings_of(shard: Shard, model: Model, options: Options) -> dict[str, Any]:
    """What the rows of a shard depend on; an output with other settings is not this shard's."""
    return {
        "source": shard.source,
        "model": model.name,
        "digest": model.digest,
        "preprocess": options.preprocess or model.preprocess,
        "columns": schema_of(model.tasks, options.columns).names,
    }


def unfinished(shards: Sequence[Shard], folder: OutputFolder, model: Model, options: Options) -> list[Shard]:
    """The shards that have no complete output yet, or all of them with `options.overwrite`; raises as `is_done`."""
    if options.overwrite:
        return list(shards)
    existing = folder.names()

    def is_done(shard: Shard) -> bool:
        return shard.name in existing and folder.is_done(shard.name, settings_of(shard, model, options))

    done = map_ahead(is_done, shards, REQUESTS, 4 * REQUESTS)
    return [shard for shard, finished in zip(shards, done, strict=True) if not finished]


def attempt_shard(shard: Shard, folder: OutputFolder, model: Model, options: Options) -> dict[str, Any]:
    """`score_shard`, with a UsageError as the fault of its statistics."""
    try:
        return score_shard(shard, folder, model, options)
    except UsageError as error:
        return {"shard": shard.name, "fault": str(error)}


def score_shard(shard: Shard, folder: OutputFolder, model: Model, options: Options) -> dict[str, Any]:
    """Scores a shard and writes its rows and statistics; returns the statistics.

    A complete output is left as it is, and the statistics are then `shard` and `skipped` alone. Without a single row
    only the statistics are written.

    Raises:
      UsageError: another process on this machine works on the shard, or has written it with other settings.
      OSError: the output cannot be written, such as on a full disk.
    """
    path, settings = folder.rows_path(shard.name), settings_of(shard, model, options)
    with in_use(path) if is_local(folder.fs) else contextlib.nullcontext():
        if not options.overwrite and folder.is_done(shard.name, settings):
            return {"shard": shard.name, "skipped": True}
        statistics, reading = Statistics(model.tasks), Reading()
        metadata = {SETTINGS: json_text(settings), "liqe_version": liqe_jax.__version__}
        schema = schema_of(model.tasks, options.columns)
        schema = schema.with_metadata({**schema.metadata, **metadata})
        rows = score_samples(read_samples(shard, reading), model, options)
        with contextlib.closing(rows), contextlib.ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for group in iter(lambda: list(itertools.islice(rows, ROW_GROUP)), []):
                if writer is None:
                    file = stack.enter_context(written_aside(folder.fs, path))
                    writer = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
                statistics.add(group)
                writer.write_table(pa.Table.from_pylist(group, schema))
            summary = {
                "shard": shard.name,
                **statistics.to_dict(),
                "passed_over": dict(reading.passed_over),
                "fault": reading.fault,
                **settings,
                "version": liqe_jax.__version__,
            }
            # Before the rows, whose existence says that all is done.
            folder.write_stats(shard.name, summary)
            if writer is not None:
                writer.add_key_value_metadata({FAULT: reading.fault})
    return summary


def score_samples(samples: Iterator[Sample], model: Model, options: Options) -> Generator[dict[str, Any]]:
    """Rows of images, in order: reading (on a thread of its own), decoding and computing overlap in bounded memory."""
    waiting: collections.deque[Sample] = collections.deque()
    seen: set[int] = set()  # hashes of keys, since keys may be long

    def images() -> Iterator[bytes]:
        with contextlib.closing(read_ahead(samples, 16)) as ahead:
            for sample in ahead:
                waiting.append(sample._replace(image=b""))
                yield sample.image  # an empty one gives a failure in its place

    results = model.score_many(
        images(), batch_size=options.batch_size, preprocess=options.preprocess, workers=options.workers
    )
    for result in results:
        sample = waiting.popleft()
        hashed = hash(sample.key)
        yield row_of(sample, result, hashed in seen)
        seen.add(hashed)


class Statistics:
    """Counts of a shard's rows, with a histogram of the attribute "quality" where that has values."""

    def __init__(self, tasks: TaskSet):
        self._status: Counter[str] = Counter()
        self._began, self._cpu = time.monotonic(), time.process_time()
        values = next((a.values for a in tasks.attributes if a.name == "quality" and a.values is not None), None)
        self._edges = None if values is None else np.linspace(min(values), max(values), BINS + 1)
        self._counts = np.zeros(BINS, np.int64)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Counts some rows."""
        self._status.update(row["status"] for row in rows)
        if self._edges is not None:
            self._counts += np.histogram([row["quality"] for row in rows if "quality" in row], self._edges)[0]

    def to_dict(self) -> dict[str, Any]:
        """Counts, seconds since the start, by the clock and of this process's CPUs, and the histogram of quality."""
        seconds, images = time.monotonic() - self._began, self._status.total()
        histogram = None
        if self._edges is not None:
            histogram = {"edges": self._edges.round(6).tolist(), "counts": self._counts.tolist()}
        return {
            "images": images,
            "scored": self._status[SUCCESS] + self._status[DUPLICATE],
            "failed": images - self._status[SUCCESS] - self._status[DUPLICATE],
            "duplicate_keys": self._status[DUPLICATE],
            "seconds": round(seconds, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "images_per_second": round(images / seconds, 2) if seconds else None,
            "quality_histogram": histogram,
        }
