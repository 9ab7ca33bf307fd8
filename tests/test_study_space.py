"""Search-space files: what they accept, how they draw, how they word what is wrong."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from tuner.errors import SearchSpaceError
from tuner.resources import list_resources
from tuner.study.parameters import check_names
from tuner.study.space import SearchSpace, read_space

GOOD = """
title = "a space"
[architecture]
choices = ["cnn", "residualbind"]
[kernel_size]
low = 7
high = 19
step = 2
[learning_rate]
low = 1e-4
high = 1e-2
log = true
[n_blocks]
low = 1
high = 4
when = { architecture = ["cnn"] }
[kernel_size_deep]
choices = [3, 7]
when = { n_blocks = [2, 3, 4] }
[filters]
fixed = 32
[[warm_starts]]
source = "somebody 2021"
parameters = { architecture = "residualbind", kernel_size = 19, learning_rate = 1e-3 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def drawn(space: SearchSpace, n: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [dict(space.suggest(study.ask())) for _ in range(n)]


def test_draws_stay_inside_and_conditions_hold(tmp_path: Path) -> None:
    space = read_space(write(tmp_path, GOOD))
    points = drawn(space, 60)
    for point in points:
        assert point["kernel_size"] in range(7, 20, 2)
        assert 1e-4 <= float(str(point["learning_rate"])) <= 1e-2
        assert point["filters"] == 32
        assert ("n_blocks" in point) == (point["architecture"] == "cnn")
        assert ("kernel_size_deep" in point) == (point.get("n_blocks", 1) in (2, 3, 4))
        assert space.complete({k: v for k, v in point.items()}, "here") == point  # type: ignore[misc]
    assert {p["architecture"] for p in points} == {"cnn", "residualbind"}
    assert len({p["learning_rate"] for p in points}) == 60


def test_a_condition_may_stand_before_its_parameter(tmp_path: Path) -> None:
    text = (
        '[n_blocks]\nlow = 1\nhigh = 2\nwhen = { architecture = ["cnn"] }\n[architecture]\nchoices = ["cnn", "hw4"]\n'
    )
    assert list(read_space(write(tmp_path, text)).parameters) == ["architecture", "n_blocks"]


def test_a_warm_start_is_completed_with_fixed_values(tmp_path: Path) -> None:
    start = read_space(write(tmp_path, GOOD)).warm_starts[0]
    assert start.parameters == {
        "architecture": "residualbind", "kernel_size": 19, "learning_rate": 1e-3, "filters": 32,
    }  # fmt: skip


def test_the_digest_ignores_comments_and_key_order_but_not_values(tmp_path: Path) -> None:
    a = read_space(write(tmp_path, "[architecture]\nchoices = ['cnn']\n[kernel_size]\nlow = 7\nhigh = 9\n"))
    b = read_space(write(tmp_path, "# hello\n[kernel_size]\nhigh = 9\nlow = 7\n[architecture]\nchoices = ['cnn']\n"))
    c = read_space(write(tmp_path, "[architecture]\nchoices = ['cnn']\n[kernel_size]\nlow = 7\nhigh = 11\n"))
    assert a.digest == b.digest
    assert a.digest != c.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kernel_size]\nlow = 19\nhigh = 7", r"mine.toml \[kernel_size\].*low 19 must be below high 7"),
        ('[learning_rate]\nlow = "1e-4"\nhigh = 1e-2', r"\[learning_rate\].*low.*'1e-4'"),
        ("[kernel_size]\nlow = 7\nhigh = 19.0", "must both be integers or both be floats"),
        ("[kernel_size]\nlow = 7\nhigh = 19\nstep = 0.5", "integer parameter needs an integer step"),
        ("[kernel_size]\nlow = 0\nhigh = 19\nlog = true", "log = true needs low above 0"),
        ("[kernel_size]\nlow = 7", "one is missing"),
        ("[kernel_size]\nlow = 7\nhigh = 9\nfixed = 8", "exactly one of choices"),
        ("[kernel_size]\nlow = 7\nhihg = 9", r"\[kernel_size\].*unknown key 'hihg'; did you mean 'high'"),
        ("[activation]\nchoices = ['relu', 'relu']", "listed twice"),
        ("[activation]\nchoices = []", "at least 1 item"),
        ("kernel_size = 19", r"must be a table: write \[kernel_size\] and fixed = 19"),
        ("", "no parameter"),
        ("[a]\nlow = 1\nhigh = 2\n[a]\nlow = 1", "TOML syntax error.*line 4"),
        (
            "[architecture]\nchoices = ['cnn_local']\n[pool_size]\nfixed = 4\nwhen = { architecture = ['cnn_locl'] }",
            r"\[pool_size\].when: architecture never takes 'cnn_locl'; did you mean 'cnn_local'",
        ),
        ("[filters]\nfixed = 4\nwhen = { activatoin = ['relu'] }\n[activation]\nchoices = ['relu']",
         r"\[filters\].when: unknown parameter 'activatoin'; did you mean 'activation'"),
        (GOOD.replace("kernel_size = 19", "kernel_size = 20"), r"\[\[warm_starts\]\] 1: kernel_size = 20 is outside"),
        (GOOD.replace("learning_rate = 1e-3 }", "n_blocks = 2 }"), "n_blocks does not exist here|no value for"),
        (GOOD.replace(", learning_rate = 1e-3", ""), "no value for learning_rate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message) as caught:
        read_space(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_conditions_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = "[a]\nchoices = [1]\nwhen = { b = [1] }\n[b]\nchoices = [1]\nwhen = { a = [1] }\n"
    with pytest.raises(SearchSpaceError, match="circle"):
        read_space(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[architecture]\nchoices = ['cnn_dep']", "unknown architecture 'cnn_dep'; did you mean 'cnn_deep'"),
        (
            "[architecture]\nchoices = ['cnn']\n[activation]\nchoices = ['exponentail']",
            "did you mean 'exponential'",
        ),
        ("[architecture]\nchoices = ['cnn']\n[kernel_sise]\nfixed = 3", "did you mean 'kernel_size'"),
        (
            "[architecture]\nchoices = ['cnn']\n[filters]\nlow = 0\nhigh = 8",
            "filters.*0.*must be an integer from 1",
        ),
        ("[architecture]\nchoices = ['cnn']\n[kernel_size]\nlow = 3.0\nhigh = 8.0", "must be an integer"),
        ("[architecture]\nchoices = ['cnn']\n[batch_size]\nlow = 1\nhigh = 8", "batch_size = 1"),
        ("[kernel_size]\nlow = 3\nhigh = 8", r"\[architecture\] is missing"),
    ],
)
def test_names_and_values_are_checked_against_the_tables(tmp_path: Path, text: str, message: str) -> None:
    space = read_space(write(tmp_path, text))
    with pytest.raises(SearchSpaceError, match=message):
        check_names(space, {}, "mine.toml")


def test_every_shipped_space_is_good() -> None:
    found = list_resources("search_spaces", Path("/nonexistent"))
    assert found
    for path in found.values():
        check_names(read_space(path), {}, path.name)
