"""What `fit` promises: it learns, repeats itself, stops when it should, and says when it cannot go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score
from torch import nn
from training_task import LENGTH, RECIPE, TRAIN, VALID, Net, run, same_weights, scores

from tuner.data.dataset import Split
from tuner.errors import DataError, DeviceError, MetricError, TrainingDiverged, UsageError
from tuner.genome.sequence import one_hot, reverse_complement
from tuner.models.batches import EpochOrder, batch_bounds, epoch_seed
from tuner.models.metrics import auroc
from tuner.models.optimizer import KernelAdam, penalty_factors
from tuner.models.prediction import flip_strand, predict, resolve_device
from tuner.models.recipe import RECIPES, EpochRecord, Progress, Recipe
from tuner.models.training import Trained, fit, resolve_precision


def test_training_finds_a_planted_motif() -> None:
    net, trained = run(replace(RECIPE, epochs=15))
    assert trained.chosen.auroc > 0.95
    assert auroc(VALID.labels, predict(net, VALID.codes)) == trained.chosen.auroc


def test_same_seed_same_weights_and_another_seed_others() -> None:
    first, again, other = run()[0], run()[0], run(seed=4)[0]
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_epochs_do_not_share_random_numbers() -> None:
    seeds = {epoch_seed(seed, epoch) for seed in range(50) for epoch in range(1, 51)}
    assert len(seeds) == 2500


def test_global_random_state_is_left_alone_and_does_not_matter() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = run()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(0)
    assert same_weights(first, run()[0])


def test_best_weights_are_those_of_the_best_epoch_and_last_of_the_last() -> None:
    recipe = replace(RECIPE, epochs=8, learning_rate=0.2)
    best_net, best = run(recipe)
    last_net, last = run(replace(recipe, weights="last"))
    assert scores(best) == scores(last)
    assert best.best_epoch == last.best_epoch < 8, "the test needs a run whose last epoch is not its best"
    assert best.chosen.auroc == max(record.auroc for record in best.history)
    assert auroc(VALID.labels, predict(best_net, VALID.codes)) == best.chosen.auroc
    assert auroc(VALID.labels, predict(last_net, VALID.codes)) == last.history[-1].auroc


def progress(values: list[float], recipe: Recipe) -> tuple[list[float], str | None, int]:
    """Learning rate of each epoch, reason of the end, epochs run, for given validation AUROCs."""
    state, rates = Progress(recipe.learning_rate), []
    for value in values:
        if state.stopped(recipe, None):
            break
        rates.append(state.learning_rate)
        state.add(EpochRecord(state.epoch + 1, 0.5, 0.5, value, 0.5, state.learning_rate, 1.0), recipe)
    return rates, state.stopped(recipe, None), state.epoch


def test_learning_rate_is_cut_at_the_fifth_bad_epoch() -> None:
    # Keras: epoch 1 is the best, epochs 2-6 are bad, so epoch 7 is the first with the lower rate.
    recipe = Recipe(schedule="plateau", learning_rate=1.0, epochs=60, patience=99)
    rates, _, _ = progress([0.8] * 13, recipe)
    assert rates == pytest.approx([1.0] * 6 + [0.2] * 5 + [0.04] * 2)


def test_gain_below_one_in_ten_thousand_is_bad_for_the_rate_but_resets_early_stopping() -> None:
    recipe = Recipe(schedule="plateau", learning_rate=1.0, patience=3, epochs=12)
    rates, stopped, epochs = progress([0.8 + 1e-5 * i for i in range(12)], recipe)
    # Eleven steps of 1e-5 never pass the best by more than 1e-4.
    assert rates[6] == pytest.approx(0.2)
    assert (stopped, epochs) == ("epochs", 12)


def test_learning_rate_stops_at_its_minimum_and_never_rises() -> None:
    assert progress([0.8] * 20, Recipe(schedule="plateau", learning_rate=1e-6, patience=99))[0][-1] == 1e-7
    assert progress([0.8] * 20, Recipe(schedule="plateau", learning_rate=1e-8, patience=99))[0] == [1e-8] * 20


def test_cosine_schedule_falls_from_the_full_rate_by_half_at_half_time() -> None:
    recipe = Recipe(schedule="cosine", learning_rate=1.0, epochs=10, patience=99)
    rates, _, _ = progress([0.8] * 10, recipe)
    assert rates[0] == 1.0
    assert rates[5] == pytest.approx(0.5)
    # (1 + cos(.9 pi)) / 2
    assert rates[9] == pytest.approx(0.0244717, abs=1e-6)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (4, 6)])
def test_training_stops_after_patience_epochs_without_a_new_best(patience: int, epochs: int) -> None:
    # An equal value is no new best.
    result = progress([0.7, 0.8] + [0.8] * 20, Recipe(epochs=60, patience=patience))
    assert result[1:] == ("patience", epochs)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_the_logits_that_come_along_are_those_of_the_weights_that_are_left(weights: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=8, learning_rate=0.2, weights=weights)
    net, trained = run(recipe, checkpoint=tmp_path / "c")
    assert trained.best_epoch < 8
    assert trained.logits is not None
    assert np.array_equal(trained.logits, predict(net, VALID.codes))
    again = run(recipe, checkpoint=tmp_path / "c")[1]
    assert again.resumed_from == 8
    assert again.logits is None


def test_monitoring_the_loss_prefers_the_lower() -> None:
    record = EpochRecord(1, 0.1, 0.4, 0.9, 0.8, 1e-3, 1.0)
    assert record.monitored("loss") == -0.4
    assert record.monitored("average_precision") == 0.8
    trained = run(replace(RECIPE, monitor="loss"))[1]
    assert trained.chosen.valid_loss == min(r.valid_loss for r in trained.history)


def test_micro_scores_take_all_tasks_as_one() -> None:
    # Two tasks that are ranked perfectly each, but on different scales: only the pooled ranking sees it.
    two = [Split(s.codes, np.concatenate([s.labels, 1 - s.labels], axis=1)) for s in (TRAIN, VALID)]
    net = Net()
    net.output = nn.Linear(8, 2)
    trained = fit(net, two[0], two[1], replace(RECIPE, monitor="micro_aupr", epochs=3), seed=3)
    logits = predict(net, VALID.codes)
    precision, recall, _ = precision_recall_curve(two[1].labels.ravel(), logits.ravel())
    assert trained.chosen.micro_aupr == pytest.approx(auc(recall, precision), abs=1e-12)
    assert trained.chosen.micro_auroc == pytest.approx(roc_auc_score(two[1].labels.ravel(), logits.ravel()), abs=1e-12)
    assert trained.chosen.micro_aupr == max(record.micro_aupr for record in trained.history)


def test_a_history_from_before_micro_scores_is_still_read() -> None:
    old = {"learning_rate": 1e-3, "history": [[1, 0.5, 0.6, 0.9, 0.8, 1e-3, 2.0]], "best": 0.9, "best_epoch": 1}
    state = Progress.from_json(old)
    assert (state.history[0].auroc, state.seconds) == (0.9, 2.0)
    assert np.isnan(state.history[0].micro_aupr)


def test_constant_schedule_never_changes_the_rate() -> None:
    assert set(progress([0.8] * 30, Recipe(schedule="constant", epochs=30, patience=99))[0]) == {1e-3}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # Keras callbacks and optimiser settings as the sources state them.
        ("koo2021", (100, 20, 1e-3, 100, "plateau", 0.2, 5, 1e-7, "last", False, 1e-6, 1e-7)),
        ("hw4", (10, 3, 1e-3, 128, "constant", 0.2, 5, 1e-7, "best", False, 0.0, 1e-7)),
        ("foxo1", (10, 10, 1e-3, 256, "constant", 0.2, 5, 1e-7, "last", False, 0.0, 1e-7)),
        ("deepdife", (100, 20, 1e-3, 100, "plateau", 0.1, 5, 1e-7, "best", True, 1e-6, 1e-7)),
    ],
)
def test_published_recipes_are_as_published(name: str, published: tuple[object, ...]) -> None:
    fields = (
        "epochs patience learning_rate batch_size schedule decay_factor decay_patience minimum_learning_rate weights "
        "reverse_complement l2 adam_epsilon precision"
    )
    assert tuple(getattr(RECIPES[name], field) for field in fields.split()) == (*published, "float32")


def test_input_noise_is_clipped_and_has_the_stated_spread() -> None:
    order = EpochOrder.draw(4, Recipe(input_noise=0.05), 7, torch.device("cpu"))
    x = torch.zeros(2000, 4, 25)
    x[:, 1] = 1.0
    noisy = order.noisy(x)
    assert noisy.min() == 0.0
    assert noisy.max() == 1.0
    # A clipped normal has mean s / sqrt(2 pi) and second moment s^2 / 2.
    change = (noisy[:, 0] - x[:, 0]).double()
    assert change.mean().item() == pytest.approx(0.05 / np.sqrt(2 * np.pi), rel=0.02)
    assert change.square().mean().item() == pytest.approx(0.05**2 / 2, rel=0.03)
    assert (x - noisy)[:, 1].double().mean().item() == pytest.approx(0.05 / np.sqrt(2 * np.pi), rel=0.02)


def test_no_input_noise_gives_the_very_inputs_and_noise_repeats_with_the_seed() -> None:
    x = torch.rand(3, 4, 10)
    assert EpochOrder.draw(3, Recipe(), 7, torch.device("cpu")).noisy(x) is x
    recipe = replace(RECIPE, input_noise=0.2, epochs=3)
    assert same_weights(run(recipe)[0], run(recipe)[0])
    assert not same_weights(run(recipe)[0], run(replace(recipe, input_noise=0.0))[0])


def test_a_setting_that_changes_nothing_leaves_the_identity_of_stored_recipes() -> None:
    assert "input_noise" not in Recipe().settings()
    assert Recipe(input_noise=0.1).settings() == {**Recipe().settings(), "input_noise": 0.1}


def test_time_limit_starts_no_further_epoch() -> None:
    trained = run(time_limit=1e-9)[1]
    assert (trained.stopped, len(trained.history)) == ("time", 1)


def test_last_batch_of_one_joins_the_one_before() -> None:
    assert batch_bounds(201, 100) == [(0, 100), (100, 201)]
    assert batch_bounds(202, 100) == [(0, 100), (100, 200), (200, 202)]
    assert batch_bounds(1, 100) == [(0, 1)]
    fit(Net(), TRAIN.take(np.arange(33)), VALID, replace(RECIPE, epochs=1), seed=0)  # batch size is 32


def shown(recipe: Recipe, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One epoch's rows and its codes as the network gets them."""
    codes = torch.from_numpy(TRAIN.codes)
    order = EpochOrder.draw(len(codes), recipe, seed, torch.device("cpu"))
    return order.rows.numpy(), order.take(codes).numpy()


