"""`TunerClassifier` keeps scikit-learn's rules where the input is text, learns, and leaves as a predictor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import PLANTED
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import tuner
from tuner.errors import DataError

pytestmark = pytest.mark.slow

# Those of `check_estimator` that need no matrix of numbers; it leaves all but one of them out for text.
CHECKS: list[Callable[[str, object], None]] = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_estimator_sparse_tag,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
]


def sequences(n: int = 120) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(n)]
    labels = np.array(["unbound", "bound"] * (n // 2))
    return [t if y == "unbound" else t[:20] + PLANTED + t[30:] for t, y in zip(texts, labels, strict=True)], labels


QUICK = tuner.TunerClassifier(epochs=2, hyperparameters={"n_blocks": 1, "filters": 8})


@pytest.fixture(scope="module")
def fitted() -> tuner.TunerClassifier:
    return tuner.TunerClassifier(epochs=20, seeds=2).fit(*sequences(240))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_rules_of_scikit_learn_hold(check: Callable[[str, object], None]) -> None:
    check("TunerClassifier", tuner.TunerClassifier())


def test_scikit_learn_itself_finds_no_fault() -> None:
    with pytest.warns(UserWarning, match="Can't test estimator TunerClassifier which requires input"):
        found = estimator_checks.check_estimator(tuner.TunerClassifier(), on_fail=None)
    assert {one["status"] for one in found} == {"passed"}


def test_it_learns_a_planted_motif_and_its_labels_are_the_users(fitted: tuner.TunerClassifier) -> None:
    texts, labels = sequences(300)
    new, true = texts[240:], labels[240:]  # not among those it was fitted on
    assert fitted.classes_.tolist() == ["bound", "unbound"]
    chances = fitted.predict_proba(new)
    assert chances.shape == (60, 2)
    assert chances.sum(axis=1) == pytest.approx(np.ones(60))
    assert fitted.score(new, true) > 0.9
    assert np.array_equal(fitted.predict(new), fitted.classes_[(chances[:, 1] >= 0.5).astype(int)])
    order = np.argsort(fitted.decision_function(new))
    assert (np.diff(chances[order, 1]) >= 0).all()


def test_a_fit_repeats_and_does_not_change_its_parameters() -> None:
    texts, labels = sequences(60)
    one = clone(QUICK).fit(texts, labels)
    again = clone(QUICK).fit(pd.Series(texts, index=range(5, 65)), list(labels))
    assert np.array_equal(one.predict_proba(texts), again.predict_proba(np.array(texts)[:, None]))
    assert one.get_params() == QUICK.get_params()
    other = clone(QUICK).set_params(random_state=1).fit(texts, labels)
    assert not np.array_equal(one.predict_proba(texts), other.predict_proba(texts))


def test_it_works_in_cross_validation_grids_and_pipelines() -> None:
    texts, labels = sequences(60)
    assert cross_val_score(QUICK, texts, labels, cv=2, scoring="roc_auc", error_score="raise").shape == (2,)
    upper = make_pipeline(FunctionTransformer(lambda many: [one.upper() for one in many]), QUICK)
    assert upper.fit([t.lower() for t in texts], labels).predict(texts[:2]).shape == (2,)
    grid = GridSearchCV(QUICK, {"learning_rate": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(texts, labels)
    assert set(grid.best_params_) == {"learning_rate"}


def test_the_fitted_ensemble_is_a_predictor_that_can_be_saved(fitted: tuner.TunerClassifier, tmp_path: Path) -> None:
    texts, _ = sequences(40)
    assert len(fitted.predictor_.members) == 2
    loaded = tuner.load_model(fitted.predictor_.save(tmp_path / "model"))
    assert loaded.tasks == ("unbound",)
    assert loaded.predict(texts)["probability"].tolist() == pytest.approx(fitted.predict_proba(texts)[:, 1].tolist())


def test_lengths_may_differ() -> None:
    texts, labels = sequences(40)
    mixed = [t[: 40 + i % 20] for i, t in enumerate(texts)]
    found = clone(QUICK).fit(mixed, labels)
    assert found.predictor_.length == 59
    assert found.predict([*mixed, "ACGT" * 50]).shape == (41,)
    short = clone(QUICK).fit([t[:12] for t in texts], labels)  # shorter than the first kernel of the architecture
    assert short.predictor_.length == 12


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (["ACGT"] * 6, ["a", "b", "c"] * 2, "of 3 classes"),
        (["ACGT"] * 4, ["a"] * 4, "of 1 classes"),
        (["ACGT"] * 4, ["a", "a", "a", "b"], r"\[3, 1\] sequences; each needs two"),
        (["ACGT"] * 4, [0, 1], "inconsistent numbers of samples"),
        ([], [], "0 sequences"),
        ("ACGT", [1], "got one text"),
        ([[0.1, 0.2], [0.3, 0.4]], [0, 1], "one-dimensional"),
        (["ACGT"] * 4, [0.1, 0.2, 0.3, 0.4], "continuous"),
    ],
)
def test_wrong_input_is_a_value_error_that_says_why(x: object, y: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tuner.TunerClassifier().fit(x, y)


def test_what_is_no_sequence_is_named_and_an_unfitted_one_says_so() -> None:
    with pytest.raises(DataError, match="sequence 1: 'X' at position 2"):
        tuner.TunerClassifier().fit(["ACGT", "ACXT", "AAAA", "CCCC"], [0, 1, 0, 1])
    with pytest.raises(DataError, match="sequence 0 is 7; expected text"):
        tuner.TunerClassifier().fit([7, "ACGT"], [0, 1])
    with pytest.raises(NotFittedError):
        tuner.TunerClassifier().predict(["ACGT"])
