"""Parts of a report about the study as a whole: question, data, trials, controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import optuna

import tuner
from tuner.data.chromosome_counts import chromosome_counts
from tuner.data.dataset import Split
from tuner.genome.sequence import cpg, gc_content
from tuner.models.audit import audit
from tuner.report.data import (
    BaselineRow,
    DataInfo,
    HistoryPoint,
    ModelReport,
    MotifInfo,
    MotifName,
    ObjectiveInfo,
    Shuffled,
    SplitInfo,
    StudyInfo,
)
from tuner.report.source import Source
from tuner.results.audit_words import audit_words
from tuner.results.confirmation import Confirmed, Standing
from tuner.results.leaderboard import FrozenTrial, TrialState, stage_trials
from tuner.results.nulls import COMPOSITION, SHUFFLED, is_null, null_matches
from tuner.results.predictor_scores import PredictorScores
from tuner.results.verdict import Composition, composition
from tuner.results.words import nulls
from tuner.storage.artifacts import undigested
from tuner.storage.keys import CONTROLS
from tuner.study.objectives import OBJECTIVES

FEWEST_FOR_IMPORTANCE = 30  # completed trials; of fewer, noise alone "explains" a quarter
PERMUTED = 5  # times that values are dealt to other trials, for the importance that chance gives
MOST_FOR_IMPORTANCE = 500  # completed trials; the time of fANOVA grows with them, 5,000 take minutes


def study_info(source: Source, *, command: str, created: str) -> StudyInfo:
    """Collect what was asked."""
    plan = source.bench.plan
    trials = stage_trials(source.storage, source.name)
    states = [t.state.name for t in trials]
    return StudyInfo(
        name=source.name, title=plan.study.title,
        objectives=tuple(
            ObjectiveInfo(name=o, direction=OBJECTIVES[o].direction, note=OBJECTIVES[o].note)
            for o in plan.study.objectives
        ),
        preset=plan.preset, sampler=plan.sampler, seed=plan.seed, trials_total=len(trials),
        states={s: states.count(s) for s in sorted(set(states))},
        command=command, version=tuner.__version__, created=created,
    )  # fmt: skip


def data_info(source: Source, *, opened: bool) -> DataInfo:
    """Describe the sequences; for a test split that was not opened, only its size."""
    data = source.dataset
    closed = {} if opened else {"test": SplitInfo(sequences=len(data.splits["test"]))}
    splits = {name: closed.get(name) or split_info(split, source.task) for name, split in data.splits.items()}
    database = source.bench.database
    named = source.bench.plan.study.motifs.targets
    targets = {family: [database.find(one) for one in ids] for family, ids in named.items()}
    found = audit(data.without_test() if data.sealed is None else data, targets, regression=False)
    words = audit_words(found, shuffled=data.shuffled)
    return DataInfo(
        name=data.name, source=data.source, length=data.length, tasks=data.tasks, task=data.tasks[source.task],
        fingerprint=data.fingerprint, splits=splits, warnings=(*data.describe()["warnings"], *words.warnings),
        audit=found, audit_lines=words.lines, shuffled_negatives=data.shuffled, recipe=data.recipe,
        chromosomes=chromosome_counts(data),
    )  # fmt: skip


def split_info(split: Split, task: int) -> SplitInfo:
    """Counts and composition of the classes of one task."""
    positive = split.labels[:, task] == 1

    def mean(values: np.ndarray, rows: np.ndarray) -> float | None:
        return float(values[rows].mean()) if rows.any() else None

    gc, islands = gc_content(split.codes), cpg(split.codes)
    return SplitInfo(
        sequences=len(split), positives=int(positive.sum()),
        gc_positive=mean(gc, positive), gc_negative=mean(gc, ~positive),
        cpg_positive=mean(islands, positive), cpg_negative=mean(islands, ~positive),
    )  # fmt: skip


def motif_info(source: Source, models: Sequence[ModelReport]) -> MotifInfo:
    """The motif database, the named targets, and the motifs that the models are matched with."""
    database = source.bench.database
    named = {f.target for m in models for f in m.filters if f.significant}
    named |= {p.match.id for m in models for p in m.patterns if p.match is not None}
    left_out = [m for m in database.motifs if m.id in database.promiscuous]
    return MotifInfo(
        database=database.name, screened=len(database.screened),
        left_out=tuple(MotifName(id=m.id, name=m.name) for m in left_out),
        targets={family: tuple(ids) for family, ids in source.bench.plan.study.motifs.targets.items()},
        matrices={m.id: m.ppm for m in database.motifs if m.id in named},
    )  # fmt: skip


def best_so_far(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> tuple[HistoryPoint, ...]:
    """Best value of each objective up to each trial, by number."""
    best: dict[str, float] = {}
    points = []
    for t in sorted(trials, key=lambda t: t.number):
        for name, value in zip(objectives, t.values or (), strict=False) if t.state == TrialState.COMPLETE else ():
            better = max if OBJECTIVES[name].direction == "maximize" else min
            best[name] = better(best.get(name, value), value)
        points.append(HistoryPoint(number=t.number, best=dict(best)))
    return tuple(points)


def importance(source: Source, trials: Sequence[FrozenTrial]) -> tuple[dict[str, dict[str, float]], str]:
    """Hyperparameter importance of each objective by fANOVA (Hutter et al. 2014), or why there is none."""
    objectives = source.bench.plan.study.objectives
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    if len(complete) < FEWEST_FOR_IMPORTANCE:
        return {}, (
            f"Not computed: {len(complete)} completed trial{'s' * (len(complete) != 1)}; "
            f"at least {FEWEST_FOR_IMPORTANCE} are needed."
        )
    of = f"{len(complete)}"
    if len(complete) > MOST_FOR_IMPORTANCE:
        of = f"{MOST_FOR_IMPORTANCE} of {len(complete):,}"
        rows = np.sort(np.random.default_rng(0).permutation(len(complete))[:MOST_FOR_IMPORTANCE])
        complete = [complete[i] for i in rows]
        try:
            study = _in_memory(complete, [OBJECTIVES[o].direction for o in objectives])
        except ValueError as e:  # a stored value outside of its range
            return {}, f"Not computed: {e}"
    else:
        study = optuna.load_study(study_name=source.name, storage=source.storage)
    shared = set.intersection(*(set(t.params) for t in complete))
    varied = sorted(p for p in shared if len({repr(t.params[p]) for t in complete}) > 1)
    if not varied:
        return {}, "Not computed: no parameter of every completed trial varies."
    found: dict[str, dict[str, float]] = {}
    without = []
    for axis, name in enumerate(objectives):
        if len({t.values[axis] for t in complete}) < 2:
            without.append(f"{name} is the same in all trials")
            continue
        try:
            shares = _shares(study, varied, partial(_value, axis))
            chance = max(max(_shares(study, varied, dealt, trees=16).values()) for dealt in _dealt(study, axis))
        except (ValueError, RuntimeError) as e:
            without.append(f"{name}: {e}")
            continue
        if above := {parameter: share for parameter, share in shares.items() if share > chance}:
            found[name] = above
        else:
            without.append(f"no parameter decides {name} more than chance does ({chance:.2f})")
    drawn = ", drawn at random" if " of " in of else ""
    words = (
        f"fANOVA over {of} completed trials{drawn}; parameters that not every trial has, and those below the largest "
        f"importance of any parameter for values dealt at random ({PERMUTED} times), are left out."
    )
    return found, words + (f" Not computed: {'; '.join(without)}." if without else "")


def _shares(
    study: optuna.Study, parameters: list[str], target: Callable[[FrozenTrial], float], *, trees: int = 64
) -> dict[str, float]:
    """Importance of parameters for a target."""
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=trees)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=parameters, target=target)


def _dealt(study: optuna.Study, axis: int) -> Iterator[Callable[[FrozenTrial], float]]:
    """Targets that know nothing: the values of one objective, dealt to the trials at random."""
    known = {t.number: t.values[axis] for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    rng = np.random.default_rng(0)
    for _ in range(PERMUTED):
        dealt = dict(zip(known, rng.permutation(list(known.values())).tolist(), strict=True))
        yield lambda trial, dealt=dealt: float(dealt[trial.number])  # type: ignore[misc]


def _in_memory(trials: Sequence[FrozenTrial], directions: Sequence[Literal["maximize", "minimize"]]) -> optuna.Study:
    """These trials as a study of their own, without what is stored with them but parameters and values."""
    study = optuna.create_study(directions=directions)
    study.add_trials(
        [
            optuna.create_trial(params=t.params, distributions=t.distributions, values=list(t.values), state=t.state)
            for t in trials
        ]
    )
    return study


def _value(axis: int, trial: FrozenTrial) -> float:
    return float(trial.values[axis])


def controls(source: Source, primary: Confirmed | None) -> tuple[dict[str, tuple[float, str]], Shuffled]:
    """Validation AUROC and detail of each baseline, and the networks that have nothing to find."""
    baselines: dict[str, tuple[float, str]] = {}
    aurocs: dict[str, list[float]] = {}
    for run in stage_trials(source.storage, source.name + CONTROLS):
        if run.state != TrialState.COMPLETE:
            continue
        if is_null(run):
            aurocs.setdefault(str(run.params["control"]), []).append(float(run.values[0]))
        else:
            baselines[str(run.params["control"])] = float(run.values[0]), str(run.user_attrs.get("detail", ""))
    found = null_matches(source.storage, source.name, primary)
    return baselines, Shuffled(
        match_fractions=found.networks.get(SHUFFLED, ()), aurocs=tuple(aurocs.get(SHUFFLED, ())),
        composition_match_fractions=found.networks.get(COMPOSITION, ()),
        composition_aurocs=tuple(aurocs.get(COMPOSITION, ())),
        words=nulls(found, None if primary is None else primary.candidate) or "",
    )  # fmt: skip


def baseline_rows(
    fitted: Mapping[str, tuple[float, str]], tested: Mapping[str, Any], predictor: PredictorScores | None = None
) -> tuple[BaselineRow, ...]:
    """Baselines on validation, and where test was opened beside what one would use there; best first."""
    rows = []
    for name, (auroc, detail) in fitted.items():
        b = tested.get(name)
        if b is None:
            rows.append(BaselineRow(name=name, valid_auroc=auroc, detail=detail))
            continue
        lead, low, high = mean = (b["lead"], b["low"], b["high"])
        beside = {}
        if predictor is not None:
            lead, low, high = predictor.leads[name][:3]
            if predictor.models > 1:
                beside = dict(zip(("mean_lead", "mean_low", "mean_high"), mean, strict=True))
        rows.append(
            BaselineRow(
                name=name, valid_auroc=auroc, test_auroc=b["auroc"], matched=b.get("matched"), lead=lead, low=low,
                high=high, standing=Standing.of(low, high), detail=detail, **beside,
            )
        )  # fmt: skip
    return tuple(sorted(rows, key=lambda r: -(r.test_auroc if r.test_auroc is not None else r.valid_auroc or 0.0)))


def about_composition(
    models: Sequence[ModelReport], baselines: Sequence[BaselineRow], data: DataInfo
) -> Composition | None:
    """Compute how much composition alone achieves: on test, compared with the first model, else on validation."""
    if not models:
        return None
    first = models[0]

    def sizes(name: str) -> tuple[int, int] | None:
        split = data.splits[name]
        return None if split.positives is None else (split.positives, split.sequences - split.positives)

    if (t := first.test) is not None:
        tested = {b.name: [b.test_auroc] for b in baselines if b.test_auroc is not None}
        return composition(
            tested, t.used.estimate, t.used_matched, sizes("test"), split="test", shuffled=data.shuffled_negatives
        )
    valid = {b.name: [b.valid_auroc] for b in baselines if b.valid_auroc is not None}
    means = {k: e.mean for k, e in first.confirmation.items()} or first.valid
    if "auroc" not in means:
        return None
    return composition(
        valid, means["auroc"], means.get("matched_auroc"), sizes("valid"), shuffled=data.shuffled_negatives
    )


def undigested_files(source: Source, trials: Sequence[int]) -> tuple[str, ...]:
    """Warn if files of the reported models were stored without digests."""
    count = sum(len(undigested(run)) for trial in trials for run in source.models(trial))
    if not count:
        return ()
    return (
        f"{count} files of these models were stored by a version of tuner that kept no digests, so only their sizes "
        "could be checked.",
    )
