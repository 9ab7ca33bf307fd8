"""Worker processes of one machine: started, watched, restarted, stopped, never orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tuner.errors import StorageError

RESTARTS = 5  # a worker that dies more often than this has a fault that a restart does not mend
STOP_SECONDS = 30.0


class Supervisor:
    """Runs K copies of one command until all of them end by themselves.

    Parameters
    ----------
    command : sequence of str
        The worker's command; ``{i}`` in any part becomes the worker's index.
    count : int
        How many.
    environment : mapping of str to str
        Of the workers.
    logs : Path
        Folder; worker i writes to ``worker-i.log`` there.
    """

    def __init__(self, command: Sequence[str], count: int, environment: Mapping[str, str], logs: Path) -> None:
        self.command, self.environment, self.logs = list(command), dict(environment), logs
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self.restarts = [0] * count
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, poll: Callable[[], None], *, interval: float = 0.5) -> None:
        """Start the workers and wait; `poll` is called between.

        Raises
        ------
        StorageError
            A worker kept dying; its last log line is quoted.
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
        command = [part.replace("{i}", str(i)) for part in self.command]
        with (self.logs / f"worker-{i}.log").open("ab") as log:
            self.processes[i] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self.environment, "TUNER_PARENT": str(os.getpid())},
                process_group=0,  # Ctrl-C reaches the parent alone, which then asks the workers
            )  # fmt: skip

    def _collect(self) -> None:
        for i, process in enumerate(self.processes):
            if process is None or process.poll() is None:
                continue
            if process.returncode == 0:
                self.processes[i] = None
            elif process.returncode in (1, 2) or self.restarts[i] >= RESTARTS:
                raise StorageError(f"worker {i} failed: {self._last_line(i)}")
            else:  # killed: another takes its place, and its slot
                self.restarts[i] += 1
                self._start(i)

    def _last_line(self, i: int) -> str:
        lines = (self.logs / f"worker-{i}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "it printed nothing"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
