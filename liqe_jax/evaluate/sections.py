"""The tables of an evaluation: results in the form of the paper, next to published results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from liqe_jax.evaluate.differences import Against
from liqe_jax.evaluate.guard import SEEN, TEST, slug
from liqe_jax.evaluate.protocol import OFFICIAL_PROTOCOL, SESSION_PROTOCOL, WHOLE_PROTOCOL, describe
from liqe_jax.evaluate.published import BASELINES, Published, beside_whole_sets, leaderboard, session_results
from liqe_jax.evaluate.results import Result, Summary, counted, overall, summarise
from liqe_jax.evaluate.table import ABSENT, Number, Table
from liqe_jax.metrics.bootstrap import Interval
from liqe_jax.taxonomy import DISTORTION, SCENE

Rows = list[list[str | Number]]

NAN = float("nan")
TITLES = {"srcc": "SRCC", "krcc": "KRCC", "plcc": "PLCC", "rmse": "RMSE", "plcc_raw": "raw PLCC"}

SEEN_MARK, UNKNOWN_MARK = "†", "‡"
NOTES = {
    SEEN_MARK: f"{SEEN_MARK} Not a test: the model was trained or selected on some of these images.",
    UNKNOWN_MARK: f"{UNKNOWN_MARK} Possibly not a test: the training data of the model are not stated.",
}
METRICS_NOTE = "PLCC and RMSE are computed after a four-parameter logistic, raw PLCC without it. RMSE is in MOS units."


def mark_of(status: str) -> str:
    """The mark of results with this status."""
    return {TEST: "", SEEN: SEEN_MARK}.get(status, UNKNOWN_MARK)


def _table(
    name: str, title: str, header: Sequence[str], rows: Rows, notes: Sequence[str] = (), models: bool = True
) -> Table:
    """A table with a note on each mark in it; without `models`, its second column, that of models, is removed."""
    marks = dict.fromkeys(cell.mark for row in rows for cell in row if isinstance(cell, Number) and cell.mark)
    if not models:
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    return Table(name, title, header, rows, [*notes, *(NOTES[mark] for mark in marks)])


def of_protocol(results: Sequence[Result], protocol: str) -> list[Result]:
    """The results of one protocol."""
    return [result for result in results if result.unit.protocol == protocol]


def all_tables(results: Sequence[Result], name: str, differences: Mapping[int, Against], other: str) -> list[Table]:
    """All tables that have at least one row; `name` and `other` are the models of this and of the other evaluation."""
    tables: list[Table] = []
    summaries = summarise(of_protocol(results, SESSION_PROTOCOL))
    if summaries:
        tables += [session_table(summaries, name, metric) for metric in ("srcc", "plcc")]
        tables.append(spread_table(summaries))
    if single := [*of_protocol(results, OFFICIAL_PROTOCOL), *of_protocol(results, WHOLE_PROTOCOL)]:
        tables.append(single_table(single))
        if beside := published_table(single):
            tables.append(beside)
    if measured := leaderboard_table(results):
        tables.append(measured)
    for attribute, labels in (("scene", SCENE.labels), ("distortion", DISTORTION.labels)):
        labelled = [result for result in results if getattr(result, attribute)]
        if labelled:
            tables.append(label_table(labelled, attribute, labels))
    if differences:
        tables.append(difference_table(results, differences, name, other))
    tables.append(unit_table(results))
    return tables


def session_table(summaries: Sequence[Summary], name: str, metric: str) -> Table:
    """Methods by data sets, like Table 1 of the paper, with averages over the sets."""
    rows: Rows = []
    for statistic in ("median", "mean", "std"):
        cells = [Number(s.statistics[statistic][metric], 3, mark_of(s.status)) for s in summaries]
        means = [NAN, NAN] if statistic == "std" else overall(summaries, statistic, metric)
        rows.append([f"{name} ({statistic})", "this run", *cells, *(Number(value) for value in means)])
    images = [summary.images for summary in summaries]
    methods: dict[str, list[Published]] = {}
    for row in session_results():
        if row.metric == metric:
            methods.setdefault(row.method, []).append(row)
    for method, of_method in methods.items():
        known = {slug(row.dataset): row.value for row in of_method}
        values = [known.get(slug(summary.dataset), NAN) for summary in summaries]
        means = [float(np.mean(values)), float(np.average(values, weights=images))]
        baseline = ", baseline" if method in BASELINES else ""
        rows.append([f"{method} (published{baseline})", of_method[0].training, *(Number(v) for v in [*values, *means])])
    rows.append(["sessions", "", *(f"{len(s.used)} of {s.asked} {s.status}" for s in summaries), "", ""])
    notes = [
        "Only sessions that are tests are included, if there are any. std divides by their number. Weighted: by images "
        "per session. Published results: ReLIQS, Table 2 (arXiv 2608.01730), which does not state whether they are "
        "means or medians; none was measured here.",
    ]
    header = ["method", "trained on", *(summary.dataset for summary in summaries), "average", "weighted"]
    return _table(f"sessions_{metric}", f"{TITLES[metric]} over the sessions", header, rows, notes)


def spread_table(summaries: Sequence[Summary]) -> Table:
    """All metrics of every set: median, mean and standard deviation over sessions."""
    names = {**TITLES, "scene": "scene recall", "distortion": "distortion accuracy"}
    rows: Rows = [
        [s.dataset, statistic, *(Number(s.statistics[statistic][metric], 4, mark_of(s.status)) for metric in names)]
        for s in summaries
        for statistic in ("median", "mean", "std")
    ]
    notes = [
        METRICS_NOTE,
        "Scene recall: share of all scene labels that are among their image's k most probable scenes, as in the "
        "reference's training code.",
    ]
    header = ["set", "over sessions", *names.values()]
    return _table("sessions_all", "All metrics over the sessions", header, rows, notes)


def single_table(results: Sequence[Result]) -> Table:
    """Official splits and whole sets, with confidence intervals."""
    rows: Rows = []
    for result in results:
        images, unit, mark = Number(result.metrics.images, 0), result.unit, mark_of(result.seen.status)
        srcc, krcc, plcc, *others = (Number(result.metric(metric), 3, mark) for metric in TITLES)
        values: list[str | Number] = [srcc, _interval(result.srcc), krcc, plcc, _interval(result.plcc), *others]
        rows.append([describe(unit), unit.model, images, *values, result.seen.status])
    metrics = ["SRCC", "interval", "KRCC", "PLCC", "interval", "RMSE", "raw PLCC"]
    header = ["set", "model", "images", *metrics, "status"]
    notes = [
        f"{METRICS_NOTE} Intervals: bootstrap over images; PLCC's keep the logistic fixed.",
        " ".join(dict.fromkeys(f"{r.unit.dataset}: {r.seen.reason}." for r in results)),
    ]
    return _table("single", "Across data sets, and official splits", header, rows, notes, _several_models(results))


def published_table(results: Sequence[Result]) -> Table | None:
    """Results on whole sets next to published results; None if there are none."""
    whole = of_protocol(results, WHOLE_PROTOCOL)
    rows: Rows = []
    for result in whole:
        for row in beside_whole_sets():
            if slug(row.dataset) == slug(result.unit.dataset):
                measured = Number(result.metrics.srcc, 3, mark_of(result.seen.status))
                values = [Number(row.value), measured, Number(result.metrics.srcc - row.value)]
                rows.append([result.unit.dataset, result.unit.model, *values, row.training, row.source])
    header = ["set", "model", "published", "measured", "difference", "published model trained on", "source"]
    title = "SRCC of whole sets, measured and published"
    return _table("whole_published", title, header, rows, models=_several_models(whole)) if rows else None


def leaderboard_table(results: Sequence[Result]) -> Table | None:
    """The public leaderboard's results of LIQE next to the measured results; None if none of its sets is measured."""
    rows: Rows = []
    for row in leaderboard():
        found = [r for r in of_protocol(results, row.protocol) if slug(r.unit.dataset) == slug(row.dataset)]
        how, value, mark = ABSENT, NAN, ""
        if found:
            (summary,) = summarise(found)
            value, mark = summary.statistics["median"]["srcc"], mark_of(summary.status)
            how = f"median of {len(summary.used)}" if len(summary.used) > 1 else describe(found[0].unit)
        measured, change = Number(value, 3, mark), Number(value - row.value)
        rows.append([row.label, Number(row.value), measured, change, how, row.training])
    if all(how == ABSENT for *_, how, _ in rows):
        return None
    header = ["leaderboard's name", "published", "measured", "difference", "measured as", "published model trained on"]
    notes = ["Without a measured result: not evaluated in this run, or the split is not known."]
    return _table("leaderboard", "SRCC on the public leaderboard", header, rows, notes)


