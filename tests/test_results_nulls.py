"""Null networks: what chance is, which null is the stronger one, and what studies without them say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from tiny import STUDY, load_tiny

from tuner.genome.sequence import gc_content
from tuner.models.metrics import auroc
from tuner.models.training import predict
from tuner.results import words
from tuner.results.nulls import COMPOSITION, PERMUTED, SHUFFLED, NullMatches, exceeded, paired
from tuner.search.loaded import Bench
from tuner.search.null_networks import _composition_only, _shuffled_labels, run_null, train_null
from tuner.search.stages import known_controls
from tuner.search.trial import BASELINES
from tuner.study.file import PRESETS, check_study
from tuner.study.plan import check_identity, identity

pytestmark = pytest.mark.slow

POINT = {"architecture": "cnn", "n_blocks": 1, "activation": "relu", "filters": 8, "kernel_size": 8,
         "learning_rate": 5e-3, "batch_size": 50}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return load_tiny(tmp_path_factory.mktemp("nulls"))


def pairs(codes: np.ndarray) -> list[bytes]:
    return [np.bincount(row[:-1].astype(int) * 5 + row[1:], minlength=25).tobytes() for row in codes]


def test_a_composition_only_network_sees_shuffled_sequences_and_true_labels(bench: Bench) -> None:
    made = _composition_only(bench.dataset, 7)
    for name in ("train", "valid"):
        before, after = bench.dataset.splits[name], made.splits[name]
        np.testing.assert_array_equal(before.labels, after.labels)
        assert pairs(before.codes) == pairs(after.codes)
        assert (before.codes != after.codes).mean() > 0.3
        assert after.truth is None
    assert "test" not in made.splits
    np.testing.assert_array_equal(made.train.codes, _composition_only(bench.dataset, 7).train.codes)
    assert (made.train.codes != _composition_only(bench.dataset, 8).train.codes).any()


def test_a_label_shuffled_network_sees_true_sequences(bench: Bench) -> None:
    made = _shuffled_labels(bench.dataset, 7)
    np.testing.assert_array_equal(bench.dataset.train.codes, made.train.codes)
    assert (bench.dataset.train.labels != made.train.labels).any()
    assert bench.dataset.train.labels.sum() == made.train.labels.sum()


def test_a_composition_only_network_is_measured_on_real_sequences(bench: Bench) -> None:
    outcome = run_null(bench, POINT, COMPOSITION, replicate=0, on_epoch=lambda _: None)
    network, recipe, _ = train_null(bench, POINT, COMPOSITION, replicate=0, on_epoch=lambda _: None)
    valid = bench.dataset.valid
    logits = predict(network, valid.codes, device="cpu", average_strands=recipe.average_strands)
    assert outcome.measured["auroc"] == pytest.approx(auroc(valid.labels, logits))
    assert {"model.safetensors", "matches.tsv"} <= outcome.files.keys()


def test_a_composition_only_network_learns_composition_alone(bench: Bench) -> None:
    """Positives rich in GC: the network tells them apart as well as their GC content does, within .1."""
    data, rng = bench.dataset, np.random.default_rng(0)

    def rich(split):
        at = rng.random(split.codes.shape) < 0.25 * split.labels
        return dataclasses.replace(
            split, codes=np.where(at, rng.integers(1, 3, split.codes.shape), split.codes).astype(np.uint8)
        )

    changed = bench._replace(
        dataset=dataclasses.replace(data, splits={name: rich(split) for name, split in data.splits.items()})
    )
    # More epochs than the study's four, and a faster rate.
    plan = dataclasses.replace(bench.plan, recipe=dataclasses.replace(bench.plan.recipe, epochs=12))
    found = run_null(changed._replace(plan=plan), POINT, COMPOSITION, replicate=0, on_epoch=lambda _: None)
    valid = changed.dataset.valid
    alone = auroc(valid.labels, gc_content(valid.codes)[:, None])
    assert found.measured["auroc"] > 0.8
    assert abs(found.measured["auroc"] - alone) < 0.1


def test_composition_only_networks_are_trained_where_they_mean_something(bench: Bench) -> None:
    plan = bench.plan
    assert plan.composition_networks(paired=False) == 1  # as many as label-shuffled ones
    assert plan.composition_networks(paired=True) == 0
    motifless = dataclasses.replace(plan, study=plan.study.model_copy(update={"objectives": ["auroc"]}))
    assert motifless.composition_networks(paired=False) == 0
    many = dataclasses.replace(plan, confirmation=plan.confirmation.model_copy(update={"shuffled": 9}))
    assert many.composition_networks(paired=False) == 3
    asked = dataclasses.replace(plan, confirmation=plan.confirmation.model_copy(update={"composition": 7}))
    assert asked.composition_networks(paired=False) == 7


def test_the_default_nulls_are_passed_by_chance_in_one_case_of_six() -> None:
    study = check_study({"name": "x", "data": {"dataset": "zbed2"}}, "x")
    assert exceeded(study.confirmation.shuffled) == pytest.approx(1 / 6)
    assert exceeded(PRESETS["best"].shuffled or 0) == pytest.approx(1 / 6)
    assert exceeded(PRESETS["fast"].shuffled or 0) == 0.5


def test_one_more_null_network_exceeds_so_many_in_so_many_cases() -> None:
    """Largest patterns of equal networks, whatever their distribution: 20,000 studies, three standard errors."""
    rng = np.random.default_rng(0)
    for networks in (1, 3, 5):
        sizes = rng.gamma(2.0, 20.0, size=(20_000, networks + 1))
        share = (sizes[:, 0] > sizes[:, 1:].max(axis=1)).mean()
        rate = exceeded(networks)
        assert abs(share - rate) <= 3 * np.sqrt(rate * (1 - rate) / 20_000)


def test_the_stronger_null_is_subtracted() -> None:
    found = NullMatches(0.2, {SHUFFLED: (0.0, 0.04), COMPOSITION: (0.1, 0.14)}, 0.015, paired=False)
    assert found.means == {SHUFFLED: pytest.approx(0.02), COMPOSITION: pytest.approx(0.12), PERMUTED: 0.015}
    assert found.stronger == COMPOSITION
    assert found.excess == pytest.approx(0.08)
    said = str(words.nulls(found, 4))
    assert "composition-only networks 0.120 (mean of 2)" in said
    assert said.endswith("The stronger null is composition-only networks: trial 4 has 0.200, +0.080 beyond it.")
    weak = found._replace(fraction=0.1)
    assert str(words.nulls(weak, 4)).endswith("-0.020 beyond it: no more than chance.")


def test_missing_nulls_are_said_with_their_reason() -> None:
    old = NullMatches(0.2, {SHUFFLED: (0.02,)}, 0.015, paired=False)
    assert "no composition-only network was trained (the study asks for none, or an earlier version" in str(
        words.nulls(old, 4)
    )
    pair = old._replace(paired=True)
    assert "the negatives are shuffles of the positives, so composition tells nothing" in str(words.nulls(pair, 4))
    none = NullMatches(0.2, {}, 0.015, paired=False)
    assert "no label-shuffled and no composition-only network was trained" in str(words.nulls(none, 4))
    assert words.nulls(NullMatches(None, {}, None, paired=False), None) is None
    assert paired([0.5])
    assert not paired([0.52])


def test_the_number_of_nulls_is_no_part_of_the_identity(bench: Bench) -> None:
    now = identity(bench.plan, bench.dataset, bench.database)
    assert set(now["confirmation"]) == {"candidates", "seeds", "folds"}
    before = {**now, "confirmation": {**now["confirmation"], "shuffled": 3}}  # as earlier versions stored it
    check_identity("tiny", before, now)
    other = {**now, "confirmation": {**now["confirmation"], "seeds": 9}}
    with pytest.raises(Exception, match="confirmation: seeds 9 -> 2"):
        check_identity("tiny", other, now)


def test_controls_begun_by_an_earlier_version_keep_their_kinds() -> None:
    begun = optuna.create_study()
    assert known_controls(begun.get_trials()) == ()
    kinds = (*BASELINES, SHUFFLED)
    begun.add_trial(
        optuna.trial.create_trial(
            params={"control": "gc"}, distributions={"control": CategoricalDistribution(kinds)}, value=0.5
        )
    )
    assert known_controls(begun.get_trials()) == kinds


def test_a_study_of_pairs_trains_no_composition_only_network(tmp_path: Path) -> None:
    made = load_tiny(tmp_path, study=STUDY.replace('negatives = "negatives.fa"', 'negatives = "shuffle"'))
    assert made.dataset.shuffled
    assert made.plan.composition_networks(paired=made.dataset.shuffled) == 0