def test_each_epoch_shows_each_sequence_once_half_of_them_from_the_other_strand() -> None:
    rows, codes = shown(replace(RECIPE, shift=0), seed=0)
    assert sorted(rows) == list(range(400))
    forward = (codes == TRAIN.codes[rows]).all(axis=1)
    reverse = (codes == reverse_complement(TRAIN.codes[rows])).all(axis=1)
    assert (forward ^ reverse).all()
    # Binomial(400, .5) lies in 160..240 with probability .9999.
    assert 160 <= reverse.sum() <= 240
    assert not np.array_equal(shown(RECIPE, seed=1)[0], rows)


def test_shift_moves_by_at_most_that_many_positions_and_pads_with_n() -> None:
    rows, codes = shown(replace(RECIPE, shift=3, reverse_complement=False), seed=0)
    seen = set()
    for row, shifted in zip(rows, codes, strict=True):
        original = TRAIN.codes[row]
        for by in range(-3, 4):
            expected = np.full(LENGTH, 4, dtype=np.uint8)
            kept = slice(max(by, 0), LENGTH + min(by, 0))
            expected[kept] = original[max(-by, 0) : LENGTH - max(by, 0)]
            if np.array_equal(expected, shifted):
                seen.add(by)
                break
        else:
            pytest.fail("a sequence is no shift of its original")
    assert seen == set(range(-3, 4))


