"""The compiled kernels compute what the layers compute, with the same random bits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tuner.models import compiled
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


def trace(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Output of one training step, and the gradients of weights and input and the statistics after it, in float64."""
    torch.manual_seed(7)
    x = channels_last(x).detach().requires_grad_()
    module.train().zero_grad()
    y = compiled.run(module, x) if isinstance(module, nn.Sequential) else module(x)
    (y.double() * torch.linspace(-1, 1, y.numel()).double().view(y.shape)).sum().backward()
    found = {name: p.grad for name, p in module.named_parameters()} | dict(module.named_buffers())
    return y.detach().double(), {
        name: t.detach().clone().double() for name, t in (found | {"x": x.grad}).items() if t is not None
    }


def assert_equal_to_float64(module: nn.Module, x: Tensor, folder: Path) -> None:
    """Compare the kernels in float32 with torch in float64, whose own rounding does not matter."""
    exact = type(module)(*module) if isinstance(module, nn.Sequential) else module
    state = {name: t.clone() for name, t in module.state_dict().items()}
    compiled.disable()
    y, expected = trace(exact.double(), x.double())
    module.float().load_state_dict(state)
    assert compiled.enable(folder) == ""
    out, found = trace(module, x)
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
@pytest.mark.parametrize("architecture", ["residualbind", "cnn_deep", "cnn_2", "deepdife"])
def test_networks(architecture: str, folder: Path) -> None:
    network = build_model({"architecture": architecture}, n_tasks=2, length=200, seed=0)
    twin = build_model({"architecture": architecture}, n_tasks=2, length=200, seed=0)
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (30, 200)), 4).transpose(1, 2).float()
    _, exact = trace(twin.double(), x.double())
    assert compiled.enable(folder) == ""
    _, found = trace(network, x)
    largest = max(g.abs().max().item() for g in exact.values())
    for name, tensor in exact.items():
        if name != "x":  # the input's own layout has no kernel
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
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert compiled.enable(folder) == ""
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(before) == 1


def test_without_a_compiler_python_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler" in compiled.enable(tmp_path / "cache")
    x = channels_last(torch.randn(4, 8, 20))
    assert not compiled.usable(x)
    assert compiled.run(nn.Sequential(BatchNorm1d(8), nn.ReLU()), x).shape == x.shape


@needs_compiler
def test_a_failing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "out of order" in compiled.enable(tmp_path / "cache")
