"""Warnings that a reader must know before believing a report, worded from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuner.data.sizes import auroc_interval
from tuner.report.data import BaselineRow, DataInfo, ModelReport, Selection, Shuffled, SplitInfo, StudyInfo
from tuner.results import words
from tuner.results.confirmation import Standing
from tuner.results.statement import family
from tuner.results.verdict import Composition, Finding

COMPOSITION = {"gc": "GC content", "cpg": "CpG content"}
ALONE = 0.65  # AUROC of composition alone from which there is a warning
SMALL_TEST, FEW_POSITIVES, FEW_ATTRIBUTED, FEW_TRIALS = 300, 100, 100, 10
INCOMPLETE = 0.01


def cautions(
    study: StudyInfo,
    data: DataInfo,
    targets: bool,
    selection: Selection,
    models: Sequence[ModelReport],
    baselines: Sequence[BaselineRow],
    shuffled: Shuffled,
    composition: Composition | None,
    openings: int,
    left_out: Sequence[str],
) -> tuple[str, ...]:
    """List the warnings of a report, the most serious kinds first."""
    return tuple(
        [
            *_baselines(data, models, baselines, composition),
            *_models(models, shuffled),
            *_sample(data, models),
            *_study(study, targets, selection, openings),
            *(f"Data: {warning}" for warning in data.warnings),
            *([f"Not in this report: {', '.join(left_out)}; run it again without --stages."] if left_out else []),
        ]
    )


def _baselines(
    data: DataInfo, models: Sequence[ModelReport], baselines: Sequence[BaselineRow], composition: Composition | None
) -> Iterator[str]:
    for b in baselines:
        key, value = ("test", b.test_auroc) if b.test_auroc is not None else ("valid", b.valid_auroc)
        if b.name in COMPOSITION and value is not None and value >= ALONE:
            yield from _alone(COMPOSITION[b.name], value, {"valid": "validation"}.get(key, key), data.splits.get(key))
    if composition is not None and composition.finding is Finding.CONFOUNDED:
        yield f"On {composition.split}: {words.composition(composition)}"
    for m in models:
        found = None if m.test is None else m.test.predictor
        if found is not None and len(found.tasks) > 1 and len(found.better) < len(found.tested):
            yield f"Trial {m.trial}: {family(found)}"
        for b in m.test.baselines if m.test is not None else ():
            if b.standing in (Standing.BEHIND, Standing.OPEN):
                said = "behind" if b.standing is Standing.BEHIND else "not distinguishable from"
                yield (
                    f"Trial {m.trial} is {said} the {b.name} baseline on test: lead {b.lead:+.3f} AUROC "
                    f"({b.low:+.3f} to {b.high:+.3f})."
                )
    if not baselines:
        yield "No baseline was fitted, so it is not known what composition or one motif alone would reach."


def _alone(label: str, auroc: float, split: str, sizes: SplitInfo | None) -> Iterator[str]:
    """Say what composition alone reaches, with its interval, unless the interval contains chance."""
    if sizes is None or sizes.positives is None:
        yield f"{label} alone reaches AUROC {auroc:.2f} on {split}."
        return
    low, high = auroc_interval(auroc, sizes.positives, sizes.sequences - sizes.positives)
    if low > 0.5:
        yield f"{label} alone reaches AUROC {auroc:.2f} on {split} (95 % interval about {low:.2f} to {high:.2f})."


def _models(models: Sequence[ModelReport], shuffled: Shuffled) -> Iterator[str]:
    for m in models:
        if m.collapsed:
            runs = max((e.n for e in m.confirmation.values()), default=0) + m.collapsed
            yield f"{m.collapsed} of {runs} models of trial {m.trial} diverged or failed and are in no mean."
        if not m.confirmation:
            yield f"Trial {m.trial} was not retrained: its validation values come from one seed, the best of many."
        elif (n := max(e.n for e in m.confirmation.values())) < 3:
            yield f"Trial {m.trial} was retrained {n} time{'s' * (n > 1)}, too few for an interval."
        if m.comparison is not None and m.comparison.standing is Standing.OPEN:
            yield f"Trial {m.trial} is {words.compared(m.comparison)}."
        if m.filters and m.dead * 2 > len(m.filters):
            yield f"{m.dead} of {len(m.filters)} first-layer filters of trial {m.trial} never respond."
        if m.refused:
            yield f"Contributions of trial {m.trial} were refused: {m.refused}"
        elif m.completeness is not None and m.completeness.max > INCOMPLETE:
            yield (
                f"Contributions of trial {m.trial} add up within {m.completeness.median:.2%} in the median, but "
                f"are off by {m.completeness.max:.1%} in the worst of {m.completeness.n} sequences."
            )
        if m.agreement is not None and m.agreement.words:
            yield f"Trial {m.trial}: the second SHAP engine gave no scores. {m.agreement.words}"
        below = [p.name for p in m.patterns if p.above_null is False]
        if below:
            yield (
                f"{len(below)} of {len(m.patterns)} patterns of trial {m.trial} ({', '.join(below[:5])}) have no more "
                f"seqlets than the patterns of {_networks(m)} trained on shuffled labels."
            )
        fraction = m.valid.get("match_fraction")
        for kind, shares in (
            ("label-shuffled", shuffled.match_fractions), ("composition-only", shuffled.composition_match_fractions),
        ):  # fmt: skip
            if shares and fraction is not None and max(shares) >= fraction:
                yield (
                    f"Filters of a {kind} network match as often ({max(shares):.3f}) as those of trial {m.trial} "
                    f"({fraction:.3f})."
                )


def _networks(model: ModelReport) -> str:
    count = 1 if model.null is None else model.null.networks
    return "a network" if count < 2 else f"{count} networks"


def _sample(data: DataInfo, models: Sequence[ModelReport]) -> Iterator[str]:
    test = data.splits["test"]
    if test.sequences < SMALL_TEST:
        yield f"The test split has {test.sequences} sequences; its intervals are wide."
    if test.positives is not None and test.positives < FEW_POSITIVES:
        yield f"The test split has {test.positives} positives of {data.task}."
    for m in models:
        if 0 < m.sequences_used < FEW_ATTRIBUTED:
            yield f"Contributions of trial {m.trial} come from {m.sequences_used} sequences; rare motifs may be missed."
    if len(data.tasks) > 1:
        yield (
            f"{len(data.tasks)} tasks: AUROC and average precision are means over them; curves, contributions and "
            f"patterns are those of {data.task} (choose another one with --task)."
        )


def _study(study: StudyInfo, targets: bool, selection: Selection, openings: int) -> Iterator[str]:
    if not targets:
        yield "The study names no target motif, so target_fraction and coverage are 0."
    verdict = selection.verdict
    if verdict is None or (verdict.runner_up is not None and verdict.standing is Standing.OPEN):
        yield selection.verdict_words
    if openings > len(selection.trials):
        yield (
            f"The test split of this study has been opened {openings} times; each opening makes its numbers more "
            "optimistic if something was changed in between."
        )
    if study.states.get("COMPLETE", 0) < FEW_TRIALS:
        yield f"The search completed {study.states.get('COMPLETE', 0)} trials; better settings may not have been tried."
    for state, how in (("FAIL", "failed for good"), ("PRUNED", "diverged, ran out of memory or were stopped early")):
        if study.states.get(state):
            yield f"{study.states[state]} of {study.trials_total} trials {how}."
