"""Runs an evaluation: predictions, which may be interrupted at any time, then tables computed from them.

workdir/evaluation.json                the units and the models
workdir/predictions/MODEL/SET.jsonl    the prediction of every image
workdir/tables, plots, report.html, results.json    computed from the two above
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from liqe_jax.bounded_io import whole_file
from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.named import load_sets
from liqe_jax.errors import DataError, UsageError
from liqe_jax.evaluate import protocol
from liqe_jax.evaluate.finished import FILE, prediction_path
from liqe_jax.evaluate.guard import check_seen, require_test, slug
from liqe_jax.evaluate.predictions import PredictionFile, labels_digest, row_of
from liqe_jax.evaluate.protocol import Unit
from liqe_jax.evaluate.report import tables_from
from liqe_jax.evaluate.settings import check_eval_config
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.locks import in_use
from liqe_jax.messages import LONGEST_MESSAGE, printable
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.predict_set import Predicted, predict_set

# Seconds between progress messages.
EVERY = 10

LoadModel = Callable[[str], Model]
LoadSet = Callable[[str], LabelledSet]


def evaluate(
    config: ConfigDict,
    weights: str,
    workdir: str | Path,
    load_model: LoadModel | None = None,
    load_set: LoadSet | None = None,
) -> dict[str, Any]:
    """Predicts the images that have no prediction yet, then writes tables and the report.

    Args:
      config: see `settings.default_eval_config`.
      weights: anything that `liqe_jax.load` takes; {session} in it stands for one model per session.
      workdir: local folder.
      load_model: weights -> model, for your own models.
      load_set: name -> data set, for your own data sets.

    Returns:
      The content of `results.json` on the first process, an empty dictionary on the others.

    Raises:
      UsageError: the configuration is invalid, or another process evaluates into that folder.
      ModelError: weights are missing or corrupt.
      DataError: a set is missing or corrupt, or `on_seen` refuses an evaluation.
    """
    check_eval_config(config)
    folder = Path(workdir)
    if not config.from_predictions and not weights:
        raise UsageError("No model is named. Give --weights, or --config.from_predictions for tables alone.")
    first = jax.process_index() == 0
    # A file in the folder's name, since the folder itself may not be there yet.
    with in_use(folder / "evaluation") if first else contextlib.nullcontext():
        if not config.from_predictions:
            load_model = load_model or functools.partial(
                load,
                tasks=config.tasks or None,
                dtype=config.dtype,
                devices=jax.local_devices()[: config.devices or None],
                # Text features are cached with the predictions. If computed again, they may differ in the last bits,
                # and the rows of an interrupted run would not match the model's digest.
                text_cache_folder=folder / "text_features",
            )
            load_set = load_set or (lambda name: load_sets([name], config.data.folder)[0])
            _predict_all(config, weights, folder, load_model, load_set)
        return tables_from(folder, config, say) if first else {}


def say(text: str) -> None:
    """Prints a message to stderr."""
    print(printable(text, LONGEST_MESSAGE, keep="\n"), file=sys.stderr, flush=True)


def _predict_all(config: ConfigDict, weights: str, folder: Path, load_model: LoadModel, load_set: LoadSet) -> None:
    keys = protocol.model_keys(weights, [str(session) for session in config.sessions])
    wanted = protocol.units(config, list(keys))
    sets, wanted, skipped = _open_sets(config, wanted, load_set)
    known: dict[str, dict[str, Any]] = {}
    for key, path in keys.items():
        of_model = [unit for unit in wanted if unit.model == key]
        if not of_model:
            continue
        model = load_model(path)
        trained_on = protocol.stated(config.trained_on, key, model.provenance)
        if config.on_seen == "refuse":
            for unit in of_model:
                dataset = sets[unit.dataset]
                indices = dataset.indices(unit.session, unit.split)
                seen = check_seen(trained_on, dataset.name, dataset.splits, indices, list(sets))
                require_test(seen, protocol.describe(unit))
        known[key] = _predict_model(config, model, key, of_model, sets, folder)
        known[key]["weights"] = path
    if jax.process_index() == 0:
        content = {
            "settings": config.to_dict(),
            "models": known,
            "units": [vars(unit) for unit in wanted],
            "skipped": skipped,
        }
        with whole_file(folder / FILE) as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _open_sets(
    config: ConfigDict, wanted: Sequence[Unit], load_set: LoadSet
) -> tuple[dict[str, LabelledSet], list[Unit], dict[str, str]]:
    """Returns the sets by name, the possible units, and the skipped ones with the reason."""
    sets: dict[str, LabelledSet] = {}
    skipped: dict[str, str] = {}
    possible: list[Unit] = []
    for unit in wanted:
        if unit.dataset in skipped:
            continue
        try:
            if unit.dataset not in sets:
                sets[unit.dataset] = load_set(unit.dataset)
            sets[unit.dataset].check_mos(sets[unit.dataset].indices(unit.session, unit.split))
            possible.append(unit)
        except DataError as error:
            # A missing set is listed once, a missing session or split each time.
            skipped[protocol.describe(unit) if unit.dataset in sets else unit.dataset] = str(error)
    if skipped and config.missing == "stop":
        listed = "\n".join(f"  {what}: {why}" for what, why in skipped.items())
        raise DataError(
            f"{len(skipped)} evaluations are not possible:\n{listed}\nPrepare those sets, change "
            "config.set and session, or sets, official and whole, or skip them with --config.missing=skip."
        )
    if not possible:
        raise DataError(
            "None of the data sets is prepared. Prepare one: liqe data prepare NAME --manual-dir D --data-dir O"
        )
    return sets, possible, skipped


def _predict_model(
    config: ConfigDict, model: Model, key: str, units: Sequence[Unit], sets: Mapping[str, LabelledSet], folder: Path
) -> dict[str, Any]:
    header = {
        "model": model.provenance.to_dict(),
        "digest": model.digest,
        "preset": config.preset or model.preprocess,
        "dtype": model.dtype,
        "labels": {attribute.name: attribute.labels for attribute in model.tasks.attributes},
    }
    for name in protocol.datasets_of(units):
        dataset = sets[name]
        indices = np.unique(np.concatenate([dataset.indices(u.session, u.split) for u in units if u.dataset == name]))
        of_set = {**header, "dataset": dataset.name, "labels_digest": labels_digest(dataset)}
        # With the types that JSON returns, for comparison with the header of an existing file.
        of_set = json.loads(json.dumps(of_set))
        _predict_set(config, model, dataset, indices, prediction_path(folder, key, slug(name)), of_set)
    return {"provenance": header["model"], "digest": header["digest"], "dtype": model.dtype}


def _predict_set(
    config: ConfigDict, model: Model, dataset: LabelledSet, indices: np.ndarray, path: Path, header: Mapping[str, Any]
) -> None:
    first = jax.process_index() == 0
    file = PredictionFile(path, header) if first else None
    done = np.array([file is not None and dataset.names[i] in file.rows for i in indices])
    if jax.process_count() > 1:  # only the first process may see the folder
        done = np.asarray(multihost_utils.broadcast_one_to_all(done))
    missing = indices[~done]
    if file is not None and file.put_aside:
        say(f"{dataset.name}: predictions with other weights, options or labels were moved to {file.put_aside}")
    if not len(missing) and (file is None or not file.partial.exists()):
        if first:
            say(f"{dataset.name}: all {len(indices)} predictions exist already")
        return
    batches: Iterator[Predicted] = iter(())
    if len(missing):
        batches = predict_set(
            model.forward,
            model.weights,
            dataset,
            missing,
            preset=PRESETS[config.preset or model.preprocess],
            images_per_device=config.images_per_device,
            workers=config.workers,
            name=model.name,
        )
    if file is None:
        for _ in batches:  # predicts its share; the first process writes
            pass
        return
    began = reported = time.monotonic()
    count = 0
    with file.append() as add:
        for batch in batches:
            add(
                [
                    row_of(dataset, int(i), q, {name: p[k] for name, p in batch.probabilities.items()})
                    for k, (i, q) in enumerate(zip(batch.indices, batch.quality, strict=True))
                ]
            )
            count += len(batch.indices)
            if time.monotonic() - reported > EVERY:
                reported = time.monotonic()
                speed = count / (reported - began)
                left = (len(missing) - count) / speed / 60
                say(f"{dataset.name}: {count} of {len(missing)} images, {speed:.1f} images/s, {left:.1f} min left")
    file.finish(dataset.names)
    say(f"{dataset.name}: {count} images predicted")