def test_strand_flip_of_codes_is_the_reverse_complement_with_n_kept() -> None:
    codes = np.random.default_rng(0).integers(0, 5, size=(20, 11)).astype(np.uint8)
    flipped = flip_strand(torch.from_numpy(codes))
    assert np.array_equal(flipped.numpy(), reverse_complement(codes))
    assert torch.equal(flip_strand(flipped), torch.from_numpy(codes))


def stepped(optimizer_of, penalty: float) -> Net:  # type: ignore[no-untyped-def]
    """A network after five steps on the same batches, dropout off."""
    net = Net().eval()
    optimizer = optimizer_of(net)
    x = torch.nn.functional.one_hot(torch.from_numpy(TRAIN.codes[:32]).long(), 4).float().transpose(1, 2)
    y = torch.from_numpy(TRAIN.labels[:32]).float()
    for _ in range(5):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad()
        (loss + penalty * net.l2_penalty()).backward()
        optimizer.step()
    return net


def test_penalty_in_the_optimizer_equals_penalty_in_the_loss() -> None:
    ours = stepped(lambda net: KernelAdam(net, l2=0.01, weight_decay=0.0, epsilon=1e-7), penalty=0.0)
    referee = stepped(lambda net: torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7), penalty=0.01)
    none = stepped(lambda net: KernelAdam(net, l2=0.0, weight_decay=0.0, epsilon=1e-7), penalty=0.0)
    for a, b in zip(ours.parameters(), referee.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ours.first_convolution.weight, none.first_convolution.weight, atol=1e-4)


