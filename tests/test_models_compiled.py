"""The compiled kernels compute what the layers compute, with the same random bits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tuner.models import compiled, kernels
from tuner.models.activations import Exponential
from tuner.models.architectures import build_model
from tuner.models.layers import BatchNorm1d, Conv1d, Dropout, channels_last

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
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
    call = compiled.call

    def recorded(name: str, *arguments: Tensor | int | float | None) -> int:
        called.append(name)
        return call(name, *arguments)

    monkeypatch.setattr(compiled, "call", recorded)
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


@needs_compiler
def test_residual_sum(folder: Path) -> None:
    torch.manual_seed(0)
    a, b = (channels_last(torch.randn(5, 12, 31)).requires_grad_() for _ in range(2))
    weights = torch.randn(5, 12, 31)
    outputs = []
    for on in (False, True):
        assert not on or compiled.enable(folder) == ""
        y = compiled.add_relu(a, b, nn.ReLU())
        assert (type(y.grad_fn).__name__ == "_AddReLUBackward") == on
        outputs.append([y, *torch.autograd.grad((y * weights).sum(), [a, b])])
    for one, other in zip(*outputs, strict=True):
        assert torch.equal(one, other)


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
    settings = {"architecture": architecture, "activation": activation}
    network, twin = (build_model(settings, n_tasks=2, length=200, seed=0) for _ in range(2))
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (30, 200)), 4).transpose(1, 2).float()
    _, exact = trace(twin.double(), x.double(), of_input=False)
    assert compiled.enable(folder) == ""
    _, found = trace(network, x, of_input=False)
    largest = max(g.abs().max().item() for g in exact.values())
    for name, tensor in exact.items():
        torch.testing.assert_close(found[name] / largest, tensor / largest, rtol=0, atol=1e-4)


@needs_compiler
def test_nan_stays_visible(folder: Path) -> None:
    assert compiled.enable(folder) == ""
    x = channels_last(torch.randn(4, 8, 20)).clone(memory_format=torch.preserve_format)
    x[0, 0, 0] = torch.nan
    assert compiled.run(nn.Sequential(BatchNorm1d(8), nn.ReLU()), x).isnan().any()


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
    wrong = tmp_path / "wrong.cpp"
    source = kernels._SOURCE.read_text(encoding="utf-8")
    assert "y[i] = h < 0 ? 0.0f : h;" in source
    wrong.write_text(source.replace("y[i] = h < 0 ? 0.0f : h;", "y[i] = h;"), encoding="utf-8")
    monkeypatch.setattr(kernels, "_SOURCE", wrong)
    state = torch.get_rng_state()
    assert "other values than torch" in compiled.enable(folder)
    assert not compiled.enabled()
    assert torch.equal(torch.get_rng_state(), state), "trying them draws nothing from the run's generator"


@needs_compiler
def test_a_failing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "out of order" in compiled.enable(tmp_path / "cache")
