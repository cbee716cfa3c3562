"""Computes results, tables, plots and the report from predictions; no model and no data set is needed."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from liqe_jax.evaluate.differences import differences_of
from liqe_jax.evaluate.finished import FinishedEvaluation
from liqe_jax.evaluate.guard import TEST, require_test
from liqe_jax.evaluate.plots import confusion_picture, scatter
from liqe_jax.evaluate.protocol import SESSION_PROTOCOL, datasets_of, describe, stated
from liqe_jax.evaluate.results import Result, counted, evaluate_unit
from liqe_jax.evaluate.sections import all_tables
from liqe_jax.evaluate.table import Table
from liqe_jax.markup import data_url, fill_page
from liqe_jax.taxonomy import DISTORTION, SCENE


def results_of(finished: FinishedEvaluation, options: Mapping[str, Any]) -> list[Result]:
    """The results of every unit; raises DataError if predictions are missing, or `on_seen` refuses an evaluation."""
    results = []
    sets = datasets_of(finished.units)
    for unit in finished.units:
        trained_on = stated(options["trained_on"], unit.model, finished.provenance(unit))
        result = evaluate_unit(unit, finished.predictions(unit), trained_on, options["bootstrap"], sets)
        if options["on_seen"] == "refuse":
            require_test(result.seen, describe(unit))
        results.append(result)
    return results


def tables_from(
    workdir: str | os.PathLike, config: ConfigDict | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Writes all tables, plots and the report, and returns the content of `results.json`.

    Args:
      workdir: the folder of an evaluation.
      config: supplies name, bootstrap, trained_on, on_seen, against and pictures; None uses those of the evaluation.
      say: called with messages about the written files.

    Raises:
      DataError: the folder does not contain a finished evaluation, or `on_seen` refuses it.
      UsageError: matplotlib or SciPy is not installed.
    """
    finished = FinishedEvaluation(Path(workdir))
    options = config.to_dict() if config is not None else finished.settings
    if options["name"]:
        finished.settings["name"] = options["name"]
    results = results_of(finished, options)
    other = FinishedEvaluation(Path(options["against"])) if options["against"] else None
    differences = differences_of(finished, results, other, options["bootstrap"]) if other else {}
    if options["on_seen"] == "refuse":
        for against in differences.values():
            require_test(against.seen, f"{describe(against.unit)}, for the other evaluation in {options['against']},")
    other_name = other.name if other else ""
    if other and other_name == finished.name:
        other_name += f" ({other.folder.name})"
    tables = all_tables(results, finished.name, differences, other_name)
    scatters, matrices = _pictures(finished, results) if options["pictures"] else ({}, {})
    content = {
        "model": finished.name,
        "models": finished.models,
        "skipped": finished.skipped,
        "results": [result.to_dict() for result in results],
        "differences": [{**vars(results[place].unit), **against.to_dict()} for place, against in differences.items()],
    }
    warnings = _warnings(finished, results)
    files = {
        "report.html": _page(finished, warnings, tables, scatters, matrices, options),
        "results.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n",
    }
    for table in tables:
        of_table = {"md": table.markdown(), "tex": table.latex(), "csv": table.csv()}
        files |= {f"tables/{table.name}.{suffix}": text for suffix, text in of_table.items()}
    for folder in ("tables", "plots"):
        (finished.folder / folder).mkdir(exist_ok=True)
    for name, text in files.items():
        (finished.folder / name).write_text(text, "utf-8")
    for caption, png in {**scatters, **matrices}.items():
        plain = "".join(c if c.isalnum() or c in "-." else " " for c in caption)
        (finished.folder / "plots" / f"{'_'.join(plain.split())}.png").write_bytes(png)
    for warning in warnings:
        say(warning)
    say(f"Wrote {finished.folder / 'report.html'}, tables/, plots/ and results.json")
    return content


