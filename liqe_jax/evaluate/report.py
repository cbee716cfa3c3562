"""From kept predictions to results, tables, pictures and the page; no model and no data set is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from liqe_jax.evaluate.differences import differences_of
from liqe_jax.evaluate.guard import TEST, require_test
from liqe_jax.evaluate.kept import Kept
from liqe_jax.evaluate.page import page
from liqe_jax.evaluate.plots import confusion_picture, scatter
from liqe_jax.evaluate.protocol import SESSION_PROTOCOL, datasets_of, describe, stated
from liqe_jax.evaluate.results import Result, counted, evaluate_unit
from liqe_jax.evaluate.sections import all_tables
from liqe_jax.evaluate.table import Table
from liqe_jax.taxonomy import DISTORTION, SCENE


def results_of(kept: Kept, options: Mapping[str, Any]) -> list[Result]:
    """Figures of every unit.

    Args:
      kept: the evaluation.
      options: as `settings.default_eval_config`: bootstrap, trained_on, on_seen.

    Raises:
      DataError: predictions are missing, or an evaluation is refused.
    """
    results = []
    sets = datasets_of(kept.units)
    for unit in kept.units:
        trained_on = stated(options["trained_on"], unit.model, kept.provenance(unit))
        result = evaluate_unit(unit, kept.predictions(unit), trained_on, options["bootstrap"], sets)
        if options["on_seen"] == "refuse":
            require_test(result.verdict, describe(unit))
        results.append(result)
    return results


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
    if options["on_seen"] == "refuse":
        for against in differences.values():
            require_test(
                against.verdict, f"{describe(against.unit)}, for the other evaluation in {options['against']},"
            )
    tables = all_tables(results, kept.name, differences, _other_name(kept, other))
    scatters, matrices = _pictures(kept, results) if options["pictures"] else ({}, {})
    content = {
        "model": kept.name,
        "models": kept.models,
        "skipped": kept.skipped,
        "results": [result.to_dict() for result in results],
        "differences": [
            {**vars(results[position].unit), **against.to_dict()} for position, against in differences.items()
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
    facts["preprocessing"] = (
        f"{kept.settings['preset'] or 'the preset of each model'}, {next(iter(kept.models.values()))['dtype']}"
    )
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
