"""A realistic `ReportData`: real first-layer filters of IRF1 and the numbers that the shipped study printed.

Matches are Tomtom's against JASPAR2026 (`tuner match`), so that no test waits for its kernel; patterns and
contributions are built from the filters' matrices.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.models.audit import Audit, audit
from tuner.models.calibration import fit_calibration
from tuner.models.decisions import score_decisions
from tuner.models.intervals import Interval
from tuner.motifs.database import load_database
from tuner.motifs.match import FilterMatch
from tuner.motifs.meme import column_information, corrected_information, reverse_complement
from tuner.motifs.screen import reference_filters
from tuner.report import data as d
from tuner.results import words as verdicts
from tuner.results.audit_words import audit_words
from tuner.results.confirmation import Standing, Verdict
from tuner.results.predictor_scores import PredictorScores, TaskResult
from tuner.results.verdict import Comparison, composition

IRF = "Interferon-regulatory factors"
LAYER = "IRF1-exponential-k25-p25-"
# filter -> target, E-value, strand: `tuner match` of the reference filters against JASPAR2026
MATCHES = {
    12: ("MA0050.4", "Irf1", 1.18e-6, "-"),
    22: ("MA0051.2", "IRF2", 4.89e-6, "-"),
    23: ("MA0050.4", "Irf1", 2.08e-5, "+"),
    24: ("MA0772.2", "IRF7", 1.60e-6, "-"),
    27: ("MA0050.4", "Irf1", 1.17e-5, "+"),
    6: ("MA2522.1", "ZNF683", 6.61e-3, "+"),
    8: ("MA1976.3", "ZNF320", 4.84e-3, "+"),
}
FAMILY = {"ZNF683": "More than 3 adjacent zinc fingers", "ZNF320": "More than 3 adjacent zinc fingers"}
BASELINES = (  # name, validation, test, matched part, lead, low, high: docs/results.md
    ("best PWM", 0.955, 0.9625, 0.957, 0.023, 0.014, 0.032),
    ("6-mer", 0.874, 0.8798, 0.850, 0.105, 0.083, 0.128),
    ("gc", 0.641, 0.6360, 0.501, 0.349, 0.309, 0.387),
)


SEARCHED = {
    25: {"auroc": 0.9931, "match_fraction": 0.219},
    24: {"auroc": 0.9908, "match_fraction": 0.25},
    21: {"auroc": 0.9921, "match_fraction": 0.234},
}


DEAD = (17, 29)


@cache
def layer() -> list[np.ndarray]:
    """The 32 matrices of one IRF1 network with an exponential first layer."""
    return [m.ppm for m in reference_filters() if m.id.startswith(LAYER)]


def filters() -> tuple[FilterMatch, ...]:
    rows = []
    for i, ppm in enumerate(layer()):
        target, name, e_value, strand = MATCHES.get(i, (None, None, math.nan, "+"))
        dead = i in DEAD
        bits = corrected_information(ppm, 500)
        rows.append(
            FilterMatch(
                filter=i, target=target, target_name=name, family=FAMILY.get(name or "", IRF) if name else None,
                p_value=math.nan, e_value=e_value, offset=0, overlap=0, strand=strand, gated=not dead and bits >= 6,
                significant=target is not None, sites=0 if dead else 500, information=0.0 if dead else bits,
                effect=math.nan if dead else 0.02 + 1.4 * (i in MATCHES) / (1 + i % 7),
            )
        )  # fmt: skip
    rows.sort(key=lambda r: (not r.alive, -r.influence, r.filter))
    return tuple(rows)


def matrices() -> dict[int, np.ndarray]:
    return {i: np.zeros((4, 0)) if i in DEAD else ppm for i, ppm in enumerate(layer())}


def contribution_weights(ppm: np.ndarray, scale: float = 0.35) -> np.ndarray:
    """Contributions such as a network that reads this matrix would give its sites."""
    return scale * ppm * np.clip(column_information(ppm), 0, 2)


def padded(ppm: np.ndarray, before: int, after: int, fill: float = 0.25) -> np.ndarray:
    return np.pad(ppm, ((0, 0), (before, after)), constant_values=fill)


def patterns() -> tuple[d.PatternRow, ...]:
    irf = reverse_complement(layer()[24])
    other = layer()[8]
    rng = np.random.default_rng(0)

    def row(name: str, ppm: np.ndarray, seqlets: int, match: d.MotifMatched | None, sign: int) -> d.PatternRow:
        wide = padded(ppm, 6, 5)
        cwm = sign * contribution_weights(wide) + rng.normal(0, 0.004, wide.shape)
        return d.PatternRow(
            name=name, positive=sign > 0, seqlets=seqlets, cwm=cwm, ppm=wide, match=match,
            above_null=seqlets > 31, contribution=float(cwm.sum()),
        )  # fmt: skip

    return (
        row("pos.0", irf, 412, d.MotifMatched(id="MA0772.2", name="IRF7", family=IRF, e_value=2.1e-8), 1),
        row("pos.1", other, 27, d.MotifMatched(id="MA1976.3", name="ZNF320", family=FAMILY["ZNF320"], e_value=0.4), 1),
        row("neg.0", layer()[2], 44, None, -1),
    )


def sequences() -> tuple[d.SequenceLogo, ...]:
    rng = np.random.default_rng(1)
    irf = reverse_complement(layer()[24])
    logos = []
    for i in range(3):
        letters = rng.integers(0, 4, 60)
        at = 12 + 9 * i
        weights = np.full(60, 0.0)
        letters[at : at + irf.shape[1]] = irf.argmax(axis=0)
        weights[at : at + irf.shape[1]] = column_information(irf) * irf.max(axis=0)
        heights = np.zeros((4, 60), dtype=np.float32)
        heights[letters, np.arange(60)] = 0.3 * weights + rng.normal(0, 0.02, 60)
        truth = np.full((4, 60), 0.25)
        truth[:, at : at + irf.shape[1]] = irf
        logos.append(
            d.SequenceLogo(
                name=f"chr{i + 1}:{1000 * i + 94_000}-{1000 * i + 94_400}", label=1, logit=6.2 - 0.4 * i,
                start=150 + i, heights=heights, truth=truth if i == 0 else None,
            )
        )  # fmt: skip
    return tuple(logos)


def curves(auroc: float, n: int = 120) -> dict[str, Any]:
    """ROC, precision-recall and calibration of two normal scores that lie as far apart as this AUROC says."""
    from scipy.stats import norm

    shift = 2**0.5 * norm.ppf(auroc)
    cut = np.linspace(6, -5, n)
    tpr, fpr = norm.sf(cut - shift), norm.sf(cut)
    precision = tpr / np.maximum(tpr + 405 / 374 * fpr, 1e-12)
    predicted = (0.03, 0.14, 0.26, 0.35, 0.47, 0.55, 0.66, 0.74, 0.86, 0.97)
    return {
        "roc": d.Roc(fpr=(0.0, *fpr, 1.0), tpr=(0.0, *tpr, 1.0)),
        "pr": d.PrecisionRecall(recall=(0.0, *tpr), precision=(1.0, *precision)),
        "calibration": d.CalibrationCurve(
            predicted=predicted, observed=tuple(min(1.0, p * 1.05) for p in predicted),
            counts=(310, 28, 14, 11, 9, 12, 15, 21, 44, 315), error=0.021, brier=0.043,
        ),
    }  # fmt: skip


def predictor(
    auroc: float = 0.987, *, models: int = 5, gain: float = 0.002, tasks: tuple[str, ...] = ("IRF1",)
) -> PredictorScores:
    """What one would use: normal scores that lie as far apart as this AUROC says, `gain` above the mean of the models.

    Every task has the same sequences; intervals are .008 to both sides, adjusted ones .012.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [374, 405])
    logits, held_out = (3 * (rng.standard_normal(779) + 2**0.5 * norm.ppf(auroc) * labels) - 4 for _ in range(2))
    calibration = fit_calibration(
        np.repeat(labels[:, None], len(tasks), 1), np.repeat(held_out[:, None], len(tasks), 1)
    )
    decisions = score_decisions(labels, 1 / (1 + np.exp(-calibration.slope[0] * logits - calibration.intercept[0])),
                                calibration.threshold[0])  # fmt: skip
    leads = {name: Interval(v + gain, low + gain, high + gain, 0.005) for name, _, _, _, v, low, high in BASELINES}
    row = TaskResult(
        auroc=Interval(auroc, auroc - 0.008, auroc + 0.008, 0.004),
        average_precision=Interval(auroc - 0.001, auroc - 0.011, auroc + 0.007, 0.004),
        auroc_adjusted=Interval(auroc, auroc - 0.012, auroc + 0.012, 0.004),
        leads=leads,
        leads_adjusted={k: v._replace(low=v.low - 0.004, high=v.high + 0.004) for k, v in leads.items()},
        decisions=decisions,
        single={"brier": 0.05, "mcc": 0.87, "recall": 0.94, "precision": 0.93, "false_positive_rate": 0.07},
    )
    assert row.auroc is not None
    assert row.average_precision is not None
    return PredictorScores(
        models=models, auroc=row.auroc, average_precision=row.average_precision,
        matched=Interval(auroc + 0.001, auroc - 0.01, auroc + 0.009, 0.004), leads=leads,
        tasks=dict.fromkeys(tasks, row), calibration=calibration, calibrated_on="validation",
    )  # fmt: skip


