"""The compiled kernels compute what the layers compute, with the same random bits."""

from __future__ import annotations

import copy
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tuner.models import compiled, fused, kernels
from tuner.models.activations import Exponential
from tuner.models.architectures import build_model
from tuner.models.first_layer import scan_filters
from tuner.models.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d, channels_last, random_bits
from tuner.models.network import Residual

pytestmark = pytest.mark.slow

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and torch's random bits on both sides."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(compiled, "_draw", random_bits)
    yield
    torch.set_num_threads(threads)
    compiled.disable()


def trace(module: nn.Module, x: Tensor, *, of_input: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Output of one training step, and the gradients of weights and input and the statistics after it, in float64."""
    torch.manual_seed(7)
    x = channels_last(x).detach().requires_grad_(of_input)
    module.train().zero_grad()
    y = compiled.run(module, x) if isinstance(module, nn.Sequential) else module(x)
    (y.double() * torch.linspace(-1, 1, y.numel()).double().view(y.shape)).sum().backward()
    found = {name: p.grad for name, p in module.named_parameters()} | dict(module.named_buffers())
    return y.detach().double(), {
        name: t.detach().clone().double() for name, t in (found | {"x": x.grad}).items() if t is not None
    }


def assert_equal_to_float64(module: nn.Module, x: Tensor, folder: Path, *, of_input: bool = True) -> None:
    """Compare the kernels in float32 with torch in float64, whose own rounding does not matter."""
    exact = type(module)(*module) if isinstance(module, nn.Sequential) else module
    state = {name: t.clone() for name, t in module.state_dict().items()}
    compiled.disable()
    y, expected = trace(exact.double(), x.double(), of_input=of_input)
    module.float().load_state_dict(state)
    assert compiled.enable(folder) == ""
    out, found = trace(module, x, of_input=of_input)
    torch.testing.assert_close(out, y, rtol=1e-5, atol=1e-5)
    for name, tensor in expected.items():
        scale = max(1.0, tensor.abs().max().item())
        torch.testing.assert_close(found[name] / scale, tensor / scale, rtol=0, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 24), (5, 6), (8, 16), (12, 44)])
@pytest.mark.parametrize(
    ("kernel_size", "pad", "stride", "dilation"),
    [(1, (0, 0), 1, 1), (7, (3, 3), 1, 1), (4, (1, 2), 1, 1), (5, (4, 4), 1, 2), (6, (2, 2), 3, 1), (3, (0, 0), 1, 1)],
)
@pytest.mark.parametrize("length", [17, 230])
def test_convolution(
    inputs: int, outputs: int, kernel_size: int, pad: tuple[int, int], stride: int, dilation: int, length: int,
    folder: Path,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    layer = Conv1d(inputs, outputs, kernel_size, pad=pad, stride=stride, dilation=dilation)
    assert_equal_to_float64(nn.Sequential(layer), torch.randn(7, inputs, length), folder)


def record_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels called from now on."""
    called: list[str] = []
    call = kernels.call

    def recorded(name: str, *arguments: Tensor | int | float | None) -> int:
        called.append(name)
        return call(name, *arguments)

    for module in (compiled, fused):
        monkeypatch.setattr(module, "call", recorded)
    return called


def sequences(n: int, length: int) -> Tensor:
    """Random one-hot sequences, shape=(n, 4, length); every seventh base is unknown."""
    codes = torch.randint(0, 4, (n, length))
    x = torch.nn.functional.one_hot(codes, 4).float()
    x.view(-1, 4)[::7] = 0.0
    return x.transpose(1, 2)


@needs_compiler
@pytest.mark.parametrize("outputs", [1, 24, 75])
@pytest.mark.parametrize(("kernel_size", "pad"), [(1, (0, 0)), (3, (0, 0)), (19, (9, 9)), (20, (9, 10)), (17, (0, 5))])
@pytest.mark.parametrize("bias", [False, True])
def test_first_convolution_looks_sequences_up(
    outputs: int, kernel_size: int, pad: tuple[int, int], bias: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = Conv1d(4, outputs, kernel_size, pad=pad, bias=bias)
    called = record_calls(monkeypatch)
    assert_equal_to_float64(nn.Sequential(layer), sequences(7, 53), folder, of_input=False)
    assert called[-3:] == ["encode", "first_forward", "first_gradient"]


@needs_compiler
@pytest.mark.parametrize("activation", ["exponential", "relu", "sigmoid", "shift_scale_tanh"])
@pytest.mark.parametrize(("filters", "kernel_size"), [(1, 3), (20, 11), (48, 19)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_best_positions_are_those_of_the_map(
    activation: str, filters: int, kernel_size: int, batch_norm: bool, folder: Path
) -> None:
    torch.manual_seed(0)
    settings = {"architecture": "cnn", "filters": filters, "kernel_size": kernel_size, "activation": activation}
    network = build_model({**settings, "batch_norm_first": batch_norm}, n_tasks=1, length=150, seed=0)
    if network.first_batch_norm is not None:
        norm = network.first_batch_norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():  # some filters are turned upside down
            norm.weight.normal_()
            norm.bias.normal_()
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 2)
    codes = torch.randint(0, 5, (70, 150), dtype=torch.uint8).numpy()  # N among them
    codes[3] = codes[3, 0]  # equal everywhere: the leftmost counts
    expected = scan_filters(network, codes)
    assert compiled.enable(folder) == ""
    found = scan_filters(network, codes, batch=32)
    assert (found.position == expected.position).all()
    for name in ("activation", "preactivation", "floor"):
        torch.testing.assert_close(
            torch.from_numpy(getattr(found, name)), torch.from_numpy(getattr(expected, name)), rtol=1e-5, atol=1e-5
        )


@needs_compiler
def test_a_filter_that_is_nan_is_nan_in_a_scan(folder: Path) -> None:
    network = build_model({"architecture": "cnn", "filters": 9, "kernel_size": 5}, n_tasks=1, length=50, seed=0)
    with torch.no_grad():
        network.first_convolution.weight[4] = torch.nan
    assert compiled.enable(folder) == ""
    found = scan_filters(network, torch.zeros(2, 50, dtype=torch.uint8).numpy())
    assert torch.from_numpy(found.preactivation).isnan().sum(dim=0).tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0]


@needs_compiler
@pytest.mark.parametrize("odd", [0.5, -1.0, 2.0, torch.nan, "two ones"])
def test_inputs_that_are_no_sequences_are_convolved(
    odd: float | str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise on the inputs, mixed bases, values that are not numbers."""
    torch.manual_seed(0)
    layer, x = Conv1d(4, 8, 5, pad=(2, 2)), sequences(3, 40)
    x[2, :, 39] = torch.tensor([1.0, 0.0, 1.0, 0.0]) if isinstance(odd, str) else torch.tensor([odd, 0.0, 0.0, 0.0])
    expected = layer(channels_last(x))
    assert compiled.enable(folder) == ""
    called = record_calls(monkeypatch)
    torch.testing.assert_close(compiled.run(nn.Sequential(layer), channels_last(x)), expected, equal_nan=True)
    assert called == ["encode"]


@needs_compiler
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_norm_with_an_exponential(scale: float, rate: float, folder: Path) -> None:
    torch.manual_seed(0)
    norm = BatchNorm1d(21)
    nn.init.uniform_(norm.weight, -1.0, 2.0)
    nn.init.normal_(norm.bias)
    x = 3 * torch.randn(9, 21, 70) + torch.arange(21)[:, None]
    assert_equal_to_float64(nn.Sequential(norm, Exponential(scale), Dropout(rate)), x, folder)


@needs_compiler
def test_the_exponential_reaches_from_nothing_to_infinity(folder: Path) -> None:
    norm = BatchNorm1d(1)
    rows = torch.linspace(-150, 150, 60001)
    x = channels_last(((rows - rows.mean()) / (rows.var(correction=0) + norm.eps).sqrt())[None, None, :])
    nn.init.constant_(norm.weight, float((rows.var(correction=0) + norm.eps).sqrt()))  # so that the norm gives rows
    assert compiled.enable(folder) == ""
    found = compiled.run(nn.Sequential(norm, nn.Identity()), x.double().float())
    values = compiled.run(nn.Sequential(norm, Exponential()), x).flatten().double()
    exact = found.flatten().double().exp()
    inside = (exact > 2.0**-126) & (exact < 3.4e38)
    assert inside.sum() > 30_000
    assert ((values - exact).abs() / exact)[inside].max() < 2e-5  # e^x turns an error of x into a relative one
    assert values.isinf()[exact > 3.5e38].all()
    assert (values[exact < 2.0**-126] < 2.0**-125).all()
    assert (values >= 0).all()


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@needs_compiler
@pytest.mark.parametrize("channels", [12, 75])
def test_a_residual_block_adds_in_its_last_norm(channels: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = Residual(channels, 1, batch_norm=True, bias=False)
    twin = copy.deepcopy(block).double()
    x = torch.randn(5, channels, 31)
    y, exact = trace(twin, x.double())
    assert compiled.enable(folder) == ""
    called = record_calls(monkeypatch)
    out, found = trace(block, x)
    assert called.count("norm_forward") == 2
    torch.testing.assert_close(out, y, rtol=1e-5, atol=1e-5)
    for name, tensor in exact.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max()))


@needs_compiler
def test_a_residual_block_without_norms_adds_in_python(folder: Path) -> None:
    torch.manual_seed(0)
    block = Residual(12, 1, batch_norm=False, bias=True)
    x = torch.randn(5, 12, 31)
    expected, _ = trace(block, x)
    assert compiled.enable(folder) == ""
    torch.testing.assert_close(trace(block, x)[0], expected, rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("length", "window", "ceil_mode"), [(40, 4, False), (43, 4, False), (43, 4, True), (30, 30, False)]
)
def test_pools_take_what_torch_takes(
    length: int, window: int, ceil_mode: bool, dtype: torch.dtype, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties, ends that are no window, NaN."""
    torch.manual_seed(0)
    x = torch.randn(6, 10, length).mul(3).round().to(dtype)  # many ties
    x[0, 0, 1] = torch.nan
    pool = MaxPool1d(window, ceil_mode=ceil_mode).train()
    compiled.disable()
    outputs = []
    for on in (False, True):
        assert not on or compiled.enable(folder) == ""
        called = record_calls(monkeypatch)
        h = channels_last(x).clone(memory_format=torch.preserve_format).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            y = compiled.run([pool], h)
        (gradient,) = torch.autograd.grad((y.float() * torch.arange(y.numel()).view(y.shape)).sum(), h)
        outputs.append([y, gradient])
        assert ("pool_backward" in called) == on
    assert outputs[1][0].dtype is dtype
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@needs_compiler
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [None, nn.ReLU, Exponential])
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize(
    ("channels", "window", "ceil_mode"), [(21, 10, False), (24, 10, True), (600, 2, False), (6, 43, False)]
)
def test_a_norm_pools_what_it_makes(
    before: bool, after: type[nn.Module] | None, rate: float, channels: int, window: int, ceil_mode: bool,
    folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    norm = BatchNorm1d(channels)
    nn.init.uniform_(norm.weight, -1.0, 1.0)
    nn.init.normal_(norm.bias)
    behind = [after() for after in [after] if after] + [Dropout(rate)] * (rate > 0)
    chain = nn.Sequential(*[nn.ReLU()] * before, norm, *behind, MaxPool1d(window, ceil_mode=ceil_mode))
    called = record_calls(monkeypatch)
    x = 3 * torch.randn(5, channels, 43) + torch.arange(channels)[:, None] / 8
    assert_equal_to_float64(chain, x, folder)
    assert called[-3:] == ["norm_statistics", "norm_pool_forward", "norm_pool_backward"]


@needs_compiler
def test_a_residual_block_pools_its_sum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(Residual(12, 1, batch_norm=True, bias=False), MaxPool1d(4))
    twin = copy.deepcopy(chain).double()
    x = torch.randn(5, 12, 31)
    y, exact = trace(twin, x.double())
    assert compiled.enable(folder) == ""
    called = record_calls(monkeypatch)
    out, found = trace(chain, x)
    assert "norm_pool_backward" in called
    torch.testing.assert_close(out, y, rtol=1e-5, atol=1e-5)
    for name, tensor in exact.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max()))


@needs_compiler
def test_long_pools_are_torchs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place in a window is a byte."""
    assert compiled.enable(folder) == ""
    called = record_calls(monkeypatch)
    compiled.run([MaxPool1d(256).train()], channels_last(torch.randn(2, 4, 512)).requires_grad_())
    assert called == []


@needs_compiler
@pytest.mark.parametrize("channels", [3, 8, 21, 24])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_norm_with_its_neighbours(channels: int, before: bool, after: bool, rate: float, folder: Path) -> None:
    torch.manual_seed(0)
    norm = BatchNorm1d(channels)
    nn.init.uniform_(norm.weight, -1.0, 2.0)
    nn.init.normal_(norm.bias)
    layers = [nn.ReLU()] * before + [norm] + [nn.ReLU()] * after + [Dropout(rate)]
    x = 3 * torch.randn(9, channels, 70) + torch.arange(channels)[:, None]
    assert_equal_to_float64(nn.Sequential(*layers), x, folder)


@needs_compiler
def test_random_bits_are_uniform_and_follow_torchs_generator(folder: Path) -> None:
    assert compiled.enable(folder) == ""
    torch.manual_seed(3)
    bits = fused.random_bits(1 << 21)
    assert not torch.equal(bits[:1000], fused.random_bits(1000))
    torch.manual_seed(3)
    assert torch.equal(bits[:1003], fused.random_bits(1003))
    values = bits.long() + 32768
    counts = torch.bincount(values, minlength=65536).double()
    expected = len(bits) / 65536
    chi = ((counts - expected).square() / expected).sum().item()
    assert abs(chi - 65535) < 5 * (2 * 65535) ** 0.5
    for lag in (1, 4, 32):  # neighbours, words and lanes
        pair = torch.stack([values[:-lag], values[lag:]]).double()
        assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / len(bits) ** 0.5


@needs_compiler
def test_dropout_drops_the_same_elements(folder: Path) -> None:
    x = torch.randn(5, 7, 33)
    outputs = []
    for on in (False, True):
        assert not on or compiled.enable(folder) == ""
        outputs.append(trace(nn.Sequential(Dropout(0.4)), x))
    torch.testing.assert_close(outputs[1][0], outputs[0][0], rtol=1e-6, atol=0)
    torch.testing.assert_close(outputs[1][1]["x"], outputs[0][1]["x"], rtol=1e-6, atol=0)


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "exponential", "tanh"])
@pytest.mark.parametrize("architecture", ["residualbind", "cnn_deep", "cnn_2", "deepdife"])
def test_networks(architecture: str, activation: str, folder: Path) -> None:
    """A ReLU that is all but 0 may switch, which moves gradients by a percent; in one of three batches none does."""
    settings = {"architecture": architecture, "activation": activation}
    assert compiled.enable(folder) == ""
    kernels_of_ours = kernels.Library.loaded
    errors = []
    for seed in range(3):
        network, twin = (build_model(settings, n_tasks=2, length=200, seed=0) for _ in range(2))
        torch.manual_seed(seed)
        x = torch.nn.functional.one_hot(torch.randint(0, 4, (30, 200)), 4).transpose(1, 2).float()
        compiled.disable()
        _, exact = trace(twin.double(), x.double(), of_input=False)
        kernels.Library.loaded = kernels_of_ours
        _, found = trace(network, x, of_input=False)
        largest = max(g.abs().max().item() for g in exact.values())
        errors.append(max((found[name] - tensor).abs().max().item() for name, tensor in exact.items()) / largest)
    assert min(errors) < 1e-4
    assert max(errors) < 0.05


@needs_compiler
@pytest.mark.parametrize("narrow", [False, True])
def test_nan_stays_visible(narrow: bool, folder: Path) -> None:
    assert compiled.enable(folder) == ""
    x = channels_last(torch.randn(4, 8, 20)).clone(memory_format=torch.preserve_format)
    x[0, 0, 0] = torch.nan
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        assert compiled.run(nn.Sequential(BatchNorm1d(8), nn.ReLU()), x).isnan().any()


@needs_compiler
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [8, 21])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [None, nn.ReLU, Exponential])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_norms_in_bfloat16_are_those_of_float64_but_for_rounding(
    channels: int, before: bool, after: type[nn.Module] | None, rate: float, kind: torch.dtype, folder: Path
) -> None:
    """Statistics and arithmetic are in float32: of what is stored, each value is off by at most half a step of 2^-8."""
    torch.manual_seed(0)
    norm = BatchNorm1d(channels)
    nn.init.uniform_(norm.weight, -1.0, 1.0)
    layers = [nn.ReLU()] * before + [norm] + [after() for after in [after] if after] + [Dropout(rate)]
    module = nn.Sequential(*layers).train()
    x = (3 * torch.randn(9, channels, 70) + torch.arange(channels)[:, None]).to(kind)
    weights = torch.linspace(-1, 1, x.numel()).view(x.shape).to(torch.bfloat16)

    def step(module: nn.Module, h: Tensor) -> list[Tensor]:
        torch.manual_seed(7)
        h = channels_last(h).detach().requires_grad_()
        y = compiled.run(module, h)
        found = torch.autograd.grad((y.double() * weights.double()).sum(), [h, norm.weight, norm.bias])
        return [y.detach(), *found, norm.running_mean.clone(), norm.running_var.clone()]

    assert compiled.enable(folder) == ""
    with bfloat16():
        found = step(module, x)
    norm.reset_running_stats()
    compiled.disable()
    exact = step(module.double(), x.double())
    assert found[0].dtype is (torch.bfloat16 if after or rate or kind is torch.bfloat16 else torch.float32)
    assert found[1].dtype is kind
    for name, a, b in zip(("y", "x", "weight", "bias", "mean", "variance"), found, exact, strict=True):
        error = (a.double() - b).abs()
        if name == "y":
            assert (error <= 2**-8 * b.abs() + 1e-5).all(), name
        else:
            assert error.max() <= (1e-5 if name in ("mean", "variance") else 2**-7) * b.abs().max(), name


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "exponential", "shift_scale_sigmoid"])
@pytest.mark.parametrize("architecture", ["residualbind", "cnn_deep", "deepdife"])
def test_networks_in_bfloat16_learn_along_the_gradients_of_float64(
    architecture: str, activation: str, folder: Path
) -> None:
    """No further from them than torch's own bfloat16 is (which also keeps the first map in float32)."""
    settings = {"architecture": architecture, "activation": activation}
    torch.manual_seed(0)
    batches = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 30, 200)), 4).transpose(2, 3).float()

    def gradients(x: Tensor, kind: torch.dtype, narrow: bool) -> Tensor:
        network = build_model(settings, n_tasks=2, length=200, seed=0).to(kind)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            _, found = trace(network, x.to(kind), of_input=False)
        return torch.cat([found[name].flatten() for name, _ in network.named_parameters()])

    def likeness() -> float:
        narrow = [gradients(x, torch.float32, narrow=True) for x in batches]
        return statistics.mean(float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(narrow, exact, strict=True))

    exact = [gradients(x, torch.float64, narrow=False) for x in batches]
    usual = likeness()  # one ReLU that switches moves a single batch's by .01
    assert compiled.enable(folder) == ""
    ours = likeness()
    assert ours > 0.95
    assert ours > usual - 0.005


