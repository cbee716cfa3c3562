"""From kept predictions to results, tables, pictures and the page; no model and no data set is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import TEST, require_test, slug
from liqe_jax.evaluate.page import page
from liqe_jax.evaluate.plots import confusion_picture, scatter
from liqe_jax.evaluate.predictions import SetPredictions, read_predictions
from liqe_jax.evaluate.protocol import SESSION_PROTOCOL, Unit, describe, stated
from liqe_jax.evaluate.results import Result, counted, evaluate_unit
from liqe_jax.evaluate.sections import all_tables
from liqe_jax.evaluate.significance import FEWEST, Comparison, compare
from liqe_jax.evaluate.table import Table
from liqe_jax.taxonomy import DISTORTION, SCENE
from liqe_jax.weights.provenance import Provenance

FILE = "evaluation.json"


def prediction_path(folder: Path, model: str, set_slug: str) -> Path:
    """Where the predictions of a model for a set are kept."""
    return folder / "predictions" / model / f"{set_slug}.jsonl"


class Kept:
    """An evaluation's folder, read when asked."""

    def __init__(self, folder: Path):
        """Reads what was evaluated.

        Raises:
          DataError: there is no evaluation, or it is damaged.
        """
        self.folder = folder
        try:
            content = json.loads((folder / FILE).read_text("utf-8"))
            self.units = [Unit(**unit) for unit in content["units"]]
            self.models: dict[str, Any] = content["models"]
            self.settings: dict[str, Any] = content["settings"]
            self.skipped: dict[str, str] = content["skipped"]
        except OSError as error:
            raise DataError(f"{folder} holds no finished evaluation ({error}). Run eval.py with --weights.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / FILE} is damaged ({error!r}). Run eval.py with --weights again.") from error
        self._read: dict[tuple[str, str], SetPredictions] = {}

    def predictions(self, unit: Unit) -> SetPredictions:
        """Of a unit's model for its set.

        Raises:
          DataError: the file is missing or damaged.
        """
        key = unit.model, slug(unit.dataset)
        if key not in self._read:
            self._read[key] = read_predictions(prediction_path(self.folder, *key))
        return self._read[key]

    def provenance(self, unit: Unit) -> Provenance:
        """Of a unit's model."""
        return Provenance.from_dict(self.models[unit.model]["provenance"])

    @property
    def name(self) -> str:
        """What the model is called."""
        first = next(iter(self.models.values()))["provenance"]["name"]
        several = f" and {len(self.models) - 1} more" if len(self.models) > 1 else ""
        return self.settings["name"] or f"{first}{several}"


def results_of(kept: Kept, options: Mapping[str, Any]) -> list[Result]:
    """Figures of every unit.

    Args:
      kept: the evaluation.
      options: as `settings.default_eval_config`: bootstrap, trained_on, on_seen.

    Raises:
      DataError: predictions are missing, or an evaluation is refused.
    """
    results = []
    for unit in kept.units:
        trained_on = stated(options["trained_on"], unit.model, kept.provenance(unit))
        result = evaluate_unit(unit, kept.predictions(unit), trained_on, options["bootstrap"])
        if options["on_seen"] == "refuse":
            require_test(result.verdict, describe(unit))
        results.append(result)
    return results


def differences_of(
    kept: Kept, results: Sequence[Result], other: Kept, bootstrap: Mapping[str, Any]
) -> dict[int, Comparison]:
    """Position of a result -> its SRCC against that of another evaluation, on the images of both.

    Raises:
      DataError: the two have no unit in common, or judged it against other opinion scores.
    """
    theirs = {(u.protocol, slug(u.dataset), u.split, u.part): u for u in reversed(other.units)}
    found = {}
    for position, result in enumerate(results):
        unit = result.unit
        match = theirs.get((unit.protocol, slug(unit.dataset), unit.split, unit.part))
        if match is None:
            continue
        mine, yours = kept.predictions(unit), other.predictions(match)
        here, there = (p.indices(unit.split, unit.part) for p in (mine, yours))
        place = {yours.names[i]: i for i in there}
        pairs = np.array([(i, place[mine.names[i]]) for i in here if mine.names[i] in place], np.int64).reshape(-1, 2)
        if len(pairs) < FEWEST:
            continue
        mos = mine.mos[pairs[:, 0]]
        if not np.array_equal(mos, yours.mos[pairs[:, 1]]):
            raise DataError(f"{other.folder} holds other opinion scores for {unit.dataset}. Evaluate both on the same.")
        qualities = mine.quality[pairs[:, 0]], yours.quality[pairs[:, 1]]
        found[position] = compare(mos, *qualities, resamples=bootstrap["resamples"], seed=bootstrap["seed"])
    if not found:
        raise DataError(f"{other.folder} has no evaluation in common with {kept.folder}.")
    return found


