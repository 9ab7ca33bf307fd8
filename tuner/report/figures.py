"""Every figure of a report, by name: files for a paper, and the pictures of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from tuner.models.recipe import EpochRecord
from tuner.motifs.filters import Filter
from tuner.plots.audit import Shares, draw_chromosomes, draw_composition, draw_places
from tuner.plots.contribution_logos import Stretch, contribution_logos
from tuner.plots.curves import draw_learning_curve
from tuner.plots.discrimination import draw_calibration, draw_precision_recall, draw_roc
from tuner.plots.figures import Figure, png, svg
from tuner.plots.filter_logos import filter_logos
from tuner.plots.forest import ForestRow, draw_forest
from tuner.plots.fronts import ConfirmedTrial, FrontTrial, Objective, draw_pareto_front
from tuner.plots.searches import Axis, draw_history, draw_importance, draw_parallel, parallel_axes
from tuner.report.data import ModelReport, ReportData, TrialRow
from tuner.report.numbers import number
from tuner.report.sample import sample_trials
from tuner.results.words import baseline_name

MOST_CURVES = 5  # motifs whose places are drawn


def draw_figures(data: ReportData) -> dict[str, str]:
    """Draw what a report shows; what was not measured is left out.

    Parameters
    ----------
    data : ReportData
        The whole report.

    Returns
    -------
    dict of str to str
        Name -> SVG: ``front``, ``history``, ``importance``, ``parallel``, ``chromosomes``, ``composition``, ``places``,
        and ``trial-N-...`` for each reported trial.
    """
    found = {name: svg(figure) for name, figure in _study(sample_trials(data)[0])}
    found |= {name: svg(figure) for name, figure in _data(data)}
    for model in data.models:
        key = f"trial-{model.trial}"
        found |= {f"{key}-{name}": svg(figure) for name, figure in _curves(model)}
        found |= {f"{key}-{name}": logos for name, logos in _logos(model)}
    return found


def figure_files(data: ReportData) -> dict[str, bytes]:
    """Render every figure as SVG and as PNG of 200 dots an inch: file name -> content."""
    files = {}
    for name, picture in draw_figures(data).items():
        files[f"{name}.svg"] = picture.encode()
        files[f"{name}.png"] = png(picture, dpi=200)
    return files


def front(data: ReportData) -> tuple[list[Objective], list[FrontTrial], list[ConfirmedTrial]]:
    """Objectives, complete trials and retrained means, as fronts are drawn of them."""
    objectives: list[Objective] = [{"name": o.name, "direction": o.direction} for o in data.study.objectives]
    names = [o["name"] for o in objectives]
    trials: list[FrontTrial] = [
        {
            "number": t.number, "values": t.values, "pareto": t.pareto, "warm_start": t.warm_start,
            "params": t.params,
        }
        for t in complete(data)
    ]  # fmt: skip
    confirmed: list[ConfirmedTrial] = [
        {
            "number": m.trial,
            "means": {n: m.confirmation[n].mean for n in names},
            "low": {n: m.confirmation[n].ends[0] for n in names},
            "high": {n: m.confirmation[n].ends[1] for n in names},
            "primary": m.trial == data.selection.primary,
        }
        for m in data.models
        if all(n in m.confirmation for n in names)
    ]
    return objectives, trials, confirmed


def complete(data: ReportData) -> list[TrialRow]:
    """Trials with all values."""
    names = [o.name for o in data.study.objectives]
    return [t for t in data.trials if t.values and all(n in t.values for n in names)]


def history(data: ReportData) -> tuple[list[int], dict[str, list[float | None]]]:
    """Trial numbers, and the best value of each objective up to each of them."""
    points = data.history
    best = {o.name: [p.best.get(o.name) for p in points] for o in data.study.objectives}
    return [p.number for p in points], best


def parallel(data: ReportData) -> tuple[tuple[Axis, ...], list[float], list[TrialRow]]:
    """Settings and objectives of the complete trials as axes, and how good each trial is by the first objective."""
    trials = complete(data)
    if len(trials) < 2:
        return (), [], []
    axes = parallel_axes([{**t.params, **t.values} for t in trials])
    first = data.study.objectives[0]
    values = np.array([t.values[first.name] for t in trials])
    ranks = np.argsort(np.argsort(values if first.direction == "maximize" else -values))
    return axes, [float(r) / (len(trials) - 1) for r in ranks], trials


def _study(data: ReportData) -> Iterator[tuple[str, Figure]]:
    objectives, trials, confirmed = front(data)
    if trials:
        yield "front", draw_pareto_front(objectives, trials, confirmed=confirmed)
    numbers, best = history(data)
    if numbers:
        yield "history", draw_history(numbers, best)
    if data.importance:
        yield "importance", draw_importance(data.importance)
    axes, shades, _ = parallel(data)
    if axes:
        yield "parallel", draw_parallel(axes, shades)


def _data(data: ReportData) -> Iterator[tuple[str, Figure]]:
    """Chromosomes of the splits, composition of both classes, and where the named motifs lie in the reported task."""
    if (places := data.data.chromosomes) is not None:
        yield "chromosomes", draw_chromosomes(places.names, places.counts)
    found = data.data.audit
    if found is None:
        return
    labels = {"gc": "GC content", "cpg": "CpG observed / expected", "repeats": "share of repeats (lower case)"}
    if found.histograms:
        panels = [Shares(labels[h.name], h.edges, h.positives, h.negatives) for h in found.histograms]
        yield "composition", draw_composition(panels)
    names = {m.motif: f"{m.target} ({m.motif}), {m.hits:,} hits" for m in found.motifs if m.task == data.data.task}
    curves = [p for p in found.places if p.task == data.data.task][:MOST_CURVES]
    if curves:
        yield "places", draw_places([Shares(names[p.motif], p.edges, p.shares, np.zeros(0)) for p in curves])


def _curves(model: ModelReport) -> Iterator[tuple[str, Figure]]:
    test = model.test
    if test is not None and test.baselines:
        rows = [ForestRow(f"trial {model.trial}", *test.used[:3], True, test.used_matched)]
        rows += [
            ForestRow(baseline_name(b.name), b.test_auroc, second=b.matched)
            for b in test.baselines
            if b.test_auroc is not None
        ]
        part = f"matched for GC and CpG ({test.matched_sequences:,})" if test.matched is not None else ""
        axis = f"AUROC on {test.sequences:,} test sequences"
        whole = f"all test sequences ({test.sequences:,})"
        yield "baselines", draw_forest(rows, axis=axis, zero=0.5, zero_label="chance", first=whole, second=part)
    if model.history:
        yield "learning", draw_learning_curve([_epoch(row) for row in model.history], best_epoch=model.kept)
    if model.roc is not None:
        label = f"AUROC {number(model.roc.area)}" if model.roc.area is not None else ""
        yield "roc", draw_roc(model.roc.fpr, model.roc.tpr, label=label)
    if model.pr is not None and test is not None:
        prevalence = test.positives / max(test.sequences, 1)
        label = f"average precision {number(model.pr.area)}" if model.pr.area is not None else ""
        yield "pr", draw_precision_recall(model.pr.recall, model.pr.precision, prevalence=prevalence, label=label)
    if model.calibration is not None:
        c = model.calibration
        label = f"calibration error {number(c.error)}"
        yield "calibration", draw_calibration(c.predicted, c.observed, c.counts, low=c.low, high=c.high, label=label)
    if model.marginal:
        rows = [ForestRow(f"{m.name or m.id} ({m.id})", m.effect, m.low, m.high) for m in model.marginal]
        yield "marginal", draw_forest(rows, axis="mean change of the logit", zero=0.0, zero_label="no effect")


def _logos(model: ModelReport) -> Iterator[tuple[str, str]]:
    if model.filters:
        filters = [Filter(f.filter, model.ppms[f.filter], f.sites, f.information, f.alive, 0) for f in model.filters]
        yield "filters", filter_logos(filters, [f for f in model.filters if f.target is not None])
    if model.contributions:
        stretches = [Stretch(f"{c.name}, from base {c.start}", c.heights, c.truth) for c in model.contributions]
        yield "contributions", contribution_logos(stretches)
    if model.patterns:
        yield "patterns", contribution_logos([Stretch(f"{p.name}, {p.seqlets} seqlets", p.cwm) for p in model.patterns])


def _epoch(row: Mapping[str, object]) -> EpochRecord:
    """One epoch as it was recorded; what is missing is NaN."""
    numbers = {name: float(str(v)) if (v := row.get(name)) is not None else math.nan for name in EpochRecord._fields}
    return EpochRecord(**{**numbers, "epoch": int(numbers["epoch"])})  # type: ignore[arg-type]
