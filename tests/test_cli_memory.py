"""Memory that runs out: of a trial it is PRUNED and infeasible, of a command one line and exit 1."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import write_study

from tuner.errors import DataError, ModelError, is_out_of_memory
from tuner.search.artifacts import Artifacts
from tuner.search.bench import load_bench
from tuner.search.job import Outcome
from tuner.search.results import TrialState, stage_trials
from tuner.search.space import read_space
from tuner.search.stages import Search
from tuner.search.storage import open_storage
from tuner.search.study import make_plan
from tuner.search.study_file import read_study
from tuner.search.worker import Stopper, Worker

HUGE = 2**52  # more than any machine gives


ASKS: dict[str, Callable[[], object]] = {
    "torch": lambda: torch.empty(HUGE // 8),
    "numpy": lambda: np.empty(HUGE, dtype=np.uint8),
    "python": lambda: bytearray(HUGE),
}


@pytest.mark.parametrize("who", ASKS)
def test_whoever_gets_no_memory_is_known_by_what_is_raised(who: str) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        ASKS[who]()
    assert is_out_of_memory(raised.value)
    wrapped = ModelError("the network cannot be built")
    wrapped.__cause__ = raised.value
    assert is_out_of_memory(wrapped), "whatever it was wrapped in"


def test_other_errors_are_no_want_of_memory() -> None:
    for error in (
        ValueError("shapes do not fit"), DataError("a column called 'out of memory' is missing"),
        RuntimeError("could not create a primitive descriptor for a convolution"), OSError(errno.ENOSPC, "disk full"),
    ):  # fmt: skip
        assert not is_out_of_memory(error)
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "fork"))


@dataclass(frozen=True)
class Greedy(Search):
    """A search whose trials ask torch for more memory than there is."""

    def execute(
        self, bench: object, trial: object, point: Mapping[str, object], checkpoint: Path, on_epoch: object
    ) -> Outcome:
        torch.empty(HUGE // 8)
        raise AssertionError("there was so much memory")


def test_a_trial_without_memory_on_the_cpu_is_pruned_as_infeasible(tmp_path: Path) -> None:
    path = write_study(tmp_path, n=40)
    plan = make_plan(
        read_study(path), read_space(tmp_path / "search_spaces" / "tiny_space.toml"), folder=tmp_path, trials=2
    )
    bench = load_bench(plan, data_dir=None, cache=Path.home() / ".cache" / "tuner")
    storage = open_storage(tmp_path / "tuner.db")
    search = Greedy(plan, bench.identity)
    search.prepare(storage)
    worker = Worker(bench, storage, Artifacts(tmp_path / "artifacts"), tmp_path / "c", Stopper(), name="worker-0")
    assert worker.work([search])
    trials = stage_trials(storage, "tiny")
    assert [t.state for t in trials] == [TrialState.PRUNED] * 2
    for trial in trials:
        assert trial.user_attrs["reason"].startswith("out of memory on cpu: ")
        assert "can't allocate memory" in trial.user_attrs["reason"]
        assert trial.system_attrs["constraints:memory"] == 1.0
        assert len(storage.attempts(trial._trial_id)) == 1, "it is not tried again"
    storage.close()


@pytest.mark.skipif(sys.platform != "linux", reason="linux: the limit of the address space")
def test_a_command_without_memory_ends_with_one_line_and_1(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tuner.db").touch()
    limit = 60 * 2**20
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", "status"], cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert [line.startswith("error: out of memory") for line in lines] == [True]
