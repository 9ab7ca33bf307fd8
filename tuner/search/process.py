"""Which process is meant, and whether it still lives.

A process is known by its host, its id and its start: ids are reused. The host names the boot and the process
namespace too, so that a container never judges the process ids of another.
"""

from __future__ import annotations

import os
import socket
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