def _pictures(finished: FinishedEvaluation, results: Sequence[Result]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Scatter plots of the first test session, official split and whole set; confusion matrices over all sessions."""
    scatters: dict[str, bytes] = {}
    matrices: dict[str, bytes] = {}
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.unit.dataset, result.unit.protocol), []).append(result)
    for (dataset, protocol), group in groups.items():
        shown = next((result for result in group if result.seen.status == TEST), group[0])
        predictions = finished.predictions(shown.unit)
        indices = predictions.indices(shown.unit.session, shown.unit.split)
        title = describe(shown.unit)
        scatters[title] = scatter(predictions.mos[indices], predictions.quality[indices], title)
        used = counted(group)
        where = f"{dataset}, {len(used)} sessions" if protocol == SESSION_PROTOCOL and len(used) > 1 else title
        for attribute, labels in (("scene", SCENE.labels), ("distortion", DISTORTION.labels)):
            found = [getattr(result, attribute) for result in used if getattr(result, attribute)]
            total = sum(one.confusion for one in found) if found else np.zeros(0)
            if np.any(total):
                caption = f"{where}: {attribute}s"
                matrices[caption] = confusion_picture(np.asarray(total), labels, caption)
    return scatters, matrices


def _warnings(finished: FinishedEvaluation, results: Sequence[Result]) -> list[str]:
    warnings = [f"Skipped: {what}. {why}" for what, why in finished.skipped.items()]
    doubtful = [describe(result.unit) for result in results if result.seen.status != TEST]
    if doubtful:
        text = f"{len(doubtful)} of {len(results)} evaluations are not tests, and their results are marked"
        warnings.insert(0, f"{text}, for example {doubtful[0]}.")
    return warnings


def _facts(finished: FinishedEvaluation, options: Mapping[str, Any]) -> dict[str, str]:
    (key, first), *others = finished.models.items()
    trained, bootstrap = first["provenance"]["trained_on"], options["bootstrap"]
    stated_sets = ", ".join(f"{entry['dataset']} ({entry['split']})" for entry in trained or ()) or "nothing"
    facts = {
        key: f"{first['provenance']['name']} from {first['weights']}, sha256 {first['digest'][:12]}",
        "trained on": "not stated" if trained is None else stated_sets,
    }
    if others:
        facts["further models"] = ", ".join(f"{m['provenance']['name']} ({m['digest'][:8]})" for _, m in others)
    if options["trained_on"]:
        facts["trained on, as stated for this run"] = ", ".join(f"{n} ({s})" for n, s in options["trained_on"])
    facts["preprocessing"] = f"{finished.settings['preset'] or 'the preset of each model'}, {first['dtype']}"
    facts["intervals"] = f"{bootstrap['confidence']:.0%}, {bootstrap['resamples']} resamples, {bootstrap['method']}"
    return facts


def _page(
    finished: FinishedEvaluation,
    warnings: Sequence[str],
    tables: Sequence[Table],
    scatters: Mapping[str, bytes],
    matrices: Mapping[str, bytes],
    options: Mapping[str, Any],
) -> str:
    """The report as one HTML page; the last table comes after the plots, which are PNGs by caption."""
    facts = _facts(finished, options)
    links = [(table.name, table.title) for table in tables]
    links += [("scatters", "Scatter plots")] if scatters else []
    links += [("matrices", "Confusion matrices")] if matrices else []
    return fill_page(
        "evaluation.html",
        title=html.escape(f"Evaluation of {finished.name}"),
        facts="".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()),
        warnings="".join(f'<p class="warning">{html.escape(text)}</p>' for text in warnings),
        navigation="".join(f'<a href="#{name}">{html.escape(text)}</a>' for name, text in links),
        tables="".join(table.html() for table in tables[:-1]),
        scatters=_figures("scatters", "Scatter plots", "pictures", scatters),
        matrices=_figures("matrices", "Confusion matrices", "matrices", matrices),
        last_table=tables[-1].html(),
        settings=html.escape(json.dumps(options, indent=2, ensure_ascii=False)),
    )


def _figures(name: str, title: str, kind: str, pictures: Mapping[str, bytes]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img alt="{html.escape(caption)}" src="{data_url("image/png", png)}"></figure>'
        for caption, png in pictures.items()
    )
    return f'<section id="{name}"><h2>{title}</h2><div class="{kind}">{figures}</div></section>'
