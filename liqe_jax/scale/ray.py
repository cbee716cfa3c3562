"""Scoring on a Ray cluster: a callable class for `Dataset.map_batches`, and shards spread over actors.

An actor reads, scores and writes whole shards with `liqe_jax.scale.run`, as without Ray. Ray Data's readers end the run
at a corrupt file, and its writers know neither shards nor their order; `examples/ray_data.py` has a pipeline of them
around `Scorer`.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from liqe_jax.errors import LiqeError, UsageError
from liqe_jax.images.stream import map_ahead
from liqe_jax.messages import json_text, printable
from liqe_jax.scale.files import REQUESTS
from liqe_jax.scale.output import OutputFolder
from liqe_jax.scale.rows import row_of, schema_of
from liqe_jax.scale.run import Options, attempt_shard
from liqe_jax.scale.samples import Sample, of_cell
from liqe_jax.scale.shards import Shard
from liqe_jax.scoring.load import load

# Ray schedules blocks; with more of them than this its own bookkeeping would take much of the time.
_MOST_BLOCKS = 10_000


class Scorer:
    """For `Dataset.map_batches`: scores a column of images. Ray makes one in each actor, with the actor's devices.

    Batches come as NumPy arrays, Ray's default, and leave as `pyarrow.Table`: the other columns of the batch as they
    are, and those of `liqe score-shards` but `key`.

    Args:
      model, options: as for `liqe_jax.load`.
      image: the column of images: uint8 arrays [H, W, 3], or encoded as in a parquet file of `liqe score-shards`.
      columns: of the output besides the status; default all.
      preprocess, batch_size, workers: as for `Model.score_many`.
    """

    def __init__(
        self,
        model: str = "liqe_nano",
        *,
        image: str = "image",
        columns: Sequence[str] | None = None,
        preprocess: str | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        **options: Any,
    ):
        self._model, self._image = load(model, **options), image
        self._schema = schema_of(self._model.tasks, columns).remove(0)  # the key is one of the batch's own columns
        self._how: dict[str, Any] = {"preprocess": preprocess, "batch_size": batch_size, "workers": workers}

    def __call__(self, batch: dict[str, np.ndarray]) -> pa.Table:
        """Scores one batch; raises UsageError if it has no such column."""
        if self._image not in batch:
            raise UsageError(f"The batch has no column {self._image!r}; it has {', '.join(batch)}. Give image=...")
        cells = list(batch[self._image])
        if any(isinstance(cell, np.ndarray) for cell in cells):
            samples = [Sample("")] * len(cells)
        else:
            samples = list(map_ahead(lambda cell: of_cell("", cell, ""), cells, REQUESTS, 2 * REQUESTS))
            cells = [sample.image for sample in samples]
        rows = map(row_of, samples, self._model.score_many(cells, **self._how), itertools.repeat(False))
        ours = pa.Table.from_pylist(list(rows), self._schema)
        kept = {name: values for name, values in batch.items() if name != self._image and name not in ours.column_names}
        for place, (name, values) in enumerate(kept.items()):
            ours = ours.add_column(place, name, pa.array(list(values)))
        return ours


class _ShardScorer:
    """An actor's: shards in, statistics out, both as JSON."""

    def __init__(self, folder: str, model: Mapping[str, Any], options: Options):
        self._folder, self._model, self._options = OutputFolder(folder), load(**model), options

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {"statistics": [json_text(self._attempt(Shard.from_json(shard))) for shard in batch["shard"]]}

    def _attempt(self, shard: Shard) -> dict[str, Any]:
        try:
            return attempt_shard(shard, self._folder, self._model, self._options)
        except OSError as error:  # a full disk of this host; an exception would end the whole run
            return {"shard": shard.name, "fault": f"Cannot write {self._folder.url}: {printable(error)}"}


def score_shards(
    shards: Sequence[Shard],
    folder: str,
    model: Mapping[str, Any],
    options: Options,
    *,
    address: str | None = None,
    actors: int | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Scores shards on actors; yields the statistics of each as it is done, in any order.

    An actor that dies is started again, and its shard too. This process loads no model, so that it holds no device.

    Args:
      shards, folder, options: as without Ray; all hosts have to see the shards and the folder of outputs.
      model: arguments of `liqe_jax.load`.
      address, actors, resources: as of `liqe score-shards`; default a new cluster on this machine, as many actors as it
        has room for, and one CPU for each.

    Raises:
      LiqeError: there is no such cluster, it has no room for an actor, or the run fails.
    """
    if not shards:
        return
    needs = {"CPU": 1.0, **(resources or {})}
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        room = ray.cluster_resources()
        possible = min((int(room.get(name, 0) // amount) for name, amount in needs.items() if amount > 0), default=1)
        if possible < (actors or 1):
            raise UsageError(
                f"The cluster has room for {possible} actors with {dict(needs)} each, and {actors or 1} are wanted; it "
                f"has {_rounded(room)}. Change --actors or --resources."
            )
        others = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")}
        ray.data.DataContext.get_current().enable_progress_bars = False  # who calls this reports each shard
        # Not `range` or a reader: their tasks need a CPU, which the actors may hold, and all would wait for ever.
        items = [{"shard": shard.to_json()} for shard in shards]
        data = ray.data.from_items(items, override_num_blocks=min(len(shards), _MOST_BLOCKS)).map_batches(
            _ShardScorer,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors or possible, len(shards))),
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU"),
            resources=others or None,
            fn_constructor_args=(folder, dict(model), options),
        )
        for row in data.iter_rows():
            yield json.loads(row["statistics"])
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = f"{error}".strip().splitlines()[-1:] or [type(error).__name__]  # above it is the actor's traceback
        raise LiqeError(f"The run on Ray fails: {printable(reason[0], 2000)}") from error


def _rounded(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items()) if ":" not in name)
