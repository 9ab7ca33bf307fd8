"""`render`: a report as one HTML file that needs nothing else, neither network nor fonts nor scripts from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tuner.errors import StudyError
from tuner.motifs.match import FilterMatch
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.plots.logos import letter_symbols
from tuner.plots.page_searches import interactive_history, interactive_importance, interactive_parallel
from tuner.plots.pages import interactive_front
from tuner.report import figures, words
from tuner.report.data import ModelReport, PatternRow, ReportData
from tuner.report.evidence import evidence, planned
from tuner.report.families import merge_families, order_filters
from tuner.report.folder import use_commands
from tuner.report.numbers import count, e_words, number, scientific
from tuner.report.pictures import (
    chart_json,
    filter_pictures,
    inline_svg,
    packed_plotly,
    pattern_pictures,
    stretch_pictures,
)
from tuner.report.sample import sample_trials
from tuner.results import statement
from tuner.results import words as verdicts

LARGEST = 15_000_000  # bytes of the page
# Bytes of the page per reported trial, rounded up: .38 MB with 32 filters and 3 patterns, 1.16 with 128 and 15.
PER_TRIAL, PER_FILTER = 400_000, 7_000
SHOWN_WARNINGS, SHOWN_TRIALS = 4, 10
FILTER_COLUMNS = 26

GROUPS = {
    "matched": f"Match a known motif (E ≤ {SIGNIFICANT_E:g})",
    "candidate": "Informative, but match no known motif: candidates for novel motifs",
    "weak": "Too few sites or too little information to be compared",
    "dead": "Dead: never respond",
}
FIGURES = {
    "baselines": "AUROC of the model with its 95 % interval and of each baseline, on all test sequences and on the "
    "part matched for GC and CpG. The table holds the numbers.",
    "learning": "Training and validation loss, and validation AUROC, by epoch.",
    "roc": "ROC curve on test sequences, with the diagonal of chance.",
    "pr": "Precision by recall on test sequences, with the line of chance.",
    "calibration": "Observed frequency by predicted probability on test sequences.",
    "marginal": "Mean change of the logit when each motif is inserted, with 95 % intervals. "
    "The table holds the numbers.",
}


DATA_FIGURES = {
    "chromosomes": "Sequences on each chromosome, bound and not bound, by split.",
    "composition": "Composition of bound and unbound sequences. Where the curves differ, a model can score without a "
    "motif.",
    "places": "Where the best hits of the study's target lie in bound sequences. Sites of a factor gather at the "
    "middle of windows around summits.",
}
"""Pictures of the data -> what they show."""


def render(data: ReportData) -> str:
    """Render a report.

    Parameters
    ----------
    data : ReportData
        What it says.

    Returns
    -------
    str
        One HTML document below 15 MB. It loads nothing; a content security policy allows only its own scripts.

    Raises
    ------
    StudyError
        The page would be larger.
    """
    environment = _environment()
    drawn = figures.draw_figures(data)
    packed, plotly = packed_plotly()
    sources = PackageLoader("tuner.report", "templates")
    script = sources.get_source(environment, "page.js")[0]
    shown, sampled = sample_trials(data)
    text = environment.get_template("page.html.j2").render(
        data=data,
        sampled=sampled,
        brief=words.brief(data),
        hero=_hero(data),
        models=[_model(data, m, drawn) for m in data.models],
        charts=_charts(shown, drawn),
        pictures=[(inline_svg(drawn[name], name, text), text) for name, text in DATA_FIGURES.items() if name in drawn],
        trials=_trials(shown),
        use=_use(data),
        plotly=packed,
        style=Markup(sources.get_source(environment, "style.css")[0]),
        script=Markup(script),
        policy=_policy(script, plotly),
        letters=Markup(letter_symbols()),
    )
    check_size(data.study.name, len(text.encode()))
    return text


def check_size(name: str, size: int) -> None:
    """Raise an error if a page has too many bytes.

    Raises
    ------
    StudyError
        It is too large.
    """
    if size > LARGEST:
        raise StudyError(
            f"{name}: the report's page would take {size / 1e6:.0f} MB; at most {LARGEST / 1e6:.0f} MB are sent by "
            "mail and opened by phones. Report fewer trials (--most, --trials)."
        )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tuner.report", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {
        "w": words, "verdicts": verdicts, "statement": statement, "groups": GROUPS,
        "significant": SIGNIFICANT_E, "shown_warnings": SHOWN_WARNINGS,
    }  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "number": number, "scientific": scientific, "setting": _setting, "day": _day,
    }  # fmt: skip
    environment.filters |= filters
    return environment


def _policy(*scripts: str) -> str:
    """Content security policy: nothing is loaded, and only these scripts run."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {hashes}"


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _day(created: str) -> str:
    """Date and minute of an ISO 8601 time."""
    return created[:16].replace("T", " ") + " UTC"