def test_penalty_factors_are_read_from_the_network() -> None:
    assert penalty_factors(Net()) == {"first_convolution.weight": 10.0}


def test_decoupled_decay_equals_adamw_on_matrices_and_spares_the_rest() -> None:
    def referee(net: Net) -> torch.optim.Optimizer:
        matrices = [p for p in net.parameters() if p.ndim >= 2]
        rest = [p for p in net.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.5}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-3, eps=1e-7)

    ours = stepped(lambda net: KernelAdam(net, l2=0.0, weight_decay=0.5, epsilon=1e-7), penalty=0.0)
    theirs = stepped(referee, penalty=0.0)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_label_smoothing_raises_the_loss_a_perfect_network_reaches() -> None:
    plain = run(replace(RECIPE, epochs=12))[1].history[-1]
    smooth = run(replace(RECIPE, epochs=12, label_smoothing=0.2))[1].history[-1]
    # Targets .9 and .1 leave at least their entropy, .325 nats.
    assert smooth.loss > 0.325
    assert smooth.loss > plain.loss


def test_prediction_is_the_mean_logit_of_both_strands() -> None:
    net, codes = Net(), VALID.codes
    one, other = (predict(net, c, average_strands=False) for c in (codes, reverse_complement(codes)))
    both = predict(net, codes)
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)
    np.testing.assert_allclose(predict(net, reverse_complement(codes)), both, atol=1e-6)
    assert both.dtype == np.float32
    assert both.shape == (200, 1)


def test_prediction_neither_depends_on_batches_nor_changes_the_mode() -> None:
    net = Net().train()
    np.testing.assert_allclose(predict(net, VALID.codes, batch=7), predict(net, VALID.codes), atol=1e-6)
    assert net.training
    assert predict(net, VALID.codes[:0]).shape == (0, 1)


def test_infinite_learning_signal_is_reported_with_epoch_and_step() -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step [2-9]: the training loss is (nan|inf)"):
        run(replace(RECIPE, learning_rate=1e38))


def test_infinite_weight_is_reported_by_name() -> None:
    class Poisoned(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.norm.running_var.fill_(float("inf"))
            return super().forward(x)

    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 13: norm\.running_var is not finite"):
        fit(Poisoned(), TRAIN, VALID, RECIPE, seed=0)


def test_infinite_validation_logit_is_reported() -> None:
    class Overflowing(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1.0 if self.training else float("inf"))

    with pytest.raises(TrainingDiverged, match="epoch 1: a validation logit is not finite"):
        fit(Overflowing(), TRAIN, VALID, RECIPE, seed=0)


def test_out_of_memory_passes_through_untouched() -> None:
    class Hungry(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("tried to allocate 2 TiB")

    with pytest.raises(torch.OutOfMemoryError, match="2 TiB"):
        fit(Hungry(), TRAIN, VALID, RECIPE, seed=0)


def test_validation_with_one_class_is_refused_before_the_first_epoch() -> None:
    one = Split(VALID.codes, np.ones_like(VALID.labels))
    epochs: list[EpochRecord] = []
    with pytest.raises(MetricError, match="all 200 labels are 1"):
        fit(Net(), TRAIN, one, RECIPE, seed=0, on_epoch=epochs.append)
    assert not epochs


def test_one_training_sequence_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2"):
        fit(Net(), TRAIN.take(np.arange(1)), VALID, RECIPE, seed=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"monitor": "aucroc"}, "unknown value of monitor 'aucroc'; did you mean 'auroc'"),
        ({"precision": "float16"}, "unknown value of precision"),
        ({"batch_size": 1}, "batch_size = 1; expected 2 to inf"),
        ({"epochs": 0}, "epochs = 0"),
        ({"learning_rate": 0.0}, r"learning_rate = 0\.0; expected a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
    ],
)
def test_impossible_recipes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**values)  # type: ignore[arg-type]


