"""Assigning workers to devices: a GPU is shared by as many workers as fit into its memory.

Device names are resolved here, memory is measured by `Memory` (see `gpu_memory.Cuda`), and `allocate` alone decides.
CUDA_VISIBLE_DEVICES is respected because torch numbers only the devices that it names.
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
        Free memory in bytes; None if it is not measured (CPU, MPS).
    """

    name: str
    free: int | None = None

    def room(self, need: int) -> int | None:
        """How many workers fit if each needs `need` bytes; None for any number."""
        return None if self.free is None else max(0, self.free) // max(1, need)


class Memory(Protocol):
    """Measures the memory of CUDA devices."""

    def free(self, name: str) -> int:
        """Free memory of a device in bytes."""
        ...

    def need(self, name: str) -> int:
        """Memory in bytes that one worker needs on a device."""
        ...


class Placement(NamedTuple):
    """Where the workers run.

    Attributes
    ----------
    devices : list of str
        The device of each worker.
    need : int
        Memory in bytes that one worker needs on a GPU; 0 without GPUs.
    free : mapping of str to int
        Free memory of each GPU in bytes.
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
    """Resolve the value of --device.

    Parameters
    ----------
    text : str
        ``auto`` (every CUDA device that torch sees, else the CPU), or names separated by commas:
        ``cuda:0,cuda:1``, ``cpu``, ``mps``.

    Raises
    ------
    DeviceError
        A name that is not a device of this machine, or that is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == ["auto"]:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [f"cuda:{i}" for i in range(gpus)] or ["cpu"]
    if "auto" in parts:
        raise DeviceError(f"--device {text}: auto must stand alone; name the devices, or write auto.")
    names = [str(resolve_device(part)) for part in parts]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DeviceError(f"--device {text}: {twice[0]} is named twice; --workers sets how many share a device.")
    return names


def allocate(devices: Sequence[Device], need: int, workers: int) -> list[str]:
    """Distribute workers: each goes to the device with the fewest workers and, among those, the most free memory.

    Parameters
    ----------
    devices : sequence of Device
        At least one, with distinct names.
    need : int
        Memory in bytes that one worker needs where memory is limited.
    workers : int
        Number of workers.

    Returns
    -------
    list of str
        The device of each worker.

    Raises
    ------
    DeviceError
        They do not fit into the memory; the message has the numbers.
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
        Number of workers; None for as many as devices and `cores` allow, but not more than there are trials.
    cores : int
        CPU cores of this machine; every worker keeps one busy, even on a GPU.
    trials : int
        Number of slots of the study.
    memory : Memory
        Used for CUDA devices only.

    Raises
    ------
    DeviceError
        The workers do not fit into the memory.
    """
    free = {name: memory.free(name) for name in names if name.startswith("cuda")}
    need, notes = 0, tuple[str, ...]()
    if free:
        largest = max(free, key=lambda name: free[name])
        try:
            need = memory.need(largest)
        except Exception as e:  # of any kind: only the number of workers that share a device depends on it
            workers = workers or max(1, min(len(names), cores, trials))
            notes = (f"the memory of one training could not be measured ({reason_of(e)}): {workers} workers",)
    devices = [Device(name, free.get(name)) for name in names]
    if workers is None:
        # One worker on an Apple GPU, which uses the machine's memory.
        rooms = [cores if d.name == "cpu" else 1 if d.free is None else d.room(need) or 0 for d in devices]
        workers = max(1, min(sum(rooms), cores, trials))
    return Placement(allocate(devices, need, workers), need, free, notes)


def gib(n: int) -> str:
    """Bytes as text: ``3.2 GiB``."""
    return f"{n / GIB:.1f} GiB"