def model(trial: int = 25, auroc: float = 0.985, **changes: Any) -> d.ModelReport:
    used = predictor(round(auroc + 0.002, 4))
    rows = tuple(
        d.BaselineRow(
            name=name, valid_auroc=valid, test_auroc=test, matched=part, lead=used.leads[name].estimate,
            low=used.leads[name].low, high=used.leads[name].high, standing=Standing.AHEAD, mean_lead=lead,
            mean_low=low, mean_high=high,
        )
        for name, valid, test, part, lead, low, high in BASELINES
    )  # fmt: skip
    epochs = tuple(
        {
            "epoch": e, "loss": 0.62 * 0.88**e + 0.04, "valid_loss": 0.6 * 0.85**e + 0.13 + 0.002 * e,
            "auroc": auroc - 0.3 * 0.75**e, "average_precision": auroc - 0.34 * 0.75**e,
            "learning_rate": 1e-3 if e < 22 else 2e-4, "seconds": 3.1,
        }
        for e in range(1, 31)
    )  # fmt: skip
    found = {
        "trial": trial, "role": "primary trial, best auroc",
        "params": {"activation": "exponential", "architecture": "residualbind", "first_kernel_size": 25,
                   "first_filters": 32, "learning_rate": 0.00131, "dropout": 0.2},
        "valid": {"auroc": 0.9931, "match_fraction": 0.219, "target_fraction": 0.16, "average_precision": 0.992},
        "confirmation": {
            "auroc": d.Estimate(mean=0.9894, low=0.987, high=0.992, n=5),
            "match_fraction": d.Estimate(mean=0.181, low=0.14, high=0.22, n=5),
        },
        "test": d.TestScores(
            auroc=auroc, low=0.975, high=0.993, average_precision=0.984, average_precision_low=0.973,
            average_precision_high=0.992, ensemble=0.987, matched=0.986, matched_gc=0.985, matched_cpg=0.986,
            matched_sequences=476, per_model=(0.983, 0.986, 0.984, 0.987, 0.985), per_task={"IRF1": auroc}, models=5,
            sequences=779, positives=374, baselines=rows, predictor=used,
        ),
        "history": epochs, "network": "the first of its 5 retrained models", "filters": filters(), "ppms": matrices(),
        "stability": {IRF: 5, FAMILY["ZNF320"]: 2}, "stability_of": 5,
        "completeness": d.Completeness(median=2.1e-5, max=4.4e-4, n=374),
        "agreement": d.EngineAgreement(max_abs=3.1e-6, relative=2.4e-6, correlation=0.99999, n=10),
        "explained": "the mean logit of the 5 retrained models of trial 25, averaged over both strands",
        "consensus": d.Consensus(median=0.89, low=0.764, models=5, n=374),
        "references": 20, "sequences_used": 374, "contributions": sequences(), "patterns": patterns(),
        "pattern_words": "3 patterns in 374 sequences.",
        "null": d.Null(seqlets=(31, 24), words="The same settings trained on shuffled labels."),
        "marginal": (
            d.MarginalRow(id="MA0772.2", name="IRF7", family=IRF, effect=2.31, low=2.02, high=2.6),
            d.MarginalRow(id="MA1976.3", name="ZNF320", family=FAMILY["ZNF320"], effect=-0.04, low=-0.15, high=0.07),
        ),
        **curves(auroc),
    }  # fmt: skip
    rows_of = found["filters"]
    found["candidates"] = tuple(f.filter for f in rows_of if f.gated and not f.significant)  # type: ignore[attr-defined]
    found["dead"] = sum(not f.alive for f in rows_of)  # type: ignore[attr-defined]
    return d.ModelReport(**{**found, **changes})


