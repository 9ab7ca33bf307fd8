"""Starting, watching, restarting and stopping the worker processes of one machine; none is ever orphaned."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from tuner.errors import StorageError
from tuner.search.worker_pipe import LogFile, NoticePipe, remove_old_logs
from tuner.storage.process import Process, memory_kills, offer_to_memory_killer, process_of

CRASHES = 5  # crashes in a row without a finished trial: restarting does not help
MEMORY_SECONDS = 5.0  # how long a process may take to end after the kernel's OOM killer has chosen it
STOP_SECONDS = 30.0
INDEX, DEVICE = "\0i", "\0device"  # placeholders with NUL, which no name or path contains
TELL_SECONDS = 60.0  # a notice that several workers send within this time is shown once
HUNG = 75  # exit status of a worker whose training hung; EX_TEMPFAIL of sysexits.h
# Sent by operators, schedulers and closing terminals. A SIGKILL may also come from the kernel's OOM killer.
ASKED = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class CountCrash(Protocol):
    """Counts a crash against the slot that the process ran; returns whether it had finished a slot before."""

    def __call__(self, process: Process, reason: str, *, memory: bool) -> bool:
        """As `FencedStorage.count_crash`."""
        ...


class Supervisor:
    """Runs several copies of a command until all of them end by themselves.

    A worker that was killed is always started again. A worker that crashed (a fault signal, the kernel's OOM killer, an
    unknown exit status, a hang) is started again, too, until it has crashed `CRASHES` times in a row without finishing
    a trial.

    Parameters
    ----------
    command : sequence of str
        The workers' command; in each part, `INDEX` is replaced by the worker's index and `DEVICE` by its device.
    count : int
        Number of workers.
    environment : mapping of str to str, or None
        Environment of the workers; None for that of this process.
    logs : Path
        Folder in which worker i writes ``worker-i.HOST-PROCESS.log``, named after this process.
    devices : sequence of str
        The device of each worker; may be omitted if the command does not use it.
    count_crash : callable, optional
        Called for each crash.
    tell : callable, optional
        Called with each line that the user should see now: notices of the workers.
    kills : callable
        The kernel's count of processes killed because memory ran out.
    settings : mapping of str to str or None, optional
        Environment variables that each worker sets (None: removes) after reading them as a JSON object from its stdin;
        for `tuner.cli.child`. So passwords are in no command line, and no environment has to be copied.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        environment: Mapping[str, str] | None,
        logs: Path,
        *,
        devices: Sequence[str] = (),
        count_crash: CountCrash | None = None,
        tell: Callable[[str], None] | None = None,
        kills: Callable[[], int] = memory_kills,
        settings: Mapping[str, str | None] | None = None,
    ) -> None:
        self.command, self.logs, self.settings = list(command), logs, settings
        self.environment = None if environment is None else dict(environment)
        self.devices = list(devices) or [""] * count
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self.started: list[Process] = [Process("", 0, 0.0)] * count
        self.crashes = [0] * count
        self.count_crash, self.kills, self.tell = count_crash, kills, tell or (lambda line: None)
        self.pipes = [NoticePipe()] * count
        self.log_files = [LogFile(logs, i) for i in range(count)]
        self._told: dict[str, float] = {}  # notice without its numbers -> when it was told
        self._kills, self._unclaimed = kills(), list[float]()  # count, and times of unexplained kills
        remove_old_logs(logs)

    def run(self, poll: Callable[[], object], *, interval: float = 0.5) -> None:
        """Start the workers and wait; `poll` is called between.

        Raises
        ------
        StorageError
            A worker failed or kept crashing; its last log line is quoted.
        KeyboardInterrupt
            After all workers have handed their slots back (or, on a second one, were killed).
        """
        # SIGTERM, which ends a job in a cluster, is treated like Ctrl-C, and a job started in the background may have
        # inherited an ignored SIGINT. Only the main thread can handle signals.
        heard = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, _interrupt) for number in heard}
        try:
            for i in range(len(self.processes)):
                self._start(i)
            while any(p is not None for p in self.processes):
                poll()
                time.sleep(interval)
                self._pass_on_notices()
                self._collect()
            poll()
        except BaseException:
            self.stop()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Ask every worker to hand its slot back; kill those left after 30 s or on a second interrupt."""
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
        command = [part.replace(INDEX, str(i)).replace(DEVICE, self.devices[i]) for part in self.command]
        self.pipes[i].close()
        pipe, writing = NoticePipe.pair()
        own = {"TUNER_PARENT": str(os.getpid()), "TUNER_NOTICES": str(writing)}
        told = self.settings is not None
        try:
            with self.log_files[i].open(self._say) as log:
                started = subprocess.Popen(
                    command, stdin=subprocess.PIPE if told else subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=(writing,), env=None if self.environment is None else {**self.environment, **own},
                    process_group=0,  # Ctrl-C reaches only the parent, which then asks the workers
                )  # fmt: skip
        finally:
            os.close(writing)
        offer_to_memory_killer(started.pid)  # at once: memory may run out while it still imports
        if started.stdin is not None:
            with contextlib.suppress(BrokenPipeError), started.stdin as stdin:  # it has died, which `_collect` reports
                stdin.write(json.dumps({**(self.settings or {}), **own}).encode())
        self.pipes[i] = pipe
        self.processes[i] = started
        self.started[i] = process_of(started.pid)

    def _pass_on_notices(self) -> None:
        """Pass on the workers' notices; the same notice at most once a minute, however many workers send it."""
        for i, pipe in enumerate(self.pipes):
            for message in pipe.receive():
                self._say(f"worker {i}: {message}", what=message)
            self.log_files[i].keep_small()

    def _say(self, line: str, what: str | None = None) -> None:
        key, now = re.sub(r"\d+", "#", what or line), time.monotonic()
        if now - self._told.get(key, -math.inf) >= TELL_SECONDS:
            self._told[key] = now
            self.tell(line)

    def _collect(self) -> None:
        ended = [(i, p) for i, p in enumerate(self.processes) if p is not None and p.poll() is not None]
        self._count_memory()  # after checking the processes, because the kernel counts before it kills
        for i, process in ended:
            code = process.returncode
            if code == 0:
                self.processes[i] = None
                continue
            if code in (1, 2):
                raise StorageError(f"worker {i} failed: {self._last_line(i)}")
            number = -code if code < 0 else code - 128  # 128 + signal, as shells and our own workers report it
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
            remedy = " Take fewer --workers, or allow more memory." if memory else ""
            raise StorageError(
                f"worker {i} {how}, {CRASHES} times in a row without a finished trial.{remedy} "
                f"Its log ends with: {self._last_line(i)}"
            )
        self._say(f"worker {i} {how}; it is started again", what=how)

    def _last_line(self, i: int) -> str:
        for message in self.pipes[i].receive():
            self._say(f"worker {i}: {message}", what=message)
        return self.pipes[i].last or self.log_files[i].last_line() or "it printed nothing"


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
