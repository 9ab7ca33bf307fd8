"""Which process is meant, and whether it still lives.

A process is known by its host, its id and its start: ids are reused. The host names the boot and the process
namespace too, so that a container never judges the process ids of another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import psutil


class Process(NamedTuple):
    """One process of one host.

    Attributes
    ----------
    host : str
        Host name, boot and process namespace.
    pid : int
        Process id in that namespace.
    start : float
        When it started: clock ticks since boot on Linux, which no set clock moves; else Unix seconds.
    """

    host: str
    pid: int
    start: float

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended: on another host nothing is known."""
        if self.host != host_name():
            return False
        start = start_of(self.pid)
        return start is None or abs(start - self.start) > 1.0


def this_process() -> Process:
    """The process that asks."""
    return Process(host_name(), os.getpid(), start_of(os.getpid()) or 0.0)


def host_name() -> str:
    """Name of this host, boot and process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"
    return f"{socket.gethostname()} {boot} {namespace}"


def start_of(pid: int) -> float | None:
    """Start of a living process; None if there is none, or only its exit status is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])  # proc(5): state, starttime
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def age_of(process: Process) -> float:
    """Seconds since a living process of this host started."""
    if Path("/proc/self/stat").exists():
        return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / os.sysconf("SC_CLK_TCK")
    return time.time() - process.start


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory: in this control group, else on this machine.

    Only differences mean something; 0 where the kernel does not count.
    """
    groups = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":  # version 2
                groups += [Path(f"/sys/fs/cgroup{path}/memory.events"), Path("/sys/fs/cgroup/memory.events")]
            elif "memory" in controllers.split(","):
                groups += [Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")]
                groups += [Path("/sys/fs/cgroup/memory/memory.oom_control")]
    for file in (*groups, Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            for line in file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0