def trials() -> tuple[d.TrialRow, ...]:
    rng = np.random.default_rng(3)
    rows = []
    for n in range(30):
        state = "PRUNED" if n == 13 else "COMPLETE"
        drawn = {"auroc": float(0.99 - 0.05 * rng.random()), "match_fraction": float(round(rng.random() * 0.22, 3))}
        values = SEARCHED.get(n, drawn)
        params = {
            "activation": str(rng.choice(["relu", "exponential", "softplus"])),
            "architecture": str(rng.choice(["residualbind", "cnn_local", "cnn_dist"])),
            "first_kernel_size": int(rng.choice([11, 19, 25])), "first_filters": int(rng.choice([24, 32, 64])),
            "learning_rate": float(10 ** rng.uniform(-4, -2)), "dropout": float(round(rng.random() * 0.4, 2)),
            "initializer": str(rng.choice(["glorot_uniform", "he_normal"])),
        }  # fmt: skip
        rows.append((n, state, values if state == "COMPLETE" else {}, params))
    known = [r for r in rows if r[2]]
    front = {
        n for n, _, v, _ in known
        if not any(w["auroc"] >= v["auroc"] and w["match_fraction"] >= v["match_fraction"] and w != v
                   for _, _, w, _ in known)
    }  # fmt: skip
    made = [
        d.TrialRow(
            number=n, state=state, values=values, params=params, pareto=n in front, warm_start=n < 3,
            watched={"average_precision": 0.9} if values else {}, reason="" if values else "diverged at epoch 3",
        )
        for n, state, values, params in rows
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda t: (not t.values, -t.values.get("auroc", 0))))