def label_table(results: Sequence[Result], attribute: str, labels: Sequence[str]) -> Table:
    """Recall of scenes or accuracy of distortions, overall and for each label."""
    rows: Rows = []
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        # The sessions of a set share a row; official splits and whole sets have a row per model.
        unit = result.unit
        model = "" if unit.protocol == SESSION_PROTOCOL else unit.model
        groups.setdefault((unit.dataset, unit.protocol, model), []).append(result)
    for (dataset, protocol, _), group in groups.items():
        used = counted(group)
        found = [getattr(result, attribute) for result in used]
        several = f"{dataset}, mean of {len(used)} sessions"
        name = several if protocol == SESSION_PROTOCOL and len(used) > 1 else describe(used[0].unit)
        mark = mark_of(used[0].seen.status)
        table = np.array([one.by_label for one in found])
        known = np.isfinite(table)
        shares = np.where(known, table, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        images = Number(float(np.mean([one.count for one in found])), 0)
        score = Number(float(np.mean([one.score for one in found])), 3, mark)
        rows.append([name, images, score, *(Number(float(share), 2) for share in shares)])
    what = {"scene": "Top-k recall of scenes", "distortion": "Accuracy of distortions"}[attribute]
    return _table(f"{attribute}s", f"{what}, by label", ["set", "images", "all", *labels], rows)


def difference_table(results: Sequence[Result], differences: Mapping[int, Against], name: str, other: str) -> Table:
    """SRCC of two evaluations on the same images, with the significance of the difference."""
    rows: Rows = []
    models: set[str] = set()
    for position, against in differences.items():
        result, found = results[position], against.comparison
        pair = dict.fromkeys([result.unit.model, against.unit.model])
        models.update(pair)
        first = Number(found.first, 3, mark_of(result.seen.status))
        second = Number(found.second, 3, mark_of(against.seen.status))
        interval = f"{found.bootstrap.low:+.3f} to {found.bootstrap.high:+.3f}"
        tests = [Number(found.williams.p, 4), Number(found.bootstrap.p, 4)]
        difference = Number(found.bootstrap.value)
        rows.append([describe(result.unit), ", ".join(pair), first, second, difference, interval, *tests])
    header = ["set", "model", name, other, "difference", "interval", "p (Williams)", "p (paired bootstrap)"]
    notes = [
        "Two-sided tests of each set and session, without correction for multiple tests. Intervals: bootstrap over "
        "images, both models on the same resamples, with the confidence and method of the other intervals."
    ]
    if len(models) > 1:
        notes.append("Rows with two models: the other evaluation lacks a model of that name; its first one is used.")
    return _table("differences", f"SRCC of {name} and {other}", header, rows, notes, len(models) > 1)


def unit_table(results: Sequence[Result]) -> Table:
    """All metrics of every unit."""
    rows: Rows = []
    for result in results:
        unit, metrics = result.unit, [Number(result.metric(metric), 4) for metric in TITLES]
        labels = [unit.dataset, unit.protocol, unit.session, unit.split or "all", unit.model, result.seen.status]
        rows.append([*labels, Number(result.metrics.images, 0), *metrics])
    header = ["set", "protocol", "session", "split", "model", "status", "images", *TITLES.values()]
    return _table("units", "Every session and set", header, rows, [METRICS_NOTE])


def _several_models(results: Sequence[Result]) -> bool:
    return len({result.unit.model for result in results}) > 1


def _interval(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"