def _hero(data: ReportData) -> dict[str, Any] | None:
    """Return the strongest motif of the first model with the known motif that it matches; None if there is none."""
    if not data.models:
        return None
    model = data.models[0]
    found = evidence(model)
    matrices = dict(data.motifs.matrices)
    if found.kind in ("above null", "no null", "unmatched") and found.pattern is not None:
        pictures = pattern_pictures(found.pattern, matrices)
        title = f"Pattern {found.pattern.name}, {count(found.pattern.seqlets, 'seqlet')}"
    elif found.filter is not None:
        pictures = filter_pictures(found.filter, model.ppms[found.filter.filter], matrices, 0)
        pictures[0] = ("bits", pictures[0][1]) if pictures else ("", Markup(""))
        title = f"Filter {found.filter.filter}, {count(found.filter.sites, 'site')}"
    else:
        return None
    marks = {
        "above null": f"above the null{words.chance_words(model.null)}",
        "no null": "without a null",
        "unmatched": f"above the null{words.chance_words(model.null)}, no known motif",
        "below null": "a filter, while no pattern is above the null",
        "filter": "a filter; no pattern",
    }
    match = f"{found.name} ({found.id}), {e_words(found.e_value)}" if found.name else "no known motif"
    if found.pattern is not None and planned(found.pattern) and found.name:
        match = f"{found.name} ({found.id}), {words.planned_words(found.pattern)}"
    near = found.pattern.match if found.kind == "unmatched" and found.pattern is not None else None
    if near is not None:
        match = f"its nearest motif, {near.name or near.id} ({near.id}), {e_words(near.e_value)}: not significant"
    return {"pictures": pictures, "title": title, "match": match, "family": found.family, "mark": marks[found.kind]}


def _charts(data: ReportData, drawn: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Interactive charts, each with the picture that stands in for it in print and without scripts."""
    objectives, trials, confirmed = figures.front(data)
    numbers, best = figures.history(data)
    axes, shades, rows = figures.parallel(data)
    made: dict[str, tuple[Any, str]] = {}
    if "front" in drawn:
        made["front"] = (
            interactive_front(objectives, trials, confirmed=confirmed),
            f"Pareto front: {len(trials)} complete trials by {' and '.join(o['name'] for o in objectives[:2])}.",
        )
    if "history" in drawn:
        made["history"] = interactive_history(numbers, best), "Best value of each objective so far, by trial."
    if "importance" in drawn:
        made["importance"] = interactive_importance(data.importance), "Importance of each setting for each objective."
    if "parallel" in drawn:
        lines = [(t.number, t.values, t.params) for t in rows]
        made["parallel"] = (
            interactive_parallel(axes, shades, lines),
            f"Settings and values of {len(rows)} complete trials, one line each; lighter is better.",
        )
    return {
        name: {"spec": chart_json(figure), "alt": alt, "static": inline_svg(drawn[name], f"fig-{name}", alt)}
        for name, (figure, alt) in made.items()
    }


def _use(data: ReportData) -> list[tuple[str, str]]:
    """Commands for the primary trial, else for the first that is reported; none where no trial is."""
    if data.selection.primary is None and not data.models:
        return []
    return use_commands(data.study.name, None if data.selection.primary is not None else data.models[0].trial)


def _trials(data: ReportData) -> dict[str, Any]:
    names = list(dict.fromkeys(name for t in data.trials for name in t.params))
    confirmed = {m.trial: m.confirmation for m in data.models}
    reported = {m.trial for m in data.models}
    top = [t for i, t in enumerate(data.trials) if i < SHOWN_TRIALS or t.number in reported]
    seen = {t.number for t in top}
    rest = [t for t in data.trials if t.number not in seen]
    return {"params": names, "confirmed": confirmed, "reported": reported, "top": top, "rest": rest}


def _model(data: ReportData, model: ModelReport, drawn: dict[str, str]) -> dict[str, Any]:
    key = f"trial-{model.trial}"
    matrices = dict(data.motifs.matrices)
    widths = [ppm.shape[1] for ppm in model.ppms.values()]
    width = min(max([4, *widths]) + 2, FILTER_COLUMNS)
    return {
        "m": model,
        "key": key,
        "figures": {
            name: inline_svg(drawn[f"{key}-{name}"], f"{key}-{name}", f"Trial {model.trial}. {alt}")
            for name, alt in FIGURES.items()
            if f"{key}-{name}" in drawn
        },
        "families": merge_families(model),
        "groups": [
            (kind, [_card(f, model.ppms[f.filter], matrices, width) for f in rows])
            for kind, rows in order_filters(model)
        ],
        "patterns": [_pattern(p, matrices) for p in model.patterns],
        "stretches": _stretches(model),
        "reads": words.filter_sentence(model, data.shuffled),
    }


def _card(row: FilterMatch, ppm: np.ndarray, matrices: dict[str, np.ndarray], width: int) -> dict[str, Any]:
    return {"f": row, "pictures": filter_pictures(row, ppm, matrices, width)}


def _pattern(row: PatternRow, matrices: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"p": row, "pictures": pattern_pictures(row, matrices)}


def _stretches(model: ModelReport) -> list[dict[str, Any]]:
    """Sequences with the highest logits, drawn to one scale."""
    logos = model.contributions
    low = min((float(np.minimum(c.heights, 0).sum(axis=0).min(initial=0)) for c in logos), default=0.0)
    high = max((float(np.maximum(c.heights, 0).sum(axis=0).max(initial=0)) for c in logos), default=1.0)
    return [
        {"c": c, "end": c.start + c.heights.shape[1], "rows": stretch_pictures(c.heights, c.truth, low, high, c.name)}
        for c in logos
    ]