@cache
def audited() -> Audit:
    """What `audit` finds, on sequences made here."""
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 4, (400, 200), dtype=np.uint8)
    labels = (np.arange(400) % 2).astype(np.uint8)[:, None]
    motif = next(m for m in load_database("JASPAR2026").motifs if m.id == "MA0050.4")
    width = motif.ppm.shape[1]
    for row in np.flatnonzero(labels[:, 0])[:150]:
        start = int(np.clip(rng.normal(100 - width / 2, 20), 0, 200 - width))
        codes[row, start : start + width] = motif.ppm.argmax(axis=0)
    parts = {"train": Split(codes[:300], labels[:300]), "valid": Split(codes[300:], labels[300:])}
    found = audit(Dataset("made", ("IRF1",), parts, "made"), {"IRF": [motif]}, regression=False)
    assert found.places
    return found


@cache
def irf1() -> d.ReportData:
    """What `tuner report --study irf1` says, but for patterns and trials, which are made here."""
    database = load_database("JASPAR2026")
    rows = trials()
    best: dict[str, float] = {}
    history = []
    for t in sorted(rows, key=lambda t: t.number):
        best |= {k: max(v, best.get(k, v)) for k, v in t.values.items()}
        history.append(d.HistoryPoint(number=t.number, best=dict(best)))
    first = model()
    second = model(
        24, 0.981, role="best match_fraction",
        comparison=Comparison(25, "auroc", 5, 0.0021, 0.0016),
    )  # fmt: skip
    wanted = {m[0] for m in MATCHES.values()} | {p.match.id for p in first.patterns if p.match}
    declared = Verdict(25, 24, 0.0021, -0.0014, 0.0056, "seeds and sequences")
    assert first.test is not None
    tested = {b.name: [b.test_auroc] for b in first.test.baselines if b.test_auroc is not None}
    composed = composition(tested, first.test.used.estimate, first.test.used_matched, (374, 405), split="test")
    found = {
        "study": d.StudyInfo(
            name="irf1", title="Which CNN finds IRF1 sites, and shows the motif?",
            objectives=(
                d.ObjectiveInfo(name="auroc", direction="maximize", note="area under the ROC curve, validation"),
                d.ObjectiveInfo(name="match_fraction", direction="maximize", note="filters that match a known motif"),
            ),
            preset="default", sampler="tpe", seed=0, trials_total=30, states={"COMPLETE": 29, "PRUNED": 1},
            command="tuner report --study irf1", version="0.1.0", created="2026-01-05T10:00:00+00:00",
        ),
        "data": d.DataInfo(
            name="IRF1_400_h3k27ac", source="Koo & Ploenzke 2021", length=400, tasks=("IRF1",), task="IRF1",
            fingerprint="9b1c" * 16,
            splits={
                "train": d.SplitInfo(sequences=2724, positives=1372, gc_positive=0.537, gc_negative=0.502,
                                     cpg_positive=0.31, cpg_negative=0.29),
                "valid": d.SplitInfo(sequences=389, positives=200, gc_positive=0.541, gc_negative=0.499,
                                     cpg_positive=0.32, cpg_negative=0.28),
                "test": d.SplitInfo(sequences=779, positives=374, gc_positive=0.536, gc_negative=0.503,
                                    cpg_positive=0.31, cpg_negative=0.29),
            },
            warnings=("3 sequences occur twice in train.",),
            audit=audited(), audit_lines=audit_words(audited(), shuffled=False).lines,
        ),
        "motifs": d.MotifInfo(
            database=database.name, screened=len(database.screened),
            left_out=tuple(d.MotifName(id=m.id, name=m.name) for m in database.motifs if m.id in database.promiscuous),
            targets={"IRF": ("MA0050.4", "MA0051.2", "MA0772.2")},
            matrices={m.id: m.ppm for m in database.motifs if m.id in wanted},
        ),
        "baselines": first.test.baselines if first.test else (),
        "shuffled": d.Shuffled(match_fractions=(0.021, 0.0, 0.0), aurocs=(0.47, 0.55, 0.51)),
        "composition": composed, "composition_words": verdicts.composition(composed),
        "trials": rows,
        "importance": {
            "auroc": {"learning_rate": 0.48, "architecture": 0.27, "activation": 0.15, "dropout": 0.1},
            "match_fraction": {"activation": 0.61, "first_kernel_size": 0.22, "learning_rate": 0.17},
        },
        "importance_words": "fANOVA over 29 completed trials.",
        "history": tuple(history),
        "selection": d.Selection(
            rule="The Pareto front of the confirmation means (validation): best auroc, best match_fraction; at most 3.",
            trials=(25, 24), roles=(first.role, second.role), primary=25,
            verdict=declared, verdict_words=verdicts.primary(declared, "auroc"), decided="2026-01-05T09:50:00+00:00",
        ),
        "openings": 1, "models": (first, second),
        "warnings": (
            "Trial 24 is not distinguishable from trial 25: paired difference +0.0021 auroc.",
            "1 of 30 trials diverged, ran out of memory or were stopped early.",
            "Data: 3 sequences occur twice in train.",
        ),
        "rerun": ("tuner run --study irf1 --seed 0", "tuner report --study irf1"),
    }  # fmt: skip
    return d.ReportData(**found)


