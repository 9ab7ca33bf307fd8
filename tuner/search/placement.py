"""Which worker runs on which device: GPUs are shared by as many workers as their memory takes.

A device name is resolved here, memory is measured by `Memory` (see `probe.Cuda`), and `allocate` alone decides.
CUDA_VISIBLE_DEVICES is respected because torch numbers only what it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch

from tuner.errors import DeviceError, reason_of
from tuner.models.training import resolve_device

GIB = 2**30


class Device(NamedTuple):
    """A device, and how much memory is free on it.

    Attributes
    ----------
    name : str
        As torch names it.
    free : int or None
        Bytes; None where memory sets no limit to be measured (CPU, MPS).
    """

    name: str
    free: int | None = None

    def room(self, need: int) -> int | None:
        """How many workers fit that need `need` bytes each; None for any number."""
        return None if self.free is None else max(0, self.free) // max(1, need)


class Memory(Protocol):
    """Measures the memory of CUDA devices."""

    def free(self, name: str) -> int:
        """Bytes that are free on a device."""
        ...

    def need(self, name: str) -> int:
        """Bytes that one worker takes on a device."""
        ...


class Placement(NamedTuple):
    """Where the workers run.

    Attributes
    ----------
    devices : list of str
        The device of each worker.
    need : int
        Bytes that one worker takes on a GPU; 0 without GPUs.
    free : mapping of str to int
        Bytes that were free on each GPU.
    notes : tuple of str
        What could not be measured, and what was assumed instead.
    """

    devices: list[str]
    need: int
    free: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Devices with their workers: ``cuda:0 (3), cuda:1 (2)``; the name alone if there is one."""
        counts = Counter(self.devices)
        return ", ".join(f"{name} ({n})" if len(counts) > 1 else name for name, n in counts.items())


def device_names(text: str) -> list[str]:
    """Resolve what --device says.

    Parameters
    ----------
    text : str
        ``auto`` (every CUDA device that torch sees, else the CPU), or names with commas between:
        ``cuda:0,cuda:1``, ``cpu``, ``mps``.

    Raises
    ------
    DeviceError
        A name that is no device here, or that is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == ["auto"]:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [f"cuda:{i}" for i in range(gpus)] or ["cpu"]
    if "auto" in parts:
        raise DeviceError(f"--device {text}: auto stands alone; name the devices, or write auto.")
    names = [str(resolve_device(part)) for part in parts]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DeviceError(f"--device {text}: {twice[0]} is named twice; --workers sets how many share a device.")
    return names


def allocate(devices: Sequence[Device], need: int, workers: int) -> list[str]:
    """Spread workers over devices: each to the device with the fewest, then to the one with most memory left.

    Parameters
    ----------
    devices : sequence of Device
        At least one; names differ.
    need : int
        Bytes that one worker takes where memory is limited.
    workers : int
        How many.

    Returns
    -------
    list of str
        The device of each worker.

    Raises
    ------
    DeviceError
        Memory does not take so many; with the numbers.
    """
    placed = dict.fromkeys((d.name for d in devices), 0)
    chosen: list[str] = []
    for _ in range(workers):
        open_ = [d for d in devices if (room := d.room(need)) is None or placed[d.name] < room]
        if not open_:
            raise DeviceError(_refusal(devices, need, workers, len(chosen)))
        best = min(open_, key=lambda d: (placed[d.name], placed[d.name] * need - (d.free or 0)))
        placed[best.name] += 1
        chosen.append(best.name)
    return chosen


def _refusal(devices: Sequence[Device], need: int, workers: int, fit: int) -> str:
    rooms = ", ".join(f"{d.name} has {gib(d.free or 0)} free (room for {d.room(need)})" for d in devices)
    remedy = f"Ask for --workers {fit}" if fit else "Narrow the search space, use --device cpu"
    return f"{workers} workers do not fit: one training needs {gib(need)}; {rooms}. {remedy}, or free memory."


def place(names: Sequence[str], workers: int | None, *, cores: int, trials: int, memory: Memory) -> Placement:
    """Measure the devices and place the workers.

    Parameters
    ----------
    names : sequence of str
        From `device_names`.
    workers : int or None
        How many; None for as many as the devices and `cores` take, and not more than there are trials.
    cores : int
        CPU cores of this machine; every worker keeps one busy, on a GPU too.
    trials : int
        Slots of the study.
    memory : Memory
        Asked about CUDA devices only.

    Raises
    ------
    DeviceError
        More workers than memory takes.
    """
    free = {name: memory.free(name) for name in names if name.startswith("cuda")}
    need, notes = 0, tuple[str, ...]()
    if free:
        largest = max(free, key=lambda name: free[name])
        try:
            need = memory.need(largest)
        except Exception as e:  # whatever it is: it is only how many workers share a device
            workers = workers or max(1, min(len(names), cores, trials))
            notes = (f"the memory of one training could not be measured ({reason_of(e)}): {workers} workers",)
    devices = [Device(name, free.get(name)) for name in names]
    if workers is None:
        # One on an Apple GPU, whose memory is the machine's.
        rooms = [cores if d.name == "cpu" else 1 if d.free is None else d.room(need) or 0 for d in devices]
        workers = max(1, min(sum(rooms), cores, trials))
    return Placement(allocate(devices, need, workers), need, free, notes)


def gib(n: int) -> str:
    """Bytes as text: ``3.2 GiB``."""
    return f"{n / GIB:.1f} GiB"