def tables_from(
    workdir: str | os.PathLike, config: ConfigDict | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Makes every table, picture and the page again, and returns what `results.json` holds.

    Args:
      workdir: an evaluation's folder.
      config: for name, bootstrap, trained_on, on_seen, against and pictures; default those of the evaluation.
      say: told what was written.

    Raises:
      DataError: there is no finished evaluation, or it is refused.
      UsageError: matplotlib or SciPy is not installed.
    """
    kept = Kept(Path(workdir))
    options = config.to_dict() if config is not None else kept.settings
    if options["name"]:
        kept.settings["name"] = options["name"]
    results = results_of(kept, options)
    other = Kept(Path(options["against"])) if options["against"] else None
    differences = differences_of(kept, results, other, options["bootstrap"]) if other else {}
    tables = all_tables(results, kept.name, differences, _other_name(kept, other))
    scatters, matrices = _pictures(kept, results) if options["pictures"] else ({}, {})
    content = {
        "model": kept.name,
        "models": kept.models,
        "skipped": kept.skipped,
        "results": [result.to_dict() for result in results],
        "differences": [
            {**vars(results[position].unit), "first": found.first, "second": found.second}
            | {"williams_p": found.williams.p, "bootstrap_p": found.bootstrap.p}
            for position, found in differences.items()
        ],
    }
    _write_tables(kept.folder, tables)
    _write_pictures(kept.folder / "plots", {**scatters, **matrices})
    warnings = _warnings(kept, results)
    facts = _facts(kept, options)
    title = f"Evaluation of {kept.name}"
    _write(kept.folder / "report.html", page(title, facts, warnings, tables, scatters, matrices, options))
    _write(kept.folder / "results.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for warning in warnings:
        say(warning)
    say(f"Wrote {kept.folder / 'report.html'}, tables/, plots/ and results.json")
    return content


def _other_name(kept: Kept, other: Kept | None) -> str:
    if other is None:
        return ""
    return f"{other.name} ({other.folder.name})" if other.name == kept.name else other.name


def _pictures(kept: Kept, results: Sequence[Result]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Scatter plots of the first session, official part and whole of each set; confusions over all sessions."""
    scatters: dict[str, bytes] = {}
    matrices: dict[str, bytes] = {}
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.unit.dataset, result.unit.protocol), []).append(result)
    for (dataset, protocol), group in groups.items():
        shown = next((result for result in group if result.verdict.standing == TEST), group[0])
        predictions = kept.predictions(shown.unit)
        indices = predictions.indices(shown.unit.split, shown.unit.part)
        title = describe(shown.unit)
        scatters[title] = scatter(predictions.mos[indices], predictions.quality[indices], title)
        used = counted(group)
        where = f"{dataset}, {len(used)} sessions" if protocol == SESSION_PROTOCOL and len(used) > 1 else title
        for attribute, labels in (("scene", SCENE.labels), ("distortion", DISTORTION.labels)):
            found = [getattr(result, attribute) for result in used if getattr(result, attribute)]
            total = sum(labels_.confusion for labels_ in found) if found else np.zeros(0)
            if np.any(total):
                caption = f"{where}: {attribute}s"
                matrices[caption] = confusion_picture(np.asarray(total), labels, caption)
    return scatters, matrices


def _warnings(kept: Kept, results: Sequence[Result]) -> list[str]:
    warnings = [f"Left out: {what}. {why}" for what, why in kept.skipped.items()]
    doubtful = [describe(result.unit) for result in results if result.verdict.standing != TEST]
    if doubtful:
        text = f"{len(doubtful)} of {len(results)} evaluations are no tests, and their figures are marked"
        warnings.insert(0, f"{text}, as {doubtful[0]}.")
    return warnings


def _facts(kept: Kept, options: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    for key, model in list(kept.models.items())[:1]:
        trained = model["provenance"]["trained_on"]
        told = ", ".join(f"{entry['dataset']} ({entry['split']})" for entry in trained or ()) or "nothing"
        facts[key] = f"{model['provenance']['name']} from {model['weights']}, sha256 {model['digest'][:12]}"
        facts["trained on"] = "not stated" if trained is None else told
    if len(kept.models) > 1:
        others = list(kept.models.values())[1:]
        facts["likewise"] = ", ".join(f"{m['provenance']['name']} ({m['digest'][:8]})" for m in others)
    if options["trained_on"]:
        facts["trained on, as stated for this run"] = ", ".join(f"{n} ({s})" for n, s in options["trained_on"])
    bootstrap = options["bootstrap"]
    facts["preprocessing"] = f"{kept.settings['preset']}, {next(iter(kept.models.values()))['dtype']}"
    facts["intervals"] = f"{bootstrap['confidence']:.0%}, {bootstrap['resamples']} resamples, {bootstrap['method']}"
    return facts


def _write_tables(folder: Path, tables: Sequence[Table]) -> None:
    for table in tables:
        for suffix, text in (("md", table.markdown()), ("tex", table.latex()), ("csv", table.csv())):
            _write(folder / "tables" / f"{table.name}.{suffix}", text)


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for caption, png in pictures.items():
        name = "_".join("".join(c if c.isalnum() or c in "-." else " " for c in caption).split())
        (folder / f"{name}.png").write_bytes(png)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