def shuffled() -> d.ReportData:
    """The same study as label-shuffled networks answer it: chance everywhere."""
    base = irf1()
    weak = tuple(f._replace(significant=False, e_value=3.2 if f.target else math.nan) for f in filters())
    rows = tuple(
        d.BaselineRow(
            name=name, valid_auroc=0.5, test_auroc=0.51, matched=0.5, lead=-0.012, low=-0.05, high=0.026,
            standing=Standing.OPEN,
        )
        for name, *_ in BASELINES
    )  # fmt: skip
    first = model(25, 0.985)
    assert first.test is not None
    used = predictor(0.498)._replace(
        auroc=Interval(0.498, 0.458, 0.539, 0.02), leads={b.name: Interval(-0.012, -0.05, 0.026, 0.02) for b in rows}
    )
    poor = replace(first.test, auroc=0.498, low=0.458, high=0.539, matched=0.502, baselines=rows, predictor=used)
    small = tuple(replace(p, seqlets=22, above_null=False) for p in patterns()[:2])
    chance = replace(
        first, filters=weak, candidates=(), stability={}, test=poor, patterns=small, marginal=(), **curves(0.51)
    )
    return replace(base, models=(chance,), baselines=rows, composition=None, composition_words=None)


def bare() -> d.ReportData:
    """A study whose report left out every stage: no test, no filters, no patterns."""
    base = irf1()
    empty = d.ModelReport(trial=25, role="best auroc", params={}, valid={"auroc": 0.9931})
    choice = replace(
        base.selection,
        trials=(25,),
        roles=("best auroc",),
        primary=None,
        verdict=None,
        verdict_words=verdicts.primary(None, "auroc"),
    )
    motifs = replace(base.motifs, matrices={}, targets={})
    return replace(
        base, models=(empty,), baselines=(), shuffled=d.Shuffled(), importance={}, composition=None,
        composition_words=None,
        importance_words="Not computed: 2 completed trials; at least 30 are needed.", selection=choice, motifs=motifs,
    )  # fmt: skip


