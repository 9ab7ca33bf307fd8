"""Workers on devices: spread evenly, within memory, and refused with the numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import load_tiny

from tuner.errors import DeviceError
from tuner.search.gpu_memory import Cuda, footprint, in_child, largest_load, largest_point, train_steps
from tuner.search.loaded import Bench
from tuner.search.placement import GIB, Device, allocate, device_names, place
from tuner.search.supervisor import DEVICE, INDEX, Supervisor
from tuner.study.space import Parameter, SearchSpace, read_space

CACHE = Path.home() / ".cache" / "tuner"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return load_tiny(tmp_path_factory.mktemp("tiny"))


class Gpus:
    """GPUs with given free memory, and what one training needs."""

    def __init__(self, free: list[int], need: int) -> None:
        self.by_name, self.needed, self.asked = {f"cuda:{i}": n for i, n in enumerate(free)}, need, ""

    def free(self, name: str) -> int:
        return self.by_name[name]

    def need(self, name: str) -> int:
        self.asked = name
        return self.needed


# Allocation


def test_workers_are_spread_evenly_and_the_larger_device_comes_first() -> None:
    devices = [Device("cuda:0", 10 * GIB), Device("cuda:1", 40 * GIB), Device("cuda:2", 10 * GIB)]
    assert allocate(devices, 3 * GIB, 4) == ["cuda:1", "cuda:0", "cuda:2", "cuda:1"]


def test_a_full_device_takes_no_more() -> None:
    devices = [Device("cuda:0", 4 * GIB), Device("cuda:1", 10 * GIB)]  # room for 1 and 3
    assert sorted(allocate(devices, 3 * GIB, 4)) == ["cuda:0", "cuda:1", "cuda:1", "cuda:1"]


def test_a_device_without_a_limit_takes_any_number() -> None:
    assert allocate([Device("cpu")], 0, 5) == ["cpu"] * 5


def test_more_workers_than_memory_takes_are_refused_with_the_numbers() -> None:
    devices = [Device("cuda:0", 10 * GIB), Device("cuda:1", 2 * GIB)]
    message = (
        r"9 workers do not fit: one training needs 3\.0 GiB; cuda:0 has 10\.0 GiB free \(room for 3\), "
        r"cuda:1 has 2\.0 GiB free \(room for 0\)\. Ask for --workers 3, or free memory\."
    )
    with pytest.raises(DeviceError, match=message):
        allocate(devices, 3 * GIB, 9)
    with pytest.raises(DeviceError, match=r"1 workers do not fit.*Narrow the search space, use --device cpu"):
        allocate(devices[1:], 3 * GIB, 1)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 40)), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_every_allocation_is_complete_within_memory_and_even(free: list[int | None], need: int, workers: int) -> None:
    devices = [Device(f"d{i}", n) for i, n in enumerate(free)]
    total = sum(workers if n is None else n // need for n in free)
    if total < workers:
        with pytest.raises(DeviceError, match=f"{workers} workers do not fit"):
            allocate(devices, need, workers)
        return
    chosen = allocate(devices, need, workers)
    assert len(chosen) == workers
    counts = {d.name: chosen.count(d.name) for d in devices}
    for d in devices:
        full = d.free is not None and (counts[d.name] + 1) * need > d.free
        assert d.free is None or counts[d.name] * need <= d.free
        assert full or counts[d.name] >= max(counts.values()) - 1
    assert allocate(devices, need, workers) == chosen


# Placement


def test_by_default_there_are_as_many_workers_as_memory_cores_and_trials_allow() -> None:
    for free, cores, trials, expected in (
        ([10, 7], 16, 30, 5),  # 3 + 2 fit
        ([10, 7], 4, 30, 4),
        ([10, 7], 16, 2, 2),
    ):
        gpus = Gpus([n * GIB for n in free], 3 * GIB)
        placement = place(list(gpus.by_name), None, cores=cores, trials=trials, memory=gpus)
        assert len(placement.devices) == expected
        assert gpus.asked == "cuda:0"  # measured where most is free
        assert placement.need == 3 * GIB
    assert str(placement) == "cuda:0 (1), cuda:1 (1)"


def test_a_gpu_that_takes_no_training_is_refused_rather_than_left_idle() -> None:
    with pytest.raises(DeviceError, match=r"needs 3\.0 GiB; cuda:0 has 1\.0 GiB free"):
        place(["cuda:0"], None, cores=8, trials=9, memory=Gpus([GIB], 3 * GIB))


def test_a_cpu_takes_one_worker_a_core_or_as_many_as_are_asked_for_and_nothing_is_measured() -> None:
    gpus = Gpus([], 0)
    assert place(["cpu"], None, cores=3, trials=9, memory=gpus).devices == ["cpu"] * 3
    assert place(["cpu"], 5, cores=3, trials=9, memory=gpus).devices == ["cpu"] * 5
    assert place(["mps"], None, cores=3, trials=9, memory=gpus).devices == ["mps"]
    assert gpus.asked == ""
    assert str(place(["cpu"], 5, cores=3, trials=9, memory=gpus)) == "cpu"


class Unmeasurable(Gpus):
    """GPUs on which the probe fails, as where its process was killed."""

    def need(self, name: str) -> int:
        return int(in_child(os.abort))


def test_a_memory_probe_that_fails_is_noted_and_each_gpu_takes_one_worker() -> None:
    gpus = Unmeasurable([40 * GIB, 40 * GIB], 0)
    placement = place(list(gpus.by_name), None, cores=8, trials=9, memory=gpus)
    assert placement.devices == ["cuda:0", "cuda:1"]
    assert "could not be measured (BrokenProcessPool" in placement.notes[0]
    assert place(["cuda:0"], 3, cores=8, trials=9, memory=gpus).devices == ["cuda:0"] * 3  # as the person asked


def test_device_names_that_cannot_be_are_refused_in_one_line() -> None:
    assert device_names("cpu") == ["cpu"]
    for text, message in (
        ("cuda:99", "no device 'cuda:99' here; there is: auto, cpu"),
        ("cpu,tpu", "no device 'tpu' here"),
        ("cpu,", "no device '' here"),
        ("cpu, cpu", "--device cpu, cpu: cpu is named twice; --workers sets how many share"),
        ("auto,cpu", "auto must stand alone"),
    ):
        with pytest.raises(DeviceError, match=message) as error:
            device_names(text)
        assert "\n" not in str(error.value)


def test_each_worker_is_started_with_its_own_device(tmp_path: Path) -> None:
    command = ["sh", "-c", 'echo "$1 on $2"', "sh", INDEX, DEVICE]
    supervisor = Supervisor(command, 2, os.environ, tmp_path, devices=["cuda:1", "cpu"])
    supervisor.run(lambda: None, interval=0.05)
    logs = sorted(tmp_path.glob("worker-*.log"))
    assert [log.read_text() for log in logs] == ["0 on cuda:1\n", "1 on cpu\n"]


# The training that needs most memory


SPACE = """
[architecture]
choices = ["cnn", "residualbind"]
[filters]
choices = [48, 16, 32]
[pool_first]
low = 2
high = 8
step = 3
[batch_size]
choices = [32, 100, 64]
[n_blocks]
low = 1
high = 4
when = { architecture = ["cnn"] }
"""


def test_the_largest_point_of_a_space_is_found(tmp_path: Path) -> None:
    """Against all points: a size that falls with one parameter and has a maximum inside the choices of another."""
    (tmp_path / "space.toml").write_text(SPACE)
    space = read_space(tmp_path / "space.toml")

    def size(point: object) -> int:
        assert isinstance(point, dict)
        return int(point["filters"] * point["batch_size"] * (1 + point.get("n_blocks", 0)) // point["pool_first"])

    every = [
        {"architecture": a, "filters": f, "pool_first": p, "batch_size": b, **({"n_blocks": n} if a == "cnn" else {})}
        for a, f, p, b, n in product(["cnn", "residualbind"], [48, 16, 32], [2, 5, 8], [32, 100, 64], [1, 2, 3, 4])
    ]
    assert largest_point(space, size) == max(every, key=size)
    assert largest_point(space, lambda point: -size(point))["architecture"] == "residualbind"


def test_a_warm_start_may_be_the_largest_point(bench: Bench) -> None:
    start = bench.plan.space.warm_starts[0].parameters
    assert largest_point(bench.plan.space, lambda point: int(point == start)) == start


def test_a_step_of_twice_the_batch_or_a_wider_network_keeps_more(bench: Bench) -> None:
    def kept(**changed: int) -> int:
        point = {**largest_load(bench).hyperparameters, "batch_size": 50, **changed}
        return footprint(point, bench.plan.recipe, 1, 80)

    small, double, triple = kept(), kept(batch_size=100), kept(batch_size=150)
    assert triple - double == double - small > 0  # outputs grow with the batch, weights do not
    assert kept(filters=64) > kept(filters=32) > small


def test_the_largest_training_of_a_study_runs_as_a_trial_does(bench: Bench) -> None:
    load = largest_load(bench)
    assert (load.recipe.batch_size, load.n_tasks, load.length) == (50, 1, 80)
    assert load.resident == 2 * len(bench.dataset.train) * 80 + 4 * len(bench.dataset.train)
    state = torch.get_rng_state()
    train_steps(load, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_what_a_child_process_raises_is_raised_here(bench: Bench) -> None:
    load = largest_load(bench)
    with pytest.raises(DeviceError, match="no device 'cuda:99' here"):
        in_child(train_steps, load, "cuda:99")


# On a real GPU


@pytest.mark.gpu
def test_measured_need_is_that_of_a_real_worker_and_grows_with_the_batch(bench: Bench) -> None:
    cuda = Cuda(bench)
    free, need = cuda.free("cuda:0"), cuda.need("cuda:0")
    assert 50 * 2**20 < need < free  # a context alone takes that much
    changed = {name: Parameter(fixed=value) for name, value in (("filters", 256), ("batch_size", 2048))}
    plan = bench.plan
    wide = SearchSpace("wide", {**plan.space.parameters, **changed}, ())
    more = Cuda(bench._replace(plan=replace(plan, space=wide))).need("cuda:0")
    assert more > need
    workers = min(2, free // need)
    assert place(["cuda:0"], workers, cores=4, trials=9, memory=cuda).devices == ["cuda:0"] * workers
    with pytest.raises(DeviceError, match="workers do not fit: one training needs"):
        place(["cuda:0"], free // need + 10, cores=4, trials=9, memory=cuda)


@pytest.mark.gpu
def test_auto_sees_what_the_environment_shows() -> None:
    script = "from tuner.search.placement import device_names; print(*device_names('auto'))"
    for visible, expected in (("", "cpu"), ("0", "cuda:0")):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == expected
