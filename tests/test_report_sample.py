"""A page of thousands of trials shows the best, the front and a sample, says so, and stays small."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from report_example import irf1

from tuner.report import collect
from tuner.report.data import HistoryPoint, ReportData
from tuner.report.page import LARGEST, render
from tuner.report.sample import BEST, SHOWN, sample_trials
from tuner.report.tables import tables


@pytest.fixture(scope="module")
def many() -> ReportData:
    """IRF1's report, had 5,000 trials been made; two thirds of them on the front."""
    data = irf1()
    rows = tuple(
        data.trials[i % len(data.trials)]._replace(number=i if i > 50 else 9000 + i, pareto=i % 3 != 0)
        for i in range(5000)
    )
    rows = (*rows[:4900], *(t._replace(pareto=False) for t in data.trials if t.number in {25, 24}), *rows[4900:])
    history = tuple(HistoryPoint(number=i, best={"auroc": 0.5 + (i // 999) / 10}) for i in range(5000))
    return replace(data, trials=rows, history=history)


def test_the_sample_holds_the_best_the_front_and_what_is_reported(many: ReportData) -> None:
    shown, words = sample_trials(many)
    numbers = [t.number for t in shown.trials]
    assert len(numbers) == SHOWN
    assert numbers[:BEST] == [t.number for t in many.trials[:BEST]]
    assert {m.trial for m in many.models} <= set(numbers)
    place = {t.number: i for i, t in enumerate(many.trials)}
    assert [place[n] for n in numbers] == sorted(place[n] for n in numbers), "still best first"
    assert f"{SHOWN} of 5,00" in words
    assert "trials.tsv and report.json hold all" in words
    assert {p.best["auroc"] for p in shown.history} == {p.best["auroc"] for p in many.history}
    assert len(shown.history) <= SHOWN + 2 * BEST
    assert sample_trials(shown) == (shown, ""), "a sample is not sampled again"


def test_a_study_of_ordinary_size_is_shown_whole() -> None:
    assert sample_trials(irf1()) == (irf1(), "")


def test_the_page_tells_its_sample_and_the_tables_hold_every_trial(many: ReportData) -> None:
    page = render(many)
    assert sample_trials(many)[1] in page
    assert len(page.encode()) < LARGEST / 2
    assert len(tables(many)["trials.tsv"].splitlines()) == len(many.trials) + 1
    assert len(json.loads(many.to_json())["trials"]) == len(many.trials)
    assert "Shown here" not in render(irf1())


def test_importance_is_measured_on_a_sample_of_many_trials_and_says_so() -> None:
    rng = np.random.default_rng(0)
    space = {name: FloatDistribution(0, 1) for name in ("a", "b")}
    trials = []
    for number in range(collect.MOST_FOR_IMPORTANCE + 300):
        params = {name: float(rng.random()) for name in space}
        trials.append(create_trial(values=[params["a"] + 0.05 * params["b"]], params=params, distributions=space))
        trials[-1].number = number
    source = SimpleNamespace(bench=SimpleNamespace(plan=SimpleNamespace(study=SimpleNamespace(objectives=["auroc"]))))
    found, words = collect.importance(source, trials)
    assert words.startswith("fANOVA over 500 of 800 completed trials, drawn at random;")
    assert found["auroc"]["a"] > 0.9
    trials[0].params = trials[1].params = {"a": 7.0, "b": 0.5}  # as no trial of this range has it
    for trial in trials[2:]:
        trial.params = {"a": 7.0, "b": trial.params["b"]}
    assert collect.importance(source, trials)[1].startswith("Not computed: The value 7.0 of parameter 'a'")
