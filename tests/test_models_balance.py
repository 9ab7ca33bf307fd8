"""Classes of unequal size: weights in the loss, balanced batches, and probabilities after calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from training_task import RECIPE, TRAIN, VALID, Net, run, same_weights, split

from tuner.data.dataset import Split
from tuner.models.balance import balanced_rows, classes, loss_of, positive_weights
from tuner.models.batches import EpochOrder, batch_bounds
from tuner.models.calibration import fit_calibration
from tuner.models.metrics import auroc
from tuner.models.prediction import predict
from tuner.models.recipe import Recipe
from tuner.models.training import fit

CPU = torch.device("cpu")


def rare(n: int, seed: int, share: float = 0.05) -> Split:
    """A split of the planted task in which `share` of the n sequences are positives."""
    whole = split(2 * n, seed)
    positives, negatives = (np.flatnonzero(whole.labels[:, 0] == value) for value in (1, 0))
    rows = np.concatenate([positives[: round(share * n)], negatives[: n - round(share * n)]])
    return whole.take(np.sort(rows))


def two_tasks() -> np.ndarray:
    """100 rows: 10 positive in the first task, 30 in the second, 5 of them in both."""
    labels = np.zeros((100, 2), dtype=np.uint8)
    labels[:10, 0] = 1
    labels[5:35, 1] = 1
    return labels


def test_weighted_loss_is_that_of_scikit_learn_with_sample_weights() -> None:
    generator = np.random.default_rng(0)
    labels, logits = generator.integers(0, 2, (50, 2)), generator.normal(size=(50, 2)).astype(np.float32)
    weights = torch.tensor([3.0, 0.5])
    found = loss_of(torch.from_numpy(logits), torch.from_numpy(labels).float(), weights)
    chances = 1 / (1 + np.exp(-logits.astype(float)))
    factors = np.where(labels == 1, [3.0, 0.5], 1.0)
    expected = log_loss(labels.ravel(), chances.ravel(), sample_weight=factors.ravel(), normalize=False)
    assert found.item() == pytest.approx(expected / labels.size, rel=1e-6)
    total = loss_of(torch.from_numpy(logits), torch.from_numpy(labels).float(), weights, reduction="sum")
    assert total.item() == pytest.approx(expected, rel=1e-6)


def test_smoothed_labels_are_weighted_by_their_class_and_not_by_their_target() -> None:
    targets = torch.tensor([[0.9], [0.1]])
    logits = torch.tensor([[0.3], [-0.8]])
    chances = torch.sigmoid(logits).double()
    each = -(targets * chances.log() + (1 - targets) * (1 - chances).log()).ravel()
    assert loss_of(logits, targets, torch.tensor([7.0])).item() == pytest.approx((7 * each[0] + each[1]).item() / 2)


def test_balanced_weights_are_negatives_over_positives_of_each_task() -> None:
    found = positive_weights(two_tasks(), Recipe(positive_weight="balanced"), CPU)
    assert found is not None
    assert found.tolist() == pytest.approx([90 / 10, 70 / 30])
    fixed = positive_weights(two_tasks(), Recipe(positive_weight=4.0), CPU)
    assert fixed is not None
    assert fixed.tolist() == [4.0, 4.0]
    assert positive_weights(two_tasks(), Recipe(), CPU) is None


def test_a_task_of_one_class_has_no_weight_and_balanced_batches_need_none() -> None:
    labels = two_tasks()
    labels[:, 1] = 0
    found = positive_weights(labels, Recipe(positive_weight="balanced"), CPU)
    assert found is not None
    assert found.tolist() == pytest.approx([9.0, 1.0])
    both = Recipe(positive_weight="balanced", balanced_batches=True)
    assert positive_weights(labels[:, :1], both, CPU) is None


def test_weights_of_balanced_batches_follow_what_these_show() -> None:
    labels = two_tasks()
    weights = positive_weights(labels, Recipe(positive_weight="balanced", balanced_batches=True), CPU)
    assert weights is not None
    rows = balanced_rows(classes(labels), 30_000, np.random.default_rng(0))
    positive = labels[rows].mean(axis=0)
    assert weights.tolist() == pytest.approx(((1 - positive) / positive).tolist(), rel=0.01)


def test_weights_change_training_as_weighted_rows_do() -> None:
    plain, weighted = run(), run(replace(RECIPE, positive_weight=3.0))
    assert not same_weights(plain[0], weighted[0])
    # Positives of a weight of 3 push predictions up, and the recorded loss is the weighted one.
    means = [predict(net, VALID.codes).mean() for net, _ in (plain, weighted)]
    assert means[1] > means[0]
    assert weighted[1].history[0].loss > plain[1].history[0].loss


def test_each_batch_holds_as_many_positives_as_negatives() -> None:
    train = rare(1000, seed=1)
    groups = classes(train.labels)
    assert [len(rows) for rows in groups] == [50, 950]
    recipe = Recipe(balanced_batches=True)
    order = EpochOrder.draw(1000, recipe, 5, CPU, groups=groups)
    rows = order.rows.numpy()
    for first, last in batch_bounds(1000, 100):
        assert train.labels[rows[first:last]].sum() == 50
    counts = np.bincount(rows, minlength=1000)
    assert set(counts[groups[0]]) == {10}  # 500 places for 50 positives
    assert set(counts[groups[1]]) == {0, 1}  # 500 of 950 negatives, others in another epoch
    other = EpochOrder.draw(1000, recipe, 6, CPU, groups=groups).rows.numpy()
    assert len(set(rows) | set(other)) > len(set(rows)) + 150
    again = EpochOrder.draw(1000, recipe, 5, CPU, groups=groups)
    assert torch.equal(again.rows, order.rows)


def test_classes_of_several_tasks_take_turns() -> None:
    labels = two_tasks()
    groups = classes(labels)
    assert [len(rows) for rows in groups] == [10, 30, 65]
    rows = balanced_rows(groups, 90, np.random.default_rng(0))
    for i, group in enumerate(groups):
        assert np.isin(rows[i::3], group).all()
    assert np.bincount(rows[::3], minlength=10)[:10].tolist() == [3] * 10
    # Each row positive somewhere: there is no class of negatives.
    assert [len(rows) for rows in classes(labels[:35])] == [10, 30]
    assert [len(rows) for rows in classes(np.zeros((4, 1)))] == [4]
    assert len(balanced_rows(groups, 2, np.random.default_rng(0))) == 2


def test_several_tasks_train_with_weights_and_balanced_batches() -> None:
    def both(data: Split) -> Split:
        second = (data.codes[:, :1] == 0) & (data.codes[:, 1:2] < 2)  # an eighth of the sequences
        return Split(data.codes, np.concatenate([data.labels, second.astype(np.uint8)], axis=1))

    train, valid = both(TRAIN), both(VALID)
    for recipe in (
        replace(RECIPE, epochs=40, positive_weight="balanced"),
        replace(RECIPE, epochs=40, balanced_batches=True),
    ):
        torch.manual_seed(0)
        net = Net()
        net.output = torch.nn.Linear(8, 2)
        trained = fit(net, train, valid, recipe, seed=3)
        assert np.isfinite([record.loss for record in trained.history]).all()
        assert auroc(valid.labels[:, :1], predict(net, valid.codes)[:, :1]) > 0.9


@pytest.mark.parametrize("settings", [{}, {"positive_weight": "balanced"}, {"balanced_batches": True}], ids=str)
def test_five_percent_of_positives_are_ranked_and_their_probabilities_calibrated(settings: dict[str, object]) -> None:
    train, valid, new = rare(3000, seed=1), rare(3000, seed=2), rare(3000, seed=3)
    recipe = replace(RECIPE, epochs=10, batch_size=64, **settings)  # type: ignore[arg-type]
    net = Net()
    fit(net, train, valid, recipe, seed=3)
    logits = predict(net, new.codes)
    assert auroc(new.labels, logits) > 0.9
    calibration = fit_calibration(valid.labels, predict(net, valid.codes))
    raw, calibrated = 1 / (1 + np.exp(-logits.astype(float))), calibration.probability(logits)
    if settings:
        assert raw.mean() > 0.1, "the test needs probabilities that are shifted"
    assert calibrated.mean() == pytest.approx(0.05, abs=0.015)
    assert ((calibrated - new.labels) ** 2).mean() < 0.05 * 0.95
    assert ((calibrated - new.labels) ** 2).mean() <= ((raw - new.labels) ** 2).mean() + 0.002
