"""A report in Markdown, for the notes that the dashboard shows."""

from __future__ import annotations

from tuner.report.data import ModelReport, ReportData
from tuner.report.motif_words import chance_words, matches_by_chance, pattern_match, target_sentences
from tuner.results import statement, words

SHOWN = 5


def summary(report: ReportData) -> str:
    """Word the section of the study's note."""
    lines = [
        f"{report.selection.rule} Reported: trials {', '.join(map(str, report.selection.trials))}. "
        f"{report.selection.verdict_words}",
        _table(report),
    ]
    if report.composition_words:
        lines.append(report.composition_words)
    if report.warnings:
        lines.append("\n".join(f"- {escape(w)}" for w in report.warnings))
    times = f"{report.openings} time{'s' * (report.openings != 1)}"
    lines.append(f"The test split had been opened {times} when this was written ({report.study.created}).")
    return "\n\n".join(lines)


def trial_note(report: ReportData, model: ModelReport) -> str:
    """Word the note of one reported trial."""
    lines = [f"# Reported: {model.role}", "\n".join(f"- {line}" for line in _numbers(report, model))]
    if model.comparison is not None:
        lines.append(f"It is {words.compared(model.comparison)}.")
    matched = [f for f in model.filters if f.significant]
    if model.filters:
        named = ", ".join(f"{escape(f.name)} (filter {f.filter}, E {f.e_value:.1e})" for f in matched[:SHOWN])
        lines.append(
            f"{len(matched)} of {len(model.filters)} first-layer filters match a known motif"
            + (f": {named}{', ...' if len(matched) > SHOWN else ''}." if matched else ".")
            + escape(_chance(len(matched), model))
            + f" {len(model.candidates)} informative ones match none; {model.dead} never respond."
        )
    if model.patterns:
        chance = chance_words(model.null)
        shown = [
            f"`{p.name}` {p.seqlets} seqlets, "
            + {True: f"above the null{chance}", False: "not above the null", None: "no null"}[p.above_null]
            + f". {escape(pattern_match(p))}"
            for p in model.patterns[:SHOWN]
        ]
        lines.append("TF-MoDISco patterns:\n\n" + "\n".join(f"- {line}" for line in shown))
    elif model.pattern_words:
        lines.append(escape(model.pattern_words))
    lines += [escape(said) for said in target_sentences(model)]
    lines.append(f"Written {report.study.created} by tuner {report.study.version}; figures are with the study.")
    return "\n\n".join(lines)


def _chance(hits: int, model: ModelReport) -> str:
    said = matches_by_chance(hits, model.filter_chance).rstrip("; ")
    return f" {said[0].upper()}{said[1:]}." if said and hits else ""


def escape(text: object) -> str:
    """Text from storage or files as Markdown shows it literally."""
    shown = "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in str(text))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _numbers(report: ReportData, model: ModelReport) -> list[str]:
    found = []
    for objective in report.study.objectives:
        name = objective.name
        if name in model.valid:
            found.append(f"{name}, validation of the selected run (optimistic): {model.valid[name]:.4f}")
        if name in model.confirmation:
            e = model.confirmation[name]
            interval = f", 95 % {e.low:.3f} to {e.high:.3f}" if e.n > 2 else ""
            found.append(f"{name}, validation, mean of {e.n} retrained models: {e.mean:.4f}{interval}")
    if model.test is not None:
        t = model.test
        named = f", {t.used_name}" if t.used_name else ""
        found.append(f"auroc, test{named}: {t.used.estimate:.4f}, 95 % {t.used.low:.3f} to {t.used.high:.3f}")
        if t.predictor is not None:
            if t.models > 1:
                found.append(f"auroc, test, mean of its single models: {t.auroc:.4f}")
            found.append(statement.conclusion(t.predictor))
    return found


def _table(report: ReportData) -> str:
    head = ["trial", "why", "validation AUROC, selected run", "confirmation", head_of_test(report)]
    rows = []
    for m in report.models:
        e, t = m.confirmation.get("auroc"), m.test
        rows.append(
            [
                str(m.trial), m.role, f"{m.valid['auroc']:.4f}" if "auroc" in m.valid else "",
                "" if e is None else f"{e.mean:.4f}" + (f" ({e.low:.3f} to {e.high:.3f})" if e.n > 2 else ""),
                "" if t is None else f"{t.used.estimate:.4f} ({t.used.low:.3f} to {t.used.high:.3f})",
            ]
        )  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def head_of_test(report: ReportData) -> str:
    """Head of the column of test values: what they are of."""
    named = {m.test.used_name.split(" of ")[0] for m in report.models if m.test is not None} - {""}
    return f"test, {named.pop()}" if len(named) == 1 else "test"
