"""Compiled kernels on the command line: chosen by TUNER_COMPILED, recorded with each trial, used again by `rerun`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from command_line import Terminal, write_tiny_study

from tuner.cli import context
from tuner.models import compiled, recording
from tuner.models.kernels import find_compiler

pytestmark = pytest.mark.slow

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

RUN = ("run", "--study", "./tiny.toml", "--workers", "1", "--trials", "1", "--no-confirm")


@pytest.fixture
def terminal(terminal: Terminal) -> Iterator[Terminal]:
    study = write_tiny_study(terminal.folder)
    text = study.read_text(encoding="utf-8").replace("[training]\n", '[training]\nprecision = "float32"\n')
    study.write_text(text, encoding="utf-8")
    threads = torch.get_num_threads()
    yield terminal
    torch.set_num_threads(threads)
    compiled.disable()


def kernels(terminal: Terminal) -> object:
    """What trial 0 was trained through."""
    attributes = terminal("show", "--trial", "0", "--json").json["attributes"]
    assert attributes["precision"] == "float32"  # as the study says
    return attributes["kernels"]


@needs_compiler
def test_they_are_used_where_they_can_be_built_and_a_rerun_uses_them_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNER_COMPILED")
    answer = terminal(*RUN)
    assert answer.code == 0, answer.err
    assert "kernels" not in answer.err
    assert kernels(terminal) == "compiled"
    compiled.disable()
    monkeypatch.setenv("TUNER_COMPILED", "0")  # of new trainings only
    rerun = terminal("rerun", "--trial", "0", "--json")
    assert rerun.json["equal"], rerun.err
    compiled.disable()
    monkeypatch.setenv("PATH", str(terminal.folder))
    code, why = terminal.refuses("rerun", "--trial", "0")
    assert code == 2
    assert "trial 0 was trained with compiled kernels" in why
    assert "no C++ compiler" in why


@pytest.mark.parametrize("wanted", ["auto", "1"])
def test_without_a_compiler_training_goes_on_in_python(
    wanted: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_COMPILED", wanted)
    monkeypatch.setenv("PATH", str(terminal.folder))
    answer = terminal(*RUN)
    assert answer.code == 0, answer.err
    assert ("no C++ compiler" in answer.err) == (wanted == "1")
    assert kernels(terminal) == "torch"
    assert terminal("rerun", "--trial", "0", "--json").json["equal"]


@needs_compiler
def test_a_rerun_in_python_is_not_disturbed_by_kernels_that_are_loaded(terminal: Terminal) -> None:
    assert terminal(*RUN).code == 0
    assert kernels(terminal) == "torch"
    assert compiled.enable(context.code_dir() / "kernels") == ""
    rerun = terminal("rerun", "--trial", "0", "--json")
    assert rerun.json["equal"], rerun.err
    assert not compiled.enabled()


def test_a_setting_that_means_nothing_is_refused_before_anything_is_trained(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_COMPILED", "yes")
    code, why = terminal.refuses(*RUN)
    assert code == 2
    assert "TUNER_COMPILED" in why
    assert "auto" in why


def test_steps_on_a_gpu_are_recorded_unless_it_is_switched_off(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = torch.device("cuda:0")
    monkeypatch.setenv("TUNER_CUDA_GRAPHS", "0")
    try:
        assert terminal(*RUN).code == 0
        assert recording.recorder_for(gpu) is None
        monkeypatch.setenv("TUNER_CUDA_GRAPHS", "auto")
        assert terminal(*RUN).code == 0
        assert recording.recorder_for(gpu) is not None
        monkeypatch.setenv("TUNER_CUDA_GRAPHS", "1")
        code, why = terminal.refuses(*RUN)
    finally:
        recording.allow(True)
    assert code == 2
    assert "unknown value of TUNER_CUDA_GRAPHS '1'" in why
