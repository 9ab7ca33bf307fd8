"""Sentences of a report, worded from its numbers; the same functions serve every model, good or bad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuner.motifs.screen import SIGNIFICANT_E
from tuner.report.data import BaselineRow, DataInfo, ModelReport, PatternRow, ReportData, Shuffled, TestScores
from tuner.report.evidence import SHOWN, Evidence, evidence, planned
from tuner.report.motif_words import chance_words as chance_words
from tuner.report.motif_words import matches_by_chance as matches_by_chance
from tuner.report.motif_words import null_words as null_words
from tuner.report.motif_words import pattern_match as pattern_match
from tuner.report.motif_words import planned_words as planned_words
from tuner.report.motif_words import shuffled_words as shuffled_words
from tuner.report.motif_words import target_sentences as target_sentences
from tuner.report.numbers import count, e_words, interval, number, percent, scientific
from tuner.report.probabilities import probabilities
from tuner.results import words as verdicts
from tuner.results.confirmation import Standing
from tuner.results.statement import Beside, family, listed, said
from tuner.results.verdict import composition
from tuner.results.words import baseline_name


class Brief(NamedTuple):
    """The verdict of a report.

    Attributes
    ----------
    headline : str
        One sentence.
    parts : tuple of (str, str)
        Heading and sentences: the question, how well it was answered compared with the baselines, and the motif.
    """

    headline: str
    parts: tuple[tuple[str, str], ...]


def comparison(row: BaselineRow) -> str:
    """Word a model's lead over a baseline; if the interval contains 0, there is no lead."""
    name = baseline_name(row.name)
    if row.lead is None or row.low is None or row.high is None:
        return f"not compared with {name} on test"
    numbers = f"{number(row.lead, signed=True)}, 95 % interval {interval(row.low, row.high, signed=True)}"
    where = {Standing.AHEAD: "ahead of", Standing.BEHIND: "behind", Standing.OPEN: "not distinguishable from"}
    return f"{where[Standing.of(row.low, row.high)]} {name} ({numbers})"


def best_baseline(rows: Sequence[BaselineRow]) -> BaselineRow | None:
    """Return the baseline with the highest test AUROC, or the highest validation AUROC if test was not opened."""
    return max(
        (r for r in rows if r.test_auroc is not None or r.valid_auroc is not None),
        key=lambda r: (r.test_auroc is not None, r.test_auroc or r.valid_auroc or 0.0),
        default=None,
    )


def headline(data: ReportData) -> str:
    """Word the report in one sentence: prediction, then motif."""
    if not data.models:
        return "No model is reported."
    model = data.models[0]
    well, shows = predicts(model), evidence(model).kind in SHOWN
    return f"{_prediction(data, model)}, {'and' if well is shows else 'but'} {_shows(model)}."


def predicts(model: ModelReport) -> bool:
    """Return whether what one would use is above chance on test: the whole interval of its AUROC, or of a task's."""
    if model.test is None:
        return False
    found = model.test.predictor
    if found is not None and len(found.tasks) > 1:
        return any(row.above_chance for row in found.tasks.values())
    return model.test.used.low > 0.5


def _prediction(data: ReportData, model: ModelReport) -> str:
    task, t, head = data.data.task, model.test, f"Trial {model.trial}"
    if t is None:
        return f"{head} has not been tested on unseen {task} sequences"
    named = f", {t.used_name}" if t.used_name else ""
    if len(t.per_task) > 1:
        return _prediction_of_tasks(head, t, f"(mean AUROC {number(t.used.estimate)}{named})")
    auroc, found = f"(AUROC {number(t.used.estimate)}{named})", t.statement
    names = listed([baseline_name(name) for name in found.baselines])
    return {
        Beside.CHANCE: f"{head} does not predict {task} better than chance {auroc}",
        Beside.ALONE: f"{head} predicts {task} on unseen sequences {auroc}, without a baseline to compare it with",
        Beside.BETTER: f"{head} predicts {task} better than every baseline {auroc}",
        Beside.WORSE: f"{head} predicts {task}, but worse than {names} {auroc}",
        Beside.OPEN: f"{head} predicts {task} {auroc}, not distinguishable from {names}",
    }[found.beside]


def _prediction_of_tasks(head: str, t: TestScores, auroc: str) -> str:
    """Word several tasks: how many are better, adjusted for their number; earlier versions stored only the means."""
    found = t.predictor
    if found is None:
        return f"{head} predicts {len(t.per_task)} tasks on unseen sequences {auroc}"
    n = len(found.tested)
    compared = any(row.leads for row in found.tasks.values())
    good = found.better if compared else [name for name, row in found.tasks.items() if row.above_chance]
    than = "every baseline" if compared and any(row.above_chance for row in found.tasks.values()) else "chance"
    return f"{head} predicts {len(good) or 'none'} of {n} tasks better than {than}, adjusted for {n} tasks {auroc}"


