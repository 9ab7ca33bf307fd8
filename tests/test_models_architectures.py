"""Every architecture is the published one, and every hyperparameter does what its name says."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.errors import ModelError
from tuner.genome.sequence import one_hot
from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES, Network, build_model, complete, count_parameters
from tuner.models.hyperparameters import HYPERPARAMETERS, Value
from tuner.models.initializers import INITIALIZERS
from tuner.models.layers import BatchNorm1d
from tuner.models.plan import GLOBAL_POOLS

pytestmark = pytest.mark.slow

# Published, or derived from the published layers: weights + biases + 2 a batch-normed channel.
PUBLISHED = {
    "residualbind": 31_665,
    "cnn_deep": 286_700,
    "cnn_deep_log": 286_700,
    "cnn_2": 156_740,
    "cnn_50": 156_740,
    "cnn_dist": 46_225,
    "cnn_dist_log": 46_225,
    "cnn_local": 14_929,
    "basset": 4_132_364,
    "hw4": 913,
    "hw4_interaction": 4_241,
    "deepdife": 97_953,
    "foxo1_v1": 1_665,
    "foxo1_v2": 3_201,
    "foxo1_v3": 15_489,
    "foxo1_v4": 17_025,
    "foxo1_v5": 17_281,
    # 64 filters of 24 bp, dense 32, 14 cell types: (64 * 96 + 64) + (64 * 32 + 32) + (32 * 14 + 14)
    "sigtfb": 8_750,
}


def sequences(n: int, length: int, seed: int = 0) -> Tensor:
    codes = np.random.default_rng(seed).integers(0, 4, size=(n, length)).astype(np.uint8)
    return one_hot(codes)


def build(architecture: str, length: int = 400, seed: int = 0, n_tasks: int = 1, **settings: Value) -> Network:
    return build_model({"architecture": architecture, **settings}, n_tasks=n_tasks, length=length, seed=seed)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_at_the_published_shape(name: str) -> None:
    row = ARCHITECTURES[name]
    network = build(name, row.length, n_tasks=row.tasks)
    assert count_parameters(network) == row.parameters == PUBLISHED.get(name, row.parameters)


def test_only_the_family_has_no_published_count() -> None:
    assert set(ARCHITECTURES) - set(PUBLISHED) == {"cnn"}


@pytest.mark.parametrize(("name", "parameters"), [("cnn_deep", 5_320_652), ("cnn_2", 2_638_716), ("cnn_50", 2_638_716)])
def test_doubled_widths_for_1000_bp_as_published(name: str, parameters: int) -> None:
    network = build(name, 1000, n_tasks=12, filters=64, width=2.0, dense_units=1024)
    assert count_parameters(network) == parameters


def test_deepdife_has_the_same_size_at_620_bp() -> None:
    assert count_parameters(build("deepdife", 620)) == 97_953


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("n_tasks", [1, 5])
def test_one_hot_becomes_float_logits_and_gradients_reach_every_weight(name: str, n_tasks: int) -> None:
    length = ARCHITECTURES[name].length
    # A linear first layer has no dead start, so a zero gradient would mean a cut.
    network = build(name, length, n_tasks=n_tasks, activation="linear")
    torch.manual_seed(0)
    logits = network(sequences(6, length))
    assert logits.shape == (6, n_tasks)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_first_layer_is_exposed(name: str) -> None:
    row = ARCHITECTURES[name]
    network = build(name, row.length)
    filters, kernel_size = row.defaults["filters"], row.defaults["kernel_size"]
    assert isinstance(network.first_convolution, nn.Conv1d)
    assert network.first_convolution.weight.shape == (filters, 4, kernel_size)
    assert isinstance(network.first_activation, type(ACTIVATIONS[str(row.defaults["activation"])].module()))
    x = sequences(2, row.length)
    network.eval()
    positions = row.length if network.offset else row.length - int(kernel_size) + 1
    assert network.head(x).shape == (2, filters, positions)
    torch.testing.assert_close(network.tail(network.head(x)), network(x), rtol=0, atol=0)


def plain_residualbind(network: Network, x: Tensor, training: bool) -> Tensor:
    """ResidualBind written from the paper in torch's own functions, with a network's weights."""
    convolutions: Iterator[Tensor] = iter([m.weight for m in network.modules() if isinstance(m, nn.Conv1d)])
    norms = iter([m for m in network.modules() if isinstance(m, nn.BatchNorm1d)])
    dense = iter([m for m in network.modules() if isinstance(m, nn.Linear)])

    def conv(h: Tensor, pad: int) -> Tensor:
        return F.conv1d(h, next(convolutions), padding=pad)

    def norm(h: Tensor) -> Tensor:
        n = next(norms)
        return F.batch_norm(h, n.running_mean, n.running_var, n.weight, n.bias, training, 0.01, 1e-3)

    h = torch.exp(norm(conv(x, 9)))  # n, 24, 400
    branch = torch.relu(norm(torch.relu(conv(h, 2))))
    branch = norm(torch.relu(conv(branch, 2)))
    h = F.max_pool1d(torch.relu(h + branch), 10)  # n, 24, 40
    h = F.max_pool1d(torch.relu(norm(conv(h, 3))), 5)  # n, 48, 8
    h = F.max_pool1d(torch.relu(norm(conv(h, 0))), 4)  # n, 64, 1
    h = torch.relu(norm(F.linear(h.flatten(1), next(dense).weight)))
    output = next(dense)
    return F.linear(h, output.weight, output.bias)


@pytest.mark.parametrize("training", [False, True])
def test_residualbind_equals_a_plain_network(training: bool) -> None:
    network = build("residualbind", dropout_first=0.0, dropout_scale=0.0, dropout_dense=0.0)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    network.train(training)
    plain = copy.deepcopy(network)
    x = sequences(20, 400)
    ours, theirs = network(x), plain_residualbind(plain, x.contiguous(), training)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    ours.sigmoid().sum().backward()
    theirs.sigmoid().sum().backward()
    for (key, a), b in zip(network.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).norm() <= 1e-2 * b.grad.norm() + 1e-5, key
    for a, b in zip(network.buffers(), plain.buffers(), strict=True):
        if a.dtype == torch.float32:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_published_dropout_rates() -> None:
    def rates(name: str) -> list[float]:
        return [m.p for m in build(name, ARCHITECTURES[name].length).modules() if isinstance(m, nn.Dropout)]

    assert rates("cnn_deep") == rates("cnn_dist") == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert rates("residualbind") == [0.1, 0.3, 0.4, 0.5]
    assert rates("cnn_2") == rates("cnn_50") == [0.1, 0.1, 0.5]
    assert rates("cnn_local") == [0.1, 0.2, 0.5]
    assert rates("basset") == [0.2, 0.2, 0.2, 0.5, 0.5]
    assert rates("deepdife") == [0.25] * 4
    assert rates("foxo1_v5") == [0.2] * 3
    assert rates("hw4") == rates("foxo1_v1") == rates("sigtfb") == []


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (
            "cnn_50",
            "Dropout MaxPool1d Conv1d BatchNorm1d ReLU Dropout MaxPool1d Flatten Linear BatchNorm1d ReLU",
        ),
        ("foxo1_v3", "MaxPool1d Dropout Conv1d ReLU MaxPool1d Flatten"),
        ("residualbind", "Dropout Residual MaxPool1d"),
        ("hw4", "MaxPool1d Flatten Linear ReLU"),
    ],
)
def test_layers_come_in_the_published_order(name: str, order: str) -> None:
    network = build(name, ARCHITECTURES[name].length)
    kinds = [type(module).__name__ for module in network.body]
    assert kinds[: len(order.split())] == order.split()


@pytest.mark.parametrize("name", [*ARCHITECTURES, "cnn max_average", "cnn dilated"])
def test_every_layer_is_a_module_used_once_and_no_pools_overlap(name: str) -> None:
    """What DeepLIFT needs: a rule per module, one call per rule."""
    extra: dict[str, Value] = {
        "cnn max_average": {"global_pool": "max_average"},
        "cnn dilated": {"residual_blocks": 3, "dilated": True},
    }.get(name, {})
    architecture = name.split()[0]
    network = build(architecture, ARCHITECTURES[architecture].length, **extra).eval()
    calls: Counter[str] = Counter()
    leaves = {key: module for key, module in network.named_modules() if not list(module.children())}
    for key, module in leaves.items():
        module.register_forward_hook(lambda *_, key=key: calls.update([key]))
    network(sequences(2, network.length))
    assert calls == Counter(dict.fromkeys(leaves, 1))
    for module in leaves.values():
        if isinstance(module, nn.MaxPool1d | nn.AvgPool1d):
            assert module.kernel_size == module.stride


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state(name: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = build(name, seed=4).state_dict()
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    torch.manual_seed(12)
    for key, value in build(name, seed=4).state_dict().items():
        torch.testing.assert_close(value, first[key], rtol=0, atol=0)
    weight = "first_convolution.weight"
    assert not torch.equal(build(name, seed=5).state_dict()[weight], first[weight])


def test_initializer_is_of_the_first_layer_only() -> None:
    network = build("cnn_deep", initializer="normal", initializer_sigma=3.0)
    first, second = [m.weight for m in network.modules() if isinstance(m, nn.Conv1d)][:2]
    assert first.std().item() == pytest.approx(3.0, rel=0.1)
    assert second.std().item() == pytest.approx(np.sqrt(2 / (32 * 7 + 48 * 7)), rel=0.1)


def test_convolutions_of_the_residual_block_are_he_normal() -> None:
    network = build("residualbind", filters=64)
    inner = [m.weight for m in network.modules() if isinstance(m, nn.Conv1d)][1:3]
    for weight in inner:
        assert weight.shape == (64, 64, 5)
        assert weight.std().item() == pytest.approx(np.sqrt(2 / (64 * 5)), rel=0.05)


def test_deep_sigma_draws_every_deeper_layer() -> None:
    network = build("sigtfb", 101, deep_sigma=0.002, n_tasks=40)
    dense = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
    assert len(dense) == 2
    for weight in dense:
        assert weight.std().item() == pytest.approx(0.002, rel=0.1)
    assert network.first_convolution.weight.std().item() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("name", ["residualbind", "basset", "deepdife"])
def test_l2_penalty_counts_kernels_but_the_output_layers(name: str) -> None:
    network = build(name, ARCHITECTURES[name].length)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)  # biases and batch norm too: they must not count
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)][:-1]
    expected = sum(w.double().square().sum().item() for w in kernels)
    assert network.l2_penalty().item() == pytest.approx(expected, rel=1e-5)


def test_log_models_penalise_the_first_layer_by_a_tenth() -> None:
    network = build("cnn_deep_log", 200)
    first = network.first_convolution.weight.square().sum().item()
    deeper = [m.weight for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)][1:-1]
    rest = sum(w.square().sum().item() for w in deeper)
    assert 1e-6 * network.l2_penalty().item() == pytest.approx(0.1 * first + 1e-6 * rest, rel=1e-4)
    assert build("cnn_deep_log", 200, l2_first=0.0).l2_penalty().item() == pytest.approx(rest, rel=1e-5)


@pytest.mark.parametrize("activation", ["exponential", "scale_relu", "relu"])
def test_the_first_layer_stays_float32_under_autocast(activation: str) -> None:
    network = build("residualbind", activation=activation).eval()
    x = sequences(4, 400)
    exact = network.head(x)
    seen: list[torch.dtype] = []
    deeper = next(m for m in network.body.modules() if isinstance(m, nn.Conv1d))
    deeper.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        half = network.head(x.bfloat16())
        logits = network(x)
    assert half.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0, atol=0)
    assert seen == [torch.bfloat16]


def test_memory_layout_of_the_input_does_not_matter() -> None:
    network = build("residualbind").eval()
    x = sequences(3, 400)
    torch.testing.assert_close(network(x), network(x.contiguous()), rtol=0, atol=0)


@pytest.mark.parametrize("kernel_size", [5, 6, 19, 24])
def test_same_padding_keeps_the_length_and_centres_the_kernel(kernel_size: int) -> None:
    network = build("residualbind", 100, kernel_size=kernel_size, batch_norm_first=False, activation="linear")
    assert network.offset == (kernel_size - 1) // 2
    with torch.no_grad():
        network.first_convolution.weight.zero_()
        network.first_convolution.weight[:, 0, 0] = 1  # reads the first base of its field
    codes = np.full((1, 100), 3, np.uint8)
    codes[0, 40] = 0
    h = network.head(one_hot(codes))
    assert h.shape == (1, 24, 100)
    assert h[0, 0].nonzero().tolist() == [[40 + network.offset]]


def test_global_average_sees_composition() -> None:
    """A filter that reads single Cs becomes, after the global average, the C content."""
    network = build(
        "cnn", 100, n_blocks=1, filters=1, kernel_size=1, activation="linear", batch_norm_first=False,
        batch_norm=False, global_pool="average", dense_units=0,
    )  # fmt: skip
    with torch.no_grad():
        network.first_convolution.weight.zero_()
        network.first_convolution.weight[0, 1, 0] = 1
        network.output.weight.fill_(1)
    x = sequences(8, 100)
    torch.testing.assert_close(network.eval()(x)[:, 0], x[:, 1].mean(dim=1))


@pytest.mark.parametrize(("global_pool", "factor"), [("flatten", 25), ("max", 1), ("average", 1), ("max_average", 2)])
def test_global_pool_sets_the_features_of_the_last_map(global_pool: str, factor: int) -> None:
    network = build("cnn", 400, n_blocks=2, pool_first=4, pool_size=4, dense_units=0, global_pool=global_pool)
    assert network.output.in_features == 48 * factor


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_dense_units_means_no_dense_layer(name: str) -> None:
    network = build(name, ARCHITECTURES[name].length, dense_units=0)
    assert [m for m in network.modules() if isinstance(m, nn.Linear)] == [network.output]


def test_dense_layers_keep_their_published_ratio() -> None:
    network = build("deepdife", 600, dense_units=64)
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [64, 32, 1]


def test_batch_norm_of_the_first_and_of_deeper_layers_are_apart() -> None:
    def norms(**settings: Value) -> int:
        return sum(isinstance(m, BatchNorm1d) for m in build("cnn_deep", 200, **settings).modules())

    assert norms() == 5
    assert norms(batch_norm_first=False) == 4
    assert norms(batch_norm=False) == 1
    assert norms(batch_norm_first=False, batch_norm=False) == 0


def test_dilated_residual_blocks_double_their_reach() -> None:
    network = build("residualbind", residual_blocks=3, dilated=True)
    dilations = [m.dilation[0] for m in network.modules() if isinstance(m, nn.Conv1d)]
    assert dilations == [1, 1, 1, 2, 2, 4, 4, 1, 1]


def draw(rng: np.random.Generator, name: str) -> dict[str, Value]:
    """A point of the largest sensible space."""
    point: dict[str, Value] = {
        "architecture": name,
        "activation": str(rng.choice(list(ACTIVATIONS))),
        "initializer": str(rng.choice(list(INITIALIZERS))),
        "global_pool": str(rng.choice(GLOBAL_POOLS)),
        "filters": int(rng.integers(1, 48)),
        "kernel_size": int(rng.integers(1, 41)),
        "pool_first": int(rng.integers(1, 100)),
        "residual_blocks": int(rng.integers(0, 4)),
        "dense_units": int(rng.choice([0, 1, 32])),
        "width": float(rng.uniform(0.1, 1.5)),
        "dropout_scale": float(rng.uniform(0, 3)),
        "dropout_dense": float(rng.uniform(0, 0.9)),
        "n_blocks": int(rng.integers(1, 5)),
        "kernel_size_deep": int(rng.integers(1, 30)),
        "pool_size": int(rng.integers(1, 40)),
    }
    for key in ("dilated", "batch_norm", "batch_norm_first"):
        point[key] = bool(rng.integers(2))
    return point


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_point_builds_at_every_length(name: str) -> None:
    rng = np.random.default_rng(0)
    lengths = [50, 51, 75, 101, 200, 333] + ([400, 1000, 2000] if name == "cnn" else [])
    for length in lengths * (3 if name == "cnn" else 1):
        point = draw(rng, name)
        network = build_model(point, n_tasks=2, length=length, seed=0).eval()
        assert torch.isfinite(network(sequences(2, length))).all(), point


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("length", [50, 2000])
def test_published_settings_build_at_other_lengths(name: str, length: int) -> None:
    network = build(name, length).eval()
    assert network(sequences(1, length)).shape == (1, 1)


def test_every_hyperparameter_belongs_to_an_architecture_and_is_described() -> None:
    owned = {key for row in ARCHITECTURES.values() for key in row.defaults}
    assert owned | {"architecture"} == set(HYPERPARAMETERS)
    for name, row in ARCHITECTURES.items():
        assert complete({"architecture": name}) == {"architecture": name, **row.defaults}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_values_leave_the_network_as_it_is(name: str) -> None:
    row = ARCHITECTURES[name]
    ours, spelled = build(name, row.length), build(name, row.length, **row.defaults)
    assert str(ours) == str(spelled)


def test_a_hyperparameter_of_another_architecture_is_left_out() -> None:
    assert str(build("residualbind", pool_size=7, n_blocks=1)) == str(build("residualbind"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "residualbnd"}, "unknown architecture 'residualbnd'; did you mean 'residualbind'"),
        ({"activation": "exponentail"}, "unknown activation 'exponentail'; did you mean 'exponential'"),
        ({"initializer": "glorot"}, "unknown initializer 'glorot'; did you mean 'glorot_"),
        ({"global_pool": "mean"}, "unknown global_pool 'mean'; known: average, flatten, max, max_average"),
        ({"kernel_sise": 9}, "unknown hyperparameter 'kernel_sise'; did you mean 'kernel_size'"),
        ({"filters": 0}, "'filters' is 0; must be an integer from 1 to 4096"),
        ({"filters": 24.0}, "'filters' is 24.0; must be an integer"),
        ({"filters": True}, "'filters' is True; must be an integer"),
        ({"batch_norm": 1}, "'batch_norm' is 1; must be true or false"),
        ({"activation": 3}, "'activation' is 3; must be a text"),
        ({"dropout_first": 1.0}, "'dropout_first' is 1.0; must be a number from 0 to 0.95"),
        ({"dropout_first": float("nan")}, "'dropout_first' is nan; must be a number"),
        ({"pool_size": 0}, "'pool_size' is 0; must be an integer from 1"),
        ({"kernel_size": 500}, r"kernel_size 500 is longer than the sequences \(400 bp\)"),
        (
            {"activation": "relu", "activation_scale": 2.0},
            "activation 'relu' has no scale.*of these activations: exponential",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Value], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model({"architecture": "residualbind", **settings}, n_tasks=1, length=400, seed=0)


def test_an_architecture_must_be_named() -> None:
    with pytest.raises(ModelError, match=r"no architecture given\. Set architecture to one of: residualbind"):
        build_model({"filters": 3}, n_tasks=1, length=400, seed=0)


def test_no_tasks_or_no_sequence_is_refused() -> None:
    with pytest.raises(ModelError, match="n_tasks is 0; must be at least 1"):
        build_model({"architecture": "residualbind"}, n_tasks=0, length=400, seed=0)
    with pytest.raises(ModelError, match="length is 0; must be at least 1"):
        build_model({"architecture": "residualbind"}, n_tasks=1, length=0, seed=0)
