"""Identifying processes, and finding out whether one is still alive.

A process is identified by its host, its id and its start, because ids are reused. The host includes the boot and the
namespaces of process ids and clocks, so that a container never judges the processes of another one.

A process counts as dead only if that is certain: the kernel says that the id is free, or the process that has the id
now started at another time or is a zombie. A process that cannot be seen (``hidepid``, another user, no /proc) does
not count as dead; only its heartbeat tells more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import psutil

from tuner.limits import memory_here

UNKNOWN = "?"  # a boot or namespace that cannot be read
HIGHEST_OOM_SCORE = 1000  # proc(5)
WORKER_OOM_SCORE = 300  # at least: as if a worker used 30 % more of the memory than it does
OOM_MARGIN = 100  # above the share of the memory that its run uses, which still grows, in thousandths
LARGEST_PID = 2**31  # limit of the kernel's type; a larger number is not a process id


class Process(NamedTuple):
    """A process on a host.

    Attributes
    ----------
    host : str
        Host name, boot and namespaces.
    pid : int
        Process id in that namespace.
    start : float
        When it started: on Linux in clock ticks since boot, which do not change when the clock is set; otherwise in
        Unix seconds. 0 if that could not be read.
    """

    host: str
    pid: int
    start: float

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; False for a process on another host or one that cannot be seen."""
        if self.host != host_name() or UNKNOWN in self.host or not 0 < self.pid < LARGEST_PID:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # a process has this id; only its start tells whether it is this one
        try:
            start = start_of(self.pid)
        except PermissionError:
            return False
        return start is None or (self.start != 0.0 and abs(start - self.start) > 1.0)

    @property
    def shares_clock(self) -> bool:
        """Whether it has the same clock as this process: the same machine since the same boot."""
        return _boot(self.host) is not None and _boot(self.host) == _boot(host_name())


def this_process() -> Process:
    """The calling process."""
    return process_of(os.getpid())


def process_of(pid: int) -> Process:
    """A process of this host that is known to be alive, such as a child."""
    try:
        start = start_of(pid)
    except PermissionError:
        start = None
    return Process(host_name(), pid, start or 0.0)


def host_name() -> str:
    """Name of this host, boot and namespaces; if a namespace cannot be read, no process is judged by its id."""
    if sys.platform != "linux":
        return f"{socket.gethostname()} {uuid.getnode():x}"
    boot, *namespaces = (_read_word(word) for word in ("boot", "pid", "time"))
    if not _proc_is_ours():
        namespaces = [UNKNOWN]
    return " ".join((socket.gethostname(), boot, *filter(None, namespaces)))


def _read_word(word: str) -> str:
    try:
        if word == "boot":
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return os.readlink(f"/proc/self/ns/{word}")
    except FileNotFoundError:
        return "" if word == "time" else UNKNOWN  # older kernels have no time namespaces
    except OSError:
        return UNKNOWN


def _proc_is_ours() -> bool:
    """Whether /proc shows the namespace of this process; after `unshare --pid` alone it shows the outer one."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _boot(host: str) -> str | None:
    words = host.split(" ")
    return words[1] if len(words) > 1 and words[1] != UNKNOWN else None


def start_of(pid: int) -> float | None:
    """Start of a live process; None if there is none, or if it is a zombie.

    Raises
    ------
    PermissionError
        There is one, or was a moment ago, but it cannot be seen.
    """
    if sys.platform == "linux":
        if not _proc_is_ours():
            raise PermissionError(f"/proc does not show the processes of this namespace, so {pid} cannot be seen")
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            _check_gone(pid)
            return None
        except ProcessLookupError:
            return None
        return None if fields[0] in "ZX" else float(fields[19])  # proc(5): state, starttime
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied as e:
        raise PermissionError(str(e)) from e


def _check_gone(pid: int) -> None:
    """Raise PermissionError if the process exists and /proc merely does not show it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass
    raise PermissionError(f"process {pid} exists, but /proc hides it")


def age_of(process: Process) -> float:
    """Seconds since a live process of this host started."""
    if process.start == 0.0:
        return 0.0
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / os.sysconf("SC_CLK_TCK")
    return time.time() - process.start


def memory_kills() -> int:
    """Number of processes that the kernel's OOM killer has ended, in this control group or else on this machine.

    Only differences are meaningful; 0 if the kernel does not count them.
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


def offer_to_memory_killer(pid: int) -> None:
    """Let the kernel kill a child of this process before this process if memory runs out.

    The kernel ends the process of the largest share of the memory and score. A worker that has just started takes less
    memory than its run, which may be half of a small container's; so its score outweighs what the run takes now.
    This has no effect if the kernel has no such setting, or if the child has ended.

    Parameters
    ----------
    pid : int
        The child.
    """
    with contextlib.suppress(OSError, ValueError, psutil.Error):  # raising it is allowed to everybody, where it exists
        own = int(Path("/proc/self/oom_score_adj").read_text())
        share = psutil.Process().memory_info().rss / memory_here()
        score = own + max(WORKER_OOM_SCORE, round(1000 * share) + OOM_MARGIN)
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(min(HIGHEST_OOM_SCORE, score)))
