"""EvoAug's transforms against their definitions written out for one sequence, and where training uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from training_task import RECIPE, TRAIN, VALID, Net, run, same_weights, scores

from tuner.errors import StudyError, UsageError
from tuner.genome.sequence import one_hot, reverse_complement
from tuner.models.augmentation import Column, Transforms
from tuner.models.batches import EpochOrder
from tuner.models.optimizer import KernelAdam
from tuner.models.recipe import EpochRecord, Progress, Recipe
from tuner.models.training import fit
from tuner.study.parameters import check_names, recipe_of
from tuner.study.space import Parameter, SearchSpace

CPU = torch.device("cpu")
NAMES = ("reverse_complement", "insertion", "deletion", "translocation", "inversion", "mutation", "noise")
OFF = {f"augment_{name}": 0 for name in NAMES}
LENGTH = 60
EVOAUG = replace(RECIPE, augment_max=2, augment_insertion=6, augment_deletion=6, augment_translocation=6)
EVOAUG = replace(EVOAUG, augment_inversion=6, augment_reverse_complement=0.5)
Codes = npt.NDArray[np.uint8]


def sequences(n: int = 4000, length: int = LENGTH, letters: int = 4) -> Codes:
    return np.random.default_rng(5).integers(0, letters, (n, length)).astype(np.uint8)


def only(name: str, strength: float, codes: Codes, seed: int = 1) -> tuple[npt.NDArray[np.int64], Codes]:
    """The table and the result of one transform of every sequence."""
    recipe = Recipe(augment_max=1, **{**OFF, f"augment_{name}": strength})  # type: ignore[arg-type]
    transforms = Transforms.draw(*codes.shape, recipe, seed)
    assert transforms is not None
    return transforms.table.numpy(), transforms.apply(torch.from_numpy(codes)).numpy()


def uniform(values: npt.NDArray[Any], low: int, high: int) -> bool:
    """Whether integers are uniform on low..high, by a chi-square test that a right one fails once in 10,000."""
    assert values.min() >= low
    assert values.max() <= high
    return bool(stats.chisquare(np.bincount(values - low, minlength=high - low + 1)).pvalue > 1e-4)


def test_insertions_hold_the_sequence_around_random_bases_and_are_cropped_at_both_ends() -> None:
    codes = sequences()
    table, found = only("insertion", 10, codes)
    inserted = []
    for row, before, after in zip(table, codes, found, strict=True):
        size, at, cut = row[Column.INSERTED], row[Column.INSERT_AT], row[Column.CROPPED]
        # The longer sequence is cut from `cut` on, so the new bases lie at at - cut, as far as they are left.
        whole = np.concatenate([before[:at], np.full(size, 9, np.uint8), before[at:]])[cut : cut + LENGTH]
        new = whole == 9
        assert np.array_equal(after[~new], whole[~new])
        inserted.append(after[new])
        assert 0 <= cut <= size
    assert uniform(table[:, Column.INSERTED], 0, 10)
    assert uniform(table[:, Column.INSERT_AT], 0, LENGTH - 1)
    assert uniform(table[table[:, Column.INSERTED] == 10, Column.CROPPED], 0, 10)
    assert uniform(np.concatenate(inserted).astype(np.int64), 0, 3)


def test_deletions_keep_the_order_of_the_rest_and_fill_both_ends() -> None:
    codes = sequences()
    table, found = only("deletion", 12, codes)
    filled = []
    for row, before, after in zip(table, codes, found, strict=True):
        size, at = row[Column.DELETED], row[Column.DELETE_AT]
        left, right = size // 2, size - size // 2
        rest = np.concatenate([before[:at], before[at + size :]])
        assert np.array_equal(after[left : LENGTH - right], rest)
        filled += [after[:left], after[LENGTH - right :]]
    assert uniform(table[:, Column.DELETED], 0, 12)
    assert uniform(table[:, Column.DELETE_AT], 0, LENGTH - 12)
    assert uniform(np.concatenate(filled).astype(np.int64), 0, 3)


def test_translocations_roll_in_both_directions() -> None:
    codes = sequences(letters=5)
    table, found = only("translocation", 7, codes)
    rolled = table[:, Column.ROLLED]
    assert all(np.array_equal(np.roll(b, by), a) for b, a, by in zip(codes, found, rolled, strict=True))
    assert uniform(np.abs(rolled), 0, 7)
    assert stats.binomtest(int((rolled > 0).sum()), int((rolled != 0).sum())).pvalue > 1e-4


def test_inversions_are_reverse_complements_of_a_segment_and_undo_themselves() -> None:
    codes = sequences(letters=5)
    table, found = only("inversion", 9, codes)
    for row, before, after in zip(table, codes, found, strict=True):
        size, at = row[Column.INVERTED], row[Column.INVERT_AT]
        expected = before.copy()
        if size:
            expected[at : at + size] = reverse_complement(before[None, at : at + size])[0]
        assert np.array_equal(after, expected)
    assert uniform(table[:, Column.INVERTED], 0, 9)
    assert uniform(table[:, Column.INVERT_AT], 0, LENGTH - 9)
    assert np.array_equal(only("inversion", 9, found)[1], codes)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.75])
def test_mutations_hit_the_stated_share_of_bases_evenly(share: float) -> None:
    codes = sequences()
    found = only("mutation", share, codes)[1]
    changed = found != codes
    count = round(share / 0.75 * LENGTH)
    # As many positions without replacement get a random base, which is another one in three of four cases.
    per_sequence = changed.sum(axis=1)
    assert per_sequence.max() <= count
    tail = 4 * np.sqrt(count * 0.75 * 0.25 / len(codes))
    assert abs(per_sequence.mean() - 0.75 * count) < tail
    assert per_sequence.var() == pytest.approx(count * 0.75 * 0.25, rel=0.1)
    where = changed.sum(axis=0)
    assert np.abs(where - len(codes) * 0.75 * count / LENGTH).max() < 5 * np.sqrt(len(codes) * 0.25)
    assert uniform((found[changed].astype(np.int64) - codes[changed]) % 4, 1, 3)


def test_reverse_complements_come_with_their_probability_and_twice_is_nothing() -> None:
    codes = sequences(letters=5)
    found = only("reverse_complement", 0.3, codes)[1]
    flipped = (found == reverse_complement(codes)).all(axis=1)
    assert (flipped | (found == codes).all(axis=1)).all()
    assert stats.binomtest(int(flipped.sum()), len(codes), 0.3).pvalue > 1e-4
    assert np.array_equal(only("reverse_complement", 0.3, found)[1], codes)


def test_noise_is_normal_independent_and_only_where_it_was_drawn() -> None:
    recipe = Recipe(augment_max=1, **{**OFF, "augment_noise": 0.2, "augment_translocation": 3})  # type: ignore[arg-type]
    transforms = Transforms.draw(600, LENGTH, recipe, 1)
    assert transforms is not None
    x = one_hot(torch.from_numpy(sequences(600)))
    noise = (transforms.noisy(x) - x).numpy()
    chosen = transforms.table[:, Column.NOISY].numpy() > 0
    assert 230 < chosen.sum() < 370  # Binomial(600, 1/2) with probability above .9999
    assert (noise[~chosen] == 0).all()
    values = noise[chosen].astype(float)
    assert stats.kstest(values.ravel()[::7] / 0.2, "norm").pvalue > 1e-4
    assert values.std() == pytest.approx(0.2, rel=0.01)
    flat = values.reshape(len(values), -1)
    between = [np.corrcoef(flat[:, i], flat[:, j])[0, 1] for i, j in [(0, 1), (0, 120), (5, 125), (60, 61)]]
    assert np.abs(between).max() < 4.5 / np.sqrt(len(flat))


def test_n_moves_with_its_neighbours_and_is_never_mutated() -> None:
    codes = sequences(500)
    codes[:, :20] = 4
    assert ((only("mutation", 0.75, codes)[1] == 4) == (codes == 4)).all()
    table, found = only("insertion", 10, codes)
    lost = np.minimum(table[:, Column.CROPPED], 20 + 10 * (table[:, Column.INSERT_AT] < 20))
    assert ((found == 4).sum(axis=1) >= 20 - lost).all()


@pytest.mark.parametrize(("most", "hard"), [(1, True), (2, True), (3, False), (7, True)])
def test_each_sequence_gets_the_number_of_different_transforms(most: int, hard: bool) -> None:
    # Strengths at which each transform leaves a mark in the table, except for lengths of 0.
    recipe = Recipe(
        augment_max=most, augment_hard=hard, augment_inversion=10**6, augment_reverse_complement=1.0,
        augment_insertion=10**6, augment_deletion=10**6, augment_translocation=10**6,
    )  # fmt: skip
    transforms = Transforms.draw(6000, 10_000, recipe, 3)
    assert transforms is not None
    marks = [Column.REVERSE, Column.INSERTED, Column.DELETED, Column.ROLLED, Column.INVERTED]
    used = transforms.table[:, [*map(int, marks), int(Column.MUTATED), int(Column.NOISY)]].numpy() != 0
    counts = used.sum(axis=1)
    # A length of 0 has probability 1 / 10,001.
    assert (counts > most).sum() == 0
    if hard:
        assert (counts < most).mean() < 0.003
    else:
        assert stats.chisquare(np.bincount(counts, minlength=4)[1:]).pvalue > 1e-4
    expected = len(used) * (most if hard else (1 + most) / 2) / 7
    assert np.abs(used.sum(axis=0) - expected).max() < 5 * np.sqrt(expected)


def test_segments_are_at_most_as_long_as_the_sequence() -> None:
    codes = sequences(300, 8)
    for name in ("insertion", "deletion", "translocation", "inversion"):
        found = only(name, 50, codes)[1]
        assert found.shape == codes.shape
        assert found.max() <= 3


def test_batches_add_up_to_the_epoch_and_a_seed_repeats_it() -> None:
    codes = torch.from_numpy(TRAIN.codes)
    n, length = codes.shape

    def epoch(seed: int) -> EpochOrder:
        return EpochOrder.draw(n, EVOAUG, seed, CPU, length=length)

    whole, parts = epoch(1), [epoch(1).part(a, b) for a, b in ((0, 33), (33, 34), (34, n))]
    shown = whole.take(codes)
    assert torch.equal(torch.cat([part.take(codes) for part in parts]), shown)
    noisy = torch.cat([part.noisy(one_hot(part.take(codes))) for part in parts])
    assert torch.equal(noisy, whole.noisy(one_hot(shown)))
    assert not torch.equal(epoch(2).take(codes), shown)


def test_transforms_do_not_change_the_other_draws() -> None:
    plain = EpochOrder.draw(400, RECIPE, 9, CPU)
    augmented = EpochOrder.draw(400, EVOAUG, 9, CPU, length=40)
    assert plain.transforms is None
    assert torch.equal(plain.rows, augmented.rows)
    assert torch.equal(plain.reversed, augmented.reversed)
    assert plain.shift is not None
    assert augmented.shift is not None
    assert torch.equal(plain.shift, augmented.shift)


class Stop(Exception):
    pass


def stop_after(epoch: int) -> Callable[[EpochRecord], None]:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Stop

    return on_epoch


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_run_resumed_before_at_and_in_fine_tuning_ends_with_the_same_bits(epoch: int, tmp_path: Path) -> None:
    recipe = replace(EVOAUG, finetune_epochs=3, balanced_batches=True, positive_weight=2.0, weight_decay=0.01)
    whole, trained = run(recipe)
    assert not same_weights(whole, run(replace(recipe, augment_max=0))[0])
    with pytest.raises(Stop):
        run(recipe, checkpoint=tmp_path / "c", on_epoch=stop_after(epoch))
    again, resumed = run(recipe, checkpoint=tmp_path / "c")
    assert resumed.resumed_from == epoch
    assert same_weights(again, whole)
    assert scores(resumed) == scores(trained)


def test_fine_tuning_shows_unaltered_sequences_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    drawn = EpochOrder.draw

    def draw(*values: Any, **named: Any) -> EpochOrder:
        order = drawn(*values, **named)
        codes = torch.from_numpy(TRAIN.codes)
        x = order.noisy(one_hot(order.take(codes)))
        plain = one_hot(EpochOrder(order.rows, order.reversed, None).take(codes))
        seen.append(torch.equal(x, plain))
        return order

    monkeypatch.setattr(EpochOrder, "draw", draw)
    recipe = replace(EVOAUG, epochs=5, finetune_epochs=2, finetune_rate=3e-4, input_noise=0.1, shift=3)
    trained = run(recipe)[1]
    assert seen == [False, False, False, True, True]
    assert [r.learning_rate for r in trained.history] == [0.01, 0.01, 0.01, 3e-4, 3e-4]
    assert trained.stopped == "epochs"


def followed(values: list[float], recipe: Recipe) -> tuple[list[float], str | None, int | None]:
    state, rates = Progress(recipe.learning_rate), []
    for value in values:
        if state.stopped(recipe, None):
            break
        rates.append(state.learning_rate)
        state.add(EpochRecord(state.epoch + 1, 0.5, 0.5, value, 0.5, state.learning_rate, 1.0), recipe)
    return rates, state.stopped(recipe, None), Progress.from_json(state.to_json()).finetune_after


def test_patience_begins_the_fine_tuning_which_has_none_itself() -> None:
    recipe = Recipe(schedule="constant", epochs=20, patience=2, finetune_epochs=4, finetune_rate=1e-5)
    rates, stopped, after = followed([0.8, 0.7, 0.7, *[0.6] * 20], recipe)
    assert rates == [1e-3] * 3 + [1e-5] * 4
    assert (stopped, after) == ("patience", 3)


def test_the_cosine_ends_where_fine_tuning_begins_and_one_epoch_always_comes_before() -> None:
    rates, stopped, after = followed([0.8] * 20, Recipe(epochs=10, finetune_epochs=2))
    short = followed([0.8] * 20, Recipe(epochs=8))[0]
    assert rates == [*short, 1e-4, 1e-4]
    assert (stopped, after) == ("epochs", 8)
    assert followed([0.8] * 20, Recipe(epochs=3, finetune_epochs=10))[0] == [1e-3, 1e-4, 1e-4]
    assert followed([0.8] * 20, Recipe(epochs=1, finetune_epochs=10)) == ([1e-3], "epochs", None)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_fine_tuning_begins_from_the_weights_that_are_kept_with_new_moments(weights: str) -> None:
    recipe = replace(RECIPE, epochs=8, learning_rate=0.2, weights=weights)
    before, trained = run(recipe)
    assert trained.best_epoch < 8, "the test needs a run whose last epoch is not its best"
    net, after = Net(), []

    def keep(record: EpochRecord) -> None:
        if record.epoch == 9:
            after.extend(parameter.detach().clone() for parameter in net.parameters())

    # At a rate of almost nothing the weights stay where they begin; old moments would not move them either.
    still = replace(recipe, epochs=9, finetune_epochs=1, finetune_rate=1e-12)
    assert scores(fit(net, TRAIN, VALID, still, seed=3, on_epoch=keep))[:8] == scores(trained)
    for found, expected in zip(after, before.parameters(), strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-8)
    optimizer = KernelAdam(net, l2=0.0, weight_decay=0.0, epsilon=1e-7)
    net(one_hot(torch.from_numpy(TRAIN.codes))).sum().backward()
    optimizer.step()
    optimizer.reset()
    assert all(not tensor.any() for tensor in optimizer.tensors().values())


def test_a_network_learns_from_altered_sequences() -> None:
    trained = run(replace(EVOAUG, epochs=20, patience=20, finetune_epochs=4, finetune_rate=1e-3))[1]
    assert trained.chosen.auroc > 0.95


def test_settings_that_change_nothing_leave_the_identity_of_stored_recipes() -> None:
    later = ("augment", "finetune", "positive_weight", "balanced")
    assert not [name for name in Recipe().settings() if name.startswith(later)]
    assert Recipe(augment_max=2).settings() == {**Recipe().settings(), "augment_max": 2}
    assert Recipe(positive_weight="balanced").settings()["positive_weight"] == "balanced"


@pytest.mark.parametrize(
    "settings",
    [
        {"augment_max": 8},
        {"augment_mutation": 0.8},
        {"augment_reverse_complement": 1.5},
        {"augment_insertion": -1},
        {"finetune_rate": 0.0},
        {"finetune_epochs": -1},
        {"positive_weight": 0.0},
        {"positive_weight": "ballanced"},
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Recipe(**settings)


def test_a_space_may_search_the_settings_and_a_study_may_fix_them() -> None:
    parameters = {
        "architecture": Parameter(fixed="cnn"),
        "augment_max": Parameter(low=0, high=3),
        "augment_mutation": Parameter(low=0.0, high=0.1),
        "augment_insertion": Parameter(choices=[0, 20]),
        "finetune_epochs": Parameter(choices=[0, 40]),
        "positive_weight": Parameter(choices=[1, "balanced", 3.5]),
        "balanced_batches": Parameter(choices=[True, False]),
    }
    check_names(SearchSpace("mine", parameters, ()), {}, "mine.toml")
    base = recipe_of({"positive_weight": "balanced", "augment_max": 2}, "[training]")
    assert recipe_of({"positive_weight": 3}, "trial", base).positive_weight == 3.0
    assert recipe_of({"augment_max": 0}, "trial", base).positive_weight == "balanced"
    with pytest.raises(StudyError, match=r'positive_weight.*"balanced"'):
        recipe_of({"positive_weight": "balance"}, "[training]")
