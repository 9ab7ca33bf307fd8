"""Worker processes of one machine: started, watched, restarted, stopped, never orphaned."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from tuner.errors import StorageError
from tuner.search.process import Process, host_name, memory_kills, start_of

CRASHES = 5  # crashes in a row without a finished trial: a fault that a restart does not mend
MEMORY_SECONDS = 5.0  # a process that the kernel kills for want of memory may take so long to end
STOP_SECONDS = 30.0
HUNG = 75  # how a worker leaves whose training hung; EX_TEMPFAIL of sysexits.h
# What operators, schedulers and the death of a terminal send. A SIGKILL may be the kernel's own, for want of memory.
ASKED = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class CountCrash(Protocol):
    """Counts a crash against the slot that the process ran; whether it had finished a slot before."""

    def __call__(self, process: Process, reason: str, *, memory: bool) -> bool:
        """As `FencedStorage.count_crash`."""
        ...


class Supervisor:
    """Runs K copies of one command until all of them end by themselves.

    A worker that was killed is started again, as often as that happens. A worker that crashed (a fault signal,
    the kernel's kill for want of memory, an exit status that is no error of ours, a hang) is started again too,
    until it has crashed `CRASHES` times in a row without finishing a trial.

    Parameters
    ----------
    command : sequence of str
        The worker's command; in any part ``{i}`` becomes the worker's index and ``{device}`` its device.
    count : int
        How many.
    environment : mapping of str to str
        Of the workers.
    logs : Path
        Folder; worker i writes to ``worker-i.log`` there.
    devices : sequence of str
        The device of each worker; may be left out where the command names none.
    count_crash : callable, optional
        Told of each crash.
    kills : callable
        The kernel's count of processes killed for want of memory.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        environment: Mapping[str, str],
        logs: Path,
        *,
        devices: Sequence[str] = (),
        count_crash: CountCrash | None = None,
        kills: Callable[[], int] = memory_kills,
    ) -> None:
        self.command, self.environment, self.logs = list(command), dict(environment), logs
        self.devices = list(devices) or [""] * count
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self.started: list[Process] = [Process("", 0, 0.0)] * count
        self.crashes = [0] * count
        self.count_crash, self.kills = count_crash, kills
        self._kills, self._unclaimed = kills(), list[float]()  # count, and times of kills that fit no death yet
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, poll: Callable[[], None], *, interval: float = 0.5) -> None:
        """Start the workers and wait; `poll` is called between.

        Raises
        ------
        StorageError
            A worker failed or kept crashing; its last log line is quoted.
        KeyboardInterrupt
            After all workers have handed their slots back (or, on a second one, were killed).
        """
        # What ends a job in a cluster is a Ctrl-C to it, and a job started in the background may have been
        # told to ignore the real one.
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for i in range(len(self.processes)):
                self._start(i)
            while any(p is not None for p in self.processes):
                poll()
                time.sleep(interval)
                self._collect()
            poll()
        except BaseException:
            self.stop()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Ask every worker to hand its slot back; kill what is left on a second interrupt or after 30 s."""
        for process in self._alive():
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        try:
            while self._alive() and time.monotonic() < end:
                time.sleep(0.05)
        except KeyboardInterrupt:
            pass
        for process in self._alive():
            process.kill()
        for started in self.processes:
            if started is not None:
                started.wait()

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [p for p in self.processes if p is not None and p.poll() is None]

    def _start(self, i: int) -> None:
        command = [part.replace("{i}", str(i)).replace("{device}", self.devices[i]) for part in self.command]
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"worker-{i}.log").open("ab") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self.environment, "TUNER_PARENT": str(os.getpid())},
                process_group=0,  # Ctrl-C reaches the parent alone, which then asks the workers
            )  # fmt: skip
        self.processes[i] = started
        self.started[i] = Process(host_name(), started.pid, start_of(started.pid) or 0.0)

    def _collect(self) -> None:
        ended = [(i, p) for i, p in enumerate(self.processes) if p is not None and p.poll() is not None]
        self._count_memory()  # after the look at the processes: the kernel counts before it kills
        for i, process in ended:
            code = process.returncode
            if code == 0:
                self.processes[i] = None
                continue
            if code in (1, 2):
                raise StorageError(f"worker {i} failed: {self._last_line(i)}")
            number = -code if code < 0 else code - 128  # a shell's, or our own, word for an end by a signal
            memory = number == signal.SIGKILL and bool(self._unclaimed)
            if memory:
                self._unclaimed.pop(0)
            if memory or number not in ASKED:
                self._crashed(i, code, memory=memory)
            self._start(i)

    def _count_memory(self) -> None:
        before, self._kills, now = self._kills, self.kills(), time.monotonic()
        recent = [at for at in self._unclaimed if now - at < MEMORY_SECONDS]
        self._unclaimed = recent + [now] * (self._kills - before)

    def _crashed(self, i: int, code: int, *, memory: bool) -> None:
        how = _describe(code, memory)
        finished = False
        if self.count_crash is not None:
            finished = self.count_crash(self.started[i], f"the process {how}", memory=memory)
        self.crashes[i] = 1 if finished else self.crashes[i] + 1
        if self.crashes[i] >= CRASHES:
            raise StorageError(
                f"worker {i} {how}, {CRASHES} times in a row without a finished trial; "
                f"its log ends with: {self._last_line(i)}"
            )

    def _last_line(self, i: int) -> str:
        try:
            lines = (self.logs / f"worker-{i}.log").read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return "its log was removed"
        if not lines:
            return "it printed nothing"
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a JSON log
            return str(json.loads(lines[-1])["message"])
        return lines[-1].removeprefix("error: ")


def _describe(code: int, memory: bool) -> str:
    if memory:
        return "was killed by the kernel: the memory ran out"
    if code == HUNG:
        return "hung"
    try:
        return f"crashed with {signal.Signals(-code).name}"
    except ValueError:
        return f"ended with status {code}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
