"""What a report warns of: each caution where its number asks for it, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tuner.report.caution import cautions
from tuner.report.data import (
    BaselineRow,
    Completeness,
    DataInfo,
    EngineAgreement,
    Estimate,
    ModelReport,
    PatternRow,
    Selection,
    Shuffled,
    SplitInfo,
    StudyInfo,
)
from tuner.results.confirmation import Verdict
from tuner.results.verdict import Comparison, composition

STUDY = StudyInfo(
    name="s", title="", objectives=(), preset="standard", sampler="tpe", seed=0, trials_total=30,
    states={"COMPLETE": 30}, command="", version="", created="",
)  # fmt: skip
DATA = DataInfo(
    name="d", source="", length=200, tasks=("bound",), task="bound", fingerprint="",
    splits={"test": SplitInfo(sequences=800, positives=400)}, warnings=(),
)  # fmt: skip
AHEAD = Verdict(3, 1, 0.02, 0.01, 0.03)
SELECTION = Selection(
    rule="", trials=(3,), roles=("primary trial",), primary=3, verdict=AHEAD, verdict_words="ahead", decided=""
)
OPEN = replace(SELECTION, verdict=Verdict(3, 1, 0.001, -0.007, 0.009), verdict_words="not distinguishable from trial 1")
MODEL = ModelReport(
    trial=3, role="primary trial", params={}, valid={"match_fraction": 0.5},
    confirmation={"auroc": Estimate(mean=0.9, low=0.88, high=0.92, n=3)}, sequences_used=200,
)  # fmt: skip
BASELINE = BaselineRow(name="gc", valid_auroc=0.55)
SHARP = {"name": "p", "positive": True, "seqlets": 40, "cwm": np.zeros((4, 0)), "ppm": np.zeros((4, 0)), "match": None}


def said(model: ModelReport = MODEL, **changes: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {
        "study": STUDY, "data": DATA, "targets": True, "selection": SELECTION, "models": [model],
        "baselines": [BASELINE], "shuffled": Shuffled(), "composition": None, "openings": 1, "left_out": (),
    }  # fmt: skip
    return cautions(**given | changes)


def test_a_sound_report_warns_of_nothing() -> None:
    assert said() == ()


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"valid": {"match_fraction": 0.2}}, "Filters of a label-shuffled network match as often (0.200)"),
        ({"collapsed": 2}, "2 of 5 models of trial 3 diverged or failed and are in no mean."),
        ({"confirmation": {}}, "Trial 3 was not retrained"),
        ({"confirmation": {"auroc": Estimate(mean=0.9, low=0.9, high=0.9, n=2)}}, "Trial 3 was retrained 2 times, too"),
        (
            {"comparison": Comparison(1, "auroc", 5, 0.001, -0.007, 0.009)},
            "Trial 3 is not distinguishable from trial 1: lead",
        ),
        ({"refused": "They do not add up."}, "Contributions of trial 3 were refused: They do not add up."),
        ({"completeness": Completeness(median=0.001, max=0.02, n=100)}, "off by 2.0% in the worst of 100 sequences"),
        (
            {"agreement": EngineAgreement(max_abs=None, relative=None, correlation=None, n=8, words="No rule.")},
            "Trial 3: the second SHAP engine gave no scores. No rule.",
        ),
        ({"patterns": (PatternRow(above_null=False, **SHARP),)}, "1 of 1 patterns of trial 3 (p) have no more seqlets"),
        ({"sequences_used": 99}, "Contributions of trial 3 come from 99 sequences"),
    ],
)
def test_a_weak_model_is_named(changes: dict[str, Any], warning: str) -> None:
    (found,) = said(replace(MODEL, **changes), shuffled=Shuffled(match_fractions=(0.1, 0.2)))
    assert found.startswith(warning) or warning in found


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"targets": False}, "The study names no target motif"),
        ({"selection": OPEN}, "not distinguishable from"),
        ({"openings": 2}, "has been opened 2 times"),
        ({"study": replace(STUDY, states={"COMPLETE": 9})}, "The search completed 9 trials"),
        ({"study": replace(STUDY, states={"COMPLETE": 20, "FAIL": 10})}, "10 of 30 trials failed for good."),
        ({"study": replace(STUDY, states={"COMPLETE": 20, "PRUNED": 10})}, "10 of 30 trials diverged, ran out"),
        ({"data": replace(DATA, splits={"test": SplitInfo(sequences=299)})}, "The test split has 299 sequences"),
        ({"data": replace(DATA, splits={"test": SplitInfo(sequences=800, positives=99)})}, "has 99 positives of bound"),
        ({"data": replace(DATA, tasks=("bound", "open"))}, "2 tasks: AUROC and average precision are means"),
        ({"data": replace(DATA, warnings=("copies",))}, "Data: copies"),
        ({"left_out": ("patterns",)}, "Not in this report: patterns; run it again without --stages."),
        ({"baselines": []}, "No baseline was fitted"),
        ({"baselines": [replace(BASELINE, valid_auroc=0.65)]}, "GC content alone reaches AUROC 0.65 on validation"),
        ({"baselines": [replace(BASELINE, test_auroc=0.7)]}, "GC content alone reaches AUROC 0.70 on test"),
        ({"composition": composition({"gc": [0.9]}, 0.95, None, split="test")}, "On test: Composition is confounded"),
    ],
)
def test_a_weak_study_is_named(changes: dict[str, Any], warning: str) -> None:
    (found,) = said(**changes)
    assert warning in found


def test_the_limits_themselves_are_sound() -> None:
    exact = replace(DATA, splits={"test": SplitInfo(sequences=300, positives=100)})
    assert said(replace(MODEL, sequences_used=100), data=exact, study=replace(STUDY, states={"COMPLETE": 10})) == ()
