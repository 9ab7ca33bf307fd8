"""Memory that runs out: of a trial it is PRUNED and infeasible, of a command one line and exit 1."""

from __future__ import annotations

import errno
import os
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

from tuner.errors import DataError, ModelError, is_out_of_memory, root_of
from tuner.results.leaderboard import TrialState, stage_trials
from tuner.search.loaded import load_bench
from tuner.search.stages import Search
from tuner.search.trial import Outcome
from tuner.search.worker import Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan
from tuner.study.space import read_space

pytestmark = pytest.mark.slow

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


def test_a_library_that_does_not_say_why_it_could_not_be_loaded_is_known_by_what_it_met() -> None:
    """As llvmlite does: an OSError of many words, raised while the loader's is handled."""
    for why, memory in (("failed to map segment from shared object", True), ("no such file", False)):
        error = OSError("Could not find/load shared object file 'libllvmlite.so'")
        error.__context__ = OSError(f"libllvmlite.so: {why}")
        assert is_out_of_memory(error) == memory
        assert root_of(error) is error.__context__
    other = DataError("something else went wrong on the way out")
    other.__context__ = MemoryError()
    assert not is_out_of_memory(other)


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


NEEDS = """
import resource, sys
from tuner.cli import app, best, progress, run, table, worker
from tuner.report import dashboard
from tuner.results import findings, verdict
from tuner.search import loaded, stages, supervisor, trial
from tuner.search.worker import Worker
import scipy.linalg, scipy.special
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmPeak")))
"""


LOADS = """
import resource, sys, numpy
from tuner.errors import is_out_of_memory
from tuner.limits import load_blas
size = 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]) * 2**20,) * 2)
try:
    load_blas()
except OSError as error:
    print(is_out_of_memory(error))
print("scipy.linalg.cython_blas" in sys.modules)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="linux: the limit of the address space")
@pytest.mark.parametrize(("room", "said"), [(70, ["True", "False"]), (400, ["True"])])
def test_openblas_without_room_for_its_buffer_is_out_of_memory_and_no_endless_wait(room: int, said: list[str]) -> None:
    words = [sys.executable, "-c", LOADS, str(room)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == said


@pytest.mark.skipif(sys.platform != "linux", reason="linux: the limit of the address space")
def test_a_run_whose_trainings_get_no_memory_fails_with_the_reason(tmp_path: Path) -> None:
    path = write_study(tmp_path, n=1500)
    space = tmp_path / "search_spaces" / "tiny_space.toml"
    # One map of the first layer: 2,000 sequences x 4,096 filters x 70 positions x 4 bytes = 2.3 GB.
    text = space.read_text().split("[[warm_starts]]")[0]
    space.write_text(text.replace("fixed = 8", "fixed = 4096").replace("fixed = 50", "fixed = 2000"))
    path.write_text(path.read_text().replace("candidates = 2", "candidates = 0").replace("trials = 6", "trials = 2"))
    environment = {**os.environ, "TUNER_COMPILED": "0", "TUNER_CACHE_DIR": str(tmp_path / "cache")}
    words = [sys.executable, "-c", NEEDS]
    needed = int(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout) * 1024
    limit = needed + 900 * 2**20  # the programs and their threads have room, one such map has not
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", "run", "--study", str(path), "--workers", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert last.startswith("error: tiny: none of 2 trials completed (2 pruned): 2 x out of memory on cpu: "), last
    assert "can't allocate memory" in last
    assert "Traceback" not in done.stderr
    assert "next:" not in done.stderr
    storage = open_storage(tmp_path / "runs" / "tuner.db")
    assert [t.state for t in stage_trials(storage, "tiny")] == [TrialState.PRUNED] * 2
    storage.close()