@needs_compiler
def test_evaluation_runs_the_layers_themselves(folder: Path) -> None:
    assert compiled.enable(folder) == ""
    called: list[str] = []
    chain = nn.Sequential(BatchNorm1d(8), nn.ReLU()).eval()
    chain[0].register_forward_hook(lambda *_: called.append("norm"))
    compiled.run(chain, channels_last(torch.randn(4, 8, 20)))
    assert called == ["norm"]


@needs_compiler
def test_the_second_process_finds_them_built(folder: Path) -> None:
    assert compiled.enable(folder) == ""
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.so")}
    assert compiled.enable(folder) == ""
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.so")} == before
    assert len(before) == 1


def test_without_a_compiler_python_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler" in compiled.enable(tmp_path / "cache")
    x = channels_last(torch.randn(4, 8, 20))
    assert not compiled.usable(x)
    assert compiled.run(nn.Sequential(BatchNorm1d(8), nn.ReLU()), x).shape == x.shape


@needs_compiler
def test_kernels_that_compute_other_values_are_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, right = tmp_path / "wrong.cpp", "h = sl[j] * h + of[j];"
    *others, norms = kernels._SOURCES
    source = norms.read_text(encoding="utf-8")
    assert right in source
    wrong.write_text(source.replace(right, "h = sl[j] * h;"), encoding="utf-8")
    monkeypatch.setattr(kernels, "_SOURCES", (*others, wrong))
    state = torch.get_rng_state()
    assert "they do not compute the same values as torch" in compiled.enable(folder)
    assert not compiled.enabled()
    assert torch.equal(torch.get_rng_state(), state), "trying them draws nothing from the run's generator"


@needs_compiler
def test_a_failing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "out of order" in compiled.enable(tmp_path / "cache")


@needs_compiler
def test_a_kernel_without_memory_raises_and_the_process_goes_on(folder: Path) -> None:
    assert compiled.enable(folder) == ""
    codes, weight = torch.zeros(1, 20, dtype=torch.uint8), torch.zeros(8, 4, 5)
    y = torch.zeros(1, 16, 8)
    with pytest.raises(MemoryError, match="out of memory in the compiled kernel first_forward"):
        kernels.call("first_forward", codes, weight, None, y, 2**50, 20, 16, 8, 5, 0)
    kernels.call("first_forward", codes, weight, None, y, 1, 20, 16, 8, 5, 0)
    assert not y.any()