HOSTILE = "<script>alert(1)</script>\"'&</script><img src=x onerror=alert(2)>${7*7}{{7*7}}$x^2$"


def hostile() -> d.ReportData:
    """Names as an attacker would choose them, in every field that comes from outside."""
    base = irf1()
    rows = tuple(
        f._replace(target_name=HOSTILE, family=HOSTILE, target=f"{HOSTILE}{f.filter}") if f.significant else f
        for f in filters()
    )
    match = d.MotifMatched(id=HOSTILE, name=HOSTILE, family=HOSTILE, e_value=1e-9)
    known = base.models[0].test
    assert known is not None
    first = replace(
        base.models[0], role=HOSTILE,
        test=replace(known, predictor=predictor(tasks=(HOSTILE,)), per_task={HOSTILE: 0.98}),
        params={HOSTILE: HOSTILE}, filters=rows, network=HOSTILE,
        patterns=tuple(replace(p, match=match, name=HOSTILE) for p in patterns()),
        contributions=tuple(replace(s, name=HOSTILE) for s in sequences()), pattern_words=HOSTILE,
        null=d.Null(seqlets=(3,), words=HOSTILE), stability={HOSTILE: 3},
        marginal=tuple(replace(m, name=HOSTILE, id=HOSTILE, family=HOSTILE) for m in base.models[0].marginal),
    )  # fmt: skip
    return replace(
        base,
        study=replace(base.study, name=HOSTILE, title=HOSTILE, command=HOSTILE),
        data=replace(base.data, name=HOSTILE, source=HOSTILE, task=HOSTILE, tasks=(HOSTILE,), warnings=(HOSTILE,)),
        motifs=replace(base.motifs, database=HOSTILE, matrices={HOSTILE: layer()[24]}, targets={HOSTILE: (HOSTILE,)}),
        trials=tuple(t._replace(params={**t.params, HOSTILE: HOSTILE * (t.number % 2 + 1)}) for t in base.trials),
        importance={"auroc": {HOSTILE: 1.0}},
        models=(first,),
        warnings=(HOSTILE,),
        rerun=(HOSTILE,),
    )