def test_unknown_device_is_refused_with_those_there_are() -> None:
    with pytest.raises(DeviceError, match="no device 'cuda:99' here; there is: auto, cpu"):
        resolve_device("cuda:99")
    with pytest.raises(DeviceError, match="no device 'gpu'"):
        run(device="gpu")
    assert resolve_device("cpu") == torch.device("cpu")


def test_automatic_precision_is_bfloat16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert resolve_precision("auto", cpu) == expected
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16


def test_bfloat16_training_learns_as_well_and_keeps_float32_weights() -> None:
    net, trained = run(replace(RECIPE, epochs=15, precision="bfloat16"))
    assert trained.chosen.auroc > 0.95
    assert all(p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.gpu
def test_training_on_a_gpu_repeats_itself_and_agrees_with_the_cpu() -> None:
    first, trained = run(device="cuda")
    assert same_weights(first, run(device="cuda")[0])
    assert trained.history[0].loss == pytest.approx(run()[1].history[0].loss, rel=0.05)


def test_recorded_gradient_is_that_of_the_mean_loss_over_all_training_sequences() -> None:
    recipe = replace(RECIPE, epochs=2, gradients=True, weights="last")
    net, trained = run(recipe)
    x = one_hot(torch.from_numpy(TRAIN.codes))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), torch.from_numpy(TRAIN.labels).float())
    (gradient,) = torch.autograd.grad(loss, net.first_convolution.weight)
    assert trained.history[-1].gradient_mean == pytest.approx(gradient.mean().item(), rel=1e-3, abs=1e-9)
    assert trained.history[-1].gradient_sd == pytest.approx(gradient.std(correction=0).item(), rel=1e-3)
    plain_net, plain = run(replace(recipe, gradients=False))
    assert same_weights(net, plain_net), "looking at the gradient changes nothing"
    assert np.isnan(plain.history[-1].gradient_sd)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_at_a_rung_the_network_is_what_training_would_return_and_training_is_not_changed(weights: str) -> None:
    # A rate so high that epochs 5 and 6 are worse than epoch 4.
    recipe = replace(RECIPE, weights=weights, learning_rate=0.2, schedule="constant")
    seen: dict[int, tuple[dict[str, torch.Tensor], Trained]] = {}
    net = Net()

    def look(trained: Trained) -> bool:
        assert not net.training
        assert np.array_equal(predict(net, VALID.codes), trained.logits)  # what a caller would do with it
        seen[len(trained.history)] = {k: v.clone() for k, v in net.state_dict().items()}, trained
        return True

    trained = fit(net, TRAIN, VALID, recipe, seed=7, rungs=dict.fromkeys(range(1, 7), look))
    plain, undisturbed = run(recipe, seed=7)
    assert sorted(seen) == [1, 2, 3, 4, 5]  # behind the last epoch there is nothing to ask
    assert same_weights(net, plain)
    assert scores(trained) == scores(undisturbed)
    assert (undisturbed.best_epoch, seen[5][1].best_epoch) == (4, 4)
    for epoch, (tensors, then) in seen.items():
        ended = Net()
        outcome = fit(ended, TRAIN, VALID, recipe, seed=7, rungs={epoch: lambda _: False})
        assert (outcome.stopped, then.stopped) == ("rung", "rung")
        assert scores(outcome) == scores(then)
        assert (outcome.best_epoch, outcome.chosen_epoch) == (then.best_epoch, then.chosen_epoch)
        assert all(torch.equal(tensors[k], v) for k, v in ended.state_dict().items())


def test_a_run_resumed_at_a_rung_is_asked_again(tmp_path: Path) -> None:
    file, asked = tmp_path / "c", []

    def ask(trained: Trained) -> bool:
        asked.append(len(trained.history))
        if len(asked) == 1:
            raise KeyboardInterrupt
        return len(asked) < 4

    for _ in range(2):
        try:
            _, trained = run(checkpoint=file, rungs={2: ask, 4: ask, 5: ask})
        except KeyboardInterrupt:
            continue
    assert asked == [2, 2, 4, 5]
    assert (trained.stopped, len(trained.history), trained.resumed_from) == ("rung", 5, 2)
