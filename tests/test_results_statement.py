"""What is said of an ensemble beside every baseline, for one task and several; its error rate; real data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.genome.sequence import decode
from tuner.models.baselines import fit_baseline
from tuner.models.calibration import fit_calibration
from tuner.results.predictor_scores import (
    PredictorScores,
    calibrate,
    compare_task,
    family_confidence,
    predictor_values,
    read_predictor,
    score_predictor,
)
from tuner.results.statement import Beside, Statement, basis, conclusion, family, listed, of_task, said, stand


@pytest.mark.parametrize(
    ("low", "leads", "beside", "names"),
    [
        (0.8, {"gc": (0.1, 0.2), "6-mer": (0.01, 0.03)}, Beside.BETTER, ()),
        (0.8, {"gc": (0.1, 0.2), "6-mer": (-0.01, 0.03)}, Beside.OPEN, ("6-mer",)),
        (0.8, {"gc": (-0.1, 0.3), "6-mer": (0.0, 0.03)}, Beside.OPEN, ("gc", "6-mer")),
        (0.8, {"gc": (-0.1, 0.3), "6-mer": (-0.05, -0.01)}, Beside.WORSE, ("6-mer",)),
        (0.5, {"gc": (0.1, 0.2)}, Beside.CHANCE, ()),
        (float("nan"), {"gc": (0.1, 0.2)}, Beside.CHANCE, ()),
        (0.8, {}, Beside.ALONE, ()),
    ],
)
def test_better_is_said_only_beside_every_baseline_and_chance(
    low: float, leads: dict[str, tuple[float, float]], beside: Beside, names: tuple[str, ...]
) -> None:
    assert stand(low, leads) == Statement(beside, names)


def test_the_words_of_a_statement() -> None:
    assert said(Statement(Beside.BETTER)) == "better than chance and every baseline"
    assert said(Statement(Beside.OPEN, ("gc", "6-mer"))) == (
        "not distinguishable from GC content and 6-mer logistic regression"
    )
    assert said(Statement(Beside.WORSE, ("best PWM",))) == "worse than the best single motif (PWM)"
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize("tasks", [1, 10])
def test_a_family_is_called_better_wrongly_in_at_most_one_of_twenty_studies(tasks: int) -> None:
    """The hardest case: on every task one baseline ranks as well as the predictor, the other much worse.

    200 studies of 120 sequences; two standard errors of .05 are allowed. Without the adjustment each of 10 tasks would
    be called better in .025 of the studies, any of them in .22.
    """
    rng = np.random.default_rng(tasks)
    labels = np.repeat([1, 0], 60)
    adjusted = alone = 0
    for _ in range(200):
        better = [False, False]
        for _ in range(tasks):
            shared = rng.standard_normal(120) + 1.5 * labels
            ours, equal = (shared + 0.7 * rng.standard_normal(120) for _ in range(2))
            told = {"6-mer": equal, "gc": rng.standard_normal(120) + 0.3 * labels}
            for i, confidence in enumerate((family_confidence(tasks), 0.95)):
                auroc, leads = compare_task(labels, ours, told, confidence)
                found = stand(auroc.low, {name: (lead.low, lead.high) for name, lead in leads.items()})
                better[i] |= found.beside is Beside.BETTER
        adjusted += better[0]
        alone += better[1]
    assert adjusted / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert adjusted <= alone
    if tasks == 10:
        assert alone / 200 > 0.1


def test_the_adjustment_keeps_what_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 300)
    ours, other = rng.standard_normal(600) + 2.5 * labels, rng.standard_normal(600) + 1.0 * labels
    _, leads = compare_task(labels, ours, {"6-mer": other}, family_confidence(10))
    _, single = compare_task(labels, ours, {"6-mer": other}, family_confidence(1))
    assert 0 < leads["6-mer"].low < single["6-mer"].low
    # Bonferroni: the quantile of 1 - .05 / 10 / 2, of t with 299 degrees of freedom, as a table has it.
    assert leads["6-mer"].estimate - leads["6-mer"].low == pytest.approx(
        2.828 * leads["6-mer"].standard_error, rel=1e-3
    )


@pytest.fixture(scope="module")
def cells(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """USF1 in three cell types: every sixth of 44,492 peaks."""
    import gzip

    folder = tmp_path_factory.mktemp("cells")
    with gzip.open(data_dir / "usf1_multicell" / "usf1_multicell.tsv.gz", "rt") as file:
        lines = file.readlines()
    (folder / "cells.tsv").write_text("".join([lines[0], *lines[1::6]]))
    return load_dataset(DataSpec(path="cells.tsv", label_columns=("HepG2", "H1hESC", "K562")), base=folder)


class Study:
    """Three models of one data set, their validation and test logits, and two baselines."""

    def __init__(self, data: Dataset) -> None:
        self.tasks, self.labels = data.tasks, data.test.labels
        texts = {name: decode(data.splits[name].codes) for name in ("train", "valid", "test")}
        held_out, logits = [], []
        for k in (3, 4, 5):  # models: logistic regressions on k-mers, far too sure of themselves
            count = CountVectorizer(analyzer="char", ngram_range=(k, k), lowercase=False, dtype=np.float32)
            train, valid, test = (count.fit_transform(texts["train"]), *map(count.transform, list(texts.values())[1:]))
            sides = []
            for t in range(3):
                fitted = LogisticRegression(C=0.03, max_iter=200).fit(train, data.train.labels[:, t])
                sides.append([4 * fitted.decision_function(part) for part in (valid, test)])
            held_out.append((data.valid.labels, np.stack([side[0] for side in sides], axis=1)))
            logits.append(np.stack([side[1] for side in sides], axis=1))
        self.logits, self.held_out = np.stack(logits), held_out
        self.baselines = {n: fit_baseline(n, data).score(data.test.codes) for n in ("gc", "cpg")}
        self.calibrated = calibrate(held_out, folds=False)
        self.found = score_predictor(self.tasks, self.labels, self.logits, self.baselines, self.calibrated)


@pytest.fixture(scope="module")
def study(cells: Dataset) -> Study:
    return Study(cells)


def test_each_task_of_real_data_has_the_scores_of_scikit_learn(study: Study) -> None:
    mean, found = study.logits.mean(axis=0), study.found
    line = fit_calibration(study.held_out[0][0], np.mean([z for _, z in study.held_out], axis=0))
    assert found.calibration == line
    p = line.probability(mean)
    assert found.auroc.estimate == pytest.approx(roc_auc_score(study.labels, mean))
    assert found.average_precision.estimate == pytest.approx(average_precision_score(study.labels, mean))
    for t, (task, row) in enumerate(found.tasks.items()):
        y = study.labels[:, t]
        called = p[:, t] >= line.threshold[t]
        assert row.auroc is not None
        assert row.auroc.estimate == pytest.approx(roc_auc_score(y, mean[:, t]))
        assert row.decisions.brier.estimate == pytest.approx(brier_score_loss(y, p[:, t])), task
        assert row.decisions.mcc is not None
        assert row.decisions.mcc.estimate == pytest.approx(matthews_corrcoef(y, called))
        for name, score in (("recall", recall_score), ("precision", precision_score)):
            assert getattr(row.decisions, name).estimate == pytest.approx(score(y, called))
        for name, scores in study.baselines.items():
            lead = row.leads[name]
            assert lead.estimate == pytest.approx(roc_auc_score(y, mean[:, t]) - roc_auc_score(y, scores[:, t]))
            wide = row.leads_adjusted[name]
            assert wide.estimate == lead.estimate
            assert wide.low < lead.low < lead.high < wide.high
        alone = [
            brier_score_loss(y, fit_calibration(labels[:, t], valid[:, t]).probability(test[:, t]))
            for (labels, valid), test in zip(study.held_out, study.logits, strict=True)
        ]
        assert row.single["brier"] == pytest.approx(np.mean(alone))


def test_calibration_on_validation_serves_unseen_sequences_of_real_data(study: Study) -> None:
    raw = 1 / (1 + np.exp(-study.logits.mean(axis=0)))
    for t, row in enumerate(study.found.tasks.values()):
        assert row.decisions.brier.estimate < brier_score_loss(study.labels[:, t], raw[:, t]) - 0.02
        assert row.decisions.brier.estimate < row.decisions.base_rate_brier
        assert row.decisions.expected_error < 0.05


def test_real_tasks_are_told_as_a_family(study: Study) -> None:
    found = study.found
    by_hand = [
        name
        for name, row in found.tasks.items()
        if row.auroc_adjusted is not None
        and row.auroc_adjusted.low > 0.5
        and min(lead.low for lead in row.leads_adjusted.values()) > 0
    ]
    assert found.better == by_hand
    assert conclusion(found) == family(found)
    assert family(found).startswith(
        f"Better than chance and every baseline on {len(by_hand)} of 3 tasks, adjusted for 3"
    )
    assert "calibrated on validation, which also selected the models: they are slightly optimistic" in basis(found)


def test_json_keeps_a_predictor(study: Study) -> None:
    values = json.loads(json.dumps(predictor_values(study.found), allow_nan=False))
    again = read_predictor(values)
    assert again is not None
    assert isinstance(again, PredictorScores)
    assert predictor_values(again) == predictor_values(study.found)
    assert again.tasks["K562"].leads == study.found.tasks["K562"].leads
    assert again.calibration == study.found.calibration
    assert read_predictor(None) is None


def test_a_task_with_one_class_on_test_is_left_out_and_said(study: Study) -> None:
    labels = study.labels[:2000].copy()
    labels[:, 1] = 0
    found = score_predictor(
        study.tasks, labels, study.logits[:, :2000], {k: v[:2000] for k, v in study.baselines.items()}, study.calibrated
    )
    assert list(found.tested) == ["HepG2", "K562"]
    assert of_task(found, "H1hESC") is None
    assert "of 2 tasks, adjusted for 2 tasks" in family(found)
    assert family(found).endswith("1 more has one class on test.")
    assert found.tasks["H1hESC"].decisions.mcc is None


def test_one_model_is_no_ensemble(study: Study) -> None:
    one = calibrate(study.held_out[:1], folds=False)
    found = score_predictor(study.tasks[:1], study.labels[:, :1], study.logits[:1, :, :1], {}, calibrate(
        [(labels[:, :1], z[:, :1]) for labels, z in study.held_out[:1]], folds=False))  # fmt: skip
    assert (found.models, found.name, found.calibration.slope) == (1, "model", one.whole.slope[:1])
    assert conclusion(found) == "The model is better than chance, without a baseline to compare it with."
    assert found.tasks[study.tasks[0]].single["brier"] == found.tasks[study.tasks[0]].decisions.brier.estimate


def test_models_of_folds_are_calibrated_on_their_own_folds(study: Study) -> None:
    """Three models that saw each other's held-out sequences: their ensemble has the line of the pooled predictions."""
    parts = [(labels[i::3], z[i::3]) for i, (labels, z) in enumerate(study.held_out)]
    found = calibrate(parts, folds=True)
    labels, logits = (np.concatenate(side) for side in zip(*parts, strict=True))
    assert (found.on, found.whole) == ("folds", fit_calibration(labels, logits))
    assert found.single[1] == fit_calibration(*parts[1])