def _shows(model: ModelReport) -> str:
    found = evidence(model)
    hits = sum(f.significant for f in model.filters)
    known = f"{count(hits, 'filter')} that match{'es' if hits == 1 else ''} a known motif"
    best = found.filter.name if found.filter is not None else ""
    rest = f"and has {known}, best {best}" if best else "that no known motif matches"
    motif = _headlined(found)
    return {
        "above null": f"shows {motif}, above the null{chance_words(model.null)}",
        "no null": f"shows {motif}, without a null to compare it with",
        "unmatched": f"shows a pattern above the null{chance_words(model.null)} {rest}",
        "below null": "shows no pattern above the null",
        "filter": f"has {known}, best {found.name}",
        "none": "shows no known motif",
    }[found.kind]


def _headlined(found: Evidence) -> str:
    """Name the motif of a pattern: the study's own target first, if the pattern matches it."""
    target = found.pattern.target if found.pattern is not None else None
    if target is None or not target.matched or target.family.casefold() == found.name.casefold():
        return f"the {found.name} motif"
    return f"the motif of the study's target {target.family} (nearest: {found.name})"


def brief(data: ReportData) -> Brief:
    """Word the verdict of a report.

    Parameters
    ----------
    data : ReportData
        The whole report.
    """
    if not data.models:
        return Brief(headline(data), (("Asked", asked(data)),))
    model = data.models[0]
    motif = [
        pattern_sentence(model), *target_sentences(model), filter_sentence(model, data.shuffled),
        *stability_sentence(model),
    ]  # fmt: skip
    return Brief(
        headline(data),
        (
            ("Asked", f"{asked(data)} {declared(data, model)}"),
            (
                "Prediction",
                " ".join([performance(model), *compared(model, data.data), *probabilities(model, data.data.task)]),
            ),
            ("Motif", " ".join(motif)),
        ),
    )


def asked(data: ReportData) -> str:
    """Say what was asked, and about which sequences."""
    train = data.data.splits.get("train")
    of = f" {count(train.sequences, 'training sequence')} of" if train is not None else ""
    return (
        f"Can {data.data.task} be predicted from {data.data.length:,} bp of DNA alone, and by which motif? "
        f"{count(data.study.trials_total, 'network')} {'was' if data.study.trials_total == 1 else 'were'} tried on{of} "
        f"{data.data.name}."
    )


def declared(data: ReportData, model: ModelReport) -> str:
    """Say which trial this is about, and how it came to be."""
    if model.confirmation:
        n = max(e.n for e in model.confirmation.values())
        how = f"chosen before the test split was opened, from {n} retrained {'copy' if n == 1 else 'copies'}"
    else:
        how = "chosen by the search alone, without retraining"
    sure = ""
    verdict = data.selection.verdict
    if verdict is not None and verdict.runner_up is not None and verdict.standing is Standing.OPEN:
        sure = "; on validation it is not distinguishable from the runner-up"
    return f"The answer comes from trial {model.trial} ({model.role or 'given by hand'}), {how}{sure}."


def performance(model: ModelReport) -> str:
    """Say how well a model does on unseen sequences."""
    t = model.test
    if t is None:
        return "The test split was not opened, so nothing is known about unseen sequences."
    who, rest = "it reaches", ""
    if t.used_name:
        who = f"the {t.used_name} reaches"
    if t.predictor is not None and t.models > 1:
        rest = f"; its single models reach {number(t.auroc)} in the mean"
    mean = "mean " if len(t.per_task) > 1 else ""
    return (
        f"On {count(t.sequences, 'test sequence')} ({t.positives:,} positive) {who} {mean}AUROC "
        f"{number(t.used.estimate)} (95 % interval {interval(*t.used[1:3])}) and {mean}average precision "
        f"{number(t.used_precision.estimate)} ({interval(*t.used_precision[1:3])}){rest}."
    )


def compared(model: ModelReport, data: DataInfo) -> list[str]:
    """Compare what one would use with every baseline on test, with the best of them, and with composition."""
    t = model.test
    if t is None or not t.baselines:
        return ["No baseline was tested to compare it with."] if t is not None else []
    best = best_baseline(t.baselines)
    tested = {b.name: [b.test_auroc] for b in t.baselines if b.test_auroc is not None}
    words = verdicts.composition(
        composition(
            tested,
            t.used.estimate,
            t.used_matched,
            (t.positives, t.sequences - t.positives),
            split="test",
            shuffled=data.shuffled_negatives,
        )
    )
    found = [words] if words else []
    if best is None or best.test_auroc is None:
        return found
    if t.predictor is not None and len(t.per_task) > 1:
        found.insert(0, family(t.predictor))
    return [f"{_beside(t, best)}, which reaches {number(best.test_auroc)}.", *found]


def _beside(t: TestScores, best: BaselineRow) -> str:
    """Say where it stands beside every baseline, the best one last."""
    mean = "By the mean of the tasks it is" if len(t.per_task) > 1 else "It is"
    s = t.statement
    if s.beside in (Beside.BETTER, Beside.CHANCE):
        return f"{mean} {said(s)}: {comparison(best)}"
    others = [comparison(b) for b in t.baselines if b.name in s.baselines and b.name != best.name]
    return f"{mean} {', '.join([*others, comparison(best)])}"


def pattern_sentence(model: ModelReport) -> str:
    """Say which motif recurs in the contributions, and whether it exceeds the null."""
    found = evidence(model)
    pattern, null = found.pattern, null_words(model)
    if model.refused:
        return f"The contributions were refused, so no motif was looked for in them: {model.refused}"
    if pattern is None:
        return f"No pattern above the null: {model.pattern_words or 'TF-MoDISco was not run.'}"
    size = count(pattern.seqlets, "seqlet")
    if found.kind == "above null":
        return (
            f"TF-MoDISco finds the {found.name} motif ({_motif(found)}) with {size} in "
            f"{count(model.sequences_used, 'sequence')}: above the null ({null})."
        )
    if found.kind == "no null":
        return (
            f"TF-MoDISco finds the {found.name} motif ({_motif(found)}) with {size} in "
            f"{count(model.sequences_used, 'sequence')}; whether that exceeds the null is not known ({null})."
        )
    if found.kind == "unmatched":
        return f"TF-MoDISco's largest pattern ({size}) is above the null ({null}) and {_nearest(model, pattern)}."
    if found.kind == "below null":
        return f"No pattern is above the null: the largest has {size} ({null})."
    return f"TF-MoDISco's largest pattern has {size} and resembles no known motif; the null is not known ({null})."


def _nearest(model: ModelReport, pattern: PatternRow) -> str:
    """Word what an unmatched pattern resembles most; it is not novel if a filter matches that motif."""
    nothing = f"resembles no known motif (E > {SIGNIFICANT_E:g})"
    near = pattern.match
    if near is None:
        return f"{nothing}: a candidate for a novel motif"
    nearest = f"{nothing}; the nearest is {near.name or near.id} ({e_words(near.e_value)})"
    if any(f.significant and near.id == f.target for f in model.filters):
        return f"{nearest}, which a first-layer filter matches"
    return f"{nearest}: a candidate for a novel motif"


def _motif(found: Evidence) -> str:
    family = f"{found.family}; " if found.family and found.family != found.name else ""
    if found.pattern is not None and planned(found.pattern):
        return f"{family}{found.id}, {planned_words(found.pattern)}"
    return f"{family}{found.id}, {e_words(found.e_value)}"


def filter_sentence(model: ModelReport, shuffled: Shuffled) -> str:
    """Say how many first-layer filters show known motifs, compared with label-shuffled networks."""
    if not model.filters:
        return "First-layer filters were not examined."
    hits = sorted((f for f in model.filters if f.significant), key=lambda f: f.e_value)
    of = f"of {count(len(model.filters), 'first-layer filter')}"
    beside = shuffled_words(shuffled)
    if not hits:
        return f"None {of} matches a known motif (E ≤ {SIGNIFICANT_E:g}); {beside}."
    best = hits[0]
    return (
        f"{len(hits)} {of} match{'es' if len(hits) == 1 else ''} a known motif (E ≤ {SIGNIFICANT_E:g}), best "
        f"{best.name} ({e_words(best.e_value)}); {matches_by_chance(len(hits), model.filter_chance)}{beside}."
    )


def stability_sentence(model: ModelReport) -> list[str]:
    """Say in how many retrained models the motif of the verdict appears."""
    found = evidence(model)
    key = found.family or found.name
    if not key or model.stability_of < 2:
        return []
    k = model.stability.get(key, 0)
    every = "every one of " if k == model.stability_of else ""
    times = f"{every}{model.stability_of}" if every else f"{k} of {model.stability_of}"
    return [f"First-layer filters show {key} in {times} retrained models."]


def importance_sentence(values: dict[str, float]) -> str:
    """Name the settings that mattered most."""
    top = sorted(values.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} ({percent(value)})" for name, value in top)


def consensus_words(model: ModelReport) -> str:
    """Say how well the contributions of the single models agree; nothing for one model."""
    c = model.consensus
    if c is None:
        return ""
    return (
        f"The contributions of two of the {c.models} models by themselves correlate with r = {number(c.median, 2)} in "
        f"the median over {count(c.n, 'sequence')} (above {number(c.low, 2)} in 9 of 10); shown is their mean."
    )


def completeness_words(model: ModelReport) -> str:
    """Say how well contributions add up, and how well two engines agree."""
    parts = []
    c, a = model.completeness, model.agreement
    if c is not None:
        parts.append(
            f"Contributions add up to the change of the logit within {percent(c.median, 2)} in the median and "
            f"{percent(c.max, 2)} at worst ({count(c.n, 'sequence')})."
        )
    if a is not None and a.relative is not None:
        r = "" if a.correlation is None else f", correlation {a.correlation:.4f}"
        parts.append(
            f"A second implementation (shap.DeepExplainer) differs by at most {scientific(a.relative)} of the largest "
            f"contribution{r} ({count(a.n, 'sequence')})."
        )
    elif a is not None and a.words:
        parts.append(f"The second implementation gave no scores: {a.words}")
    return " ".join(parts)
