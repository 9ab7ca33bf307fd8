"""Watching the heartbeats of running slots, to take slots from workers that are gone."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

from tuner.storage import attempts
from tuner.storage.attempts import Open
from tuner.storage.database import Backend
from tuner.storage.outage import notices

SILENT_SECONDS = 15.0  # three heartbeats; after this silence of a worker, the wait is reported
DISAGREEMENT = 2.0  # grace periods to watch a beat that stands still but is recent by the database's clock


class _Sight(NamedTuple):
    beat: float | None
    since: float  # monotonic time at which this process first saw this beat


class Watch:
    """What this process has seen of a study's heartbeats.

    Parameters
    ----------
    backend : Backend
        An open database.
    study_id : int
        The study to watch.
    """

    def __init__(self, backend: Backend, study_id: int) -> None:
        self._backend, self._study_id = backend, study_id
        self._sights: dict[str | int, _Sight] = {}
        self._said: set[str | int] = set()

    def reap(self, grace: float) -> list[int]:
        """Set the slots of dead or silent workers back to WAITING; see `FencedStorage.reap`."""
        reaped, sights = [], {}
        running = self._backend.read(partial(attempts.open_attempts, study_id=self._study_id))
        at = time.monotonic()
        for seen in running:
            key = seen.token or seen.trial_id
            sight = self._sights.get(key)
            if sight is None or sight.beat != seen.beat or sight.since < self._backend.trouble:
                sight = _Sight(seen.beat, at)
            silence = at - sight.since
            if seen.token is not None and seen.process.is_dead:
                reason = f"process {seen.process.pid} has ended"
            elif _has_ended(seen, silence, grace):
                reason = f"no heartbeat for {max(seen.age, silence):.0f} s{_disagreement(seen, silence)}"
            else:
                sights[key] = sight
                self._say(key, seen, silence, grace)
                continue
            if self._backend.write(partial(attempts.reap, seen=seen, reason=reason)):
                reaped.append(seen.number)
        self._sights = sights
        self._said &= set(sights)
        return reaped

    def _say(self, key: str | int, seen: Open, silence: float, grace: float) -> None:
        """Report once why a slot waits: its worker is silent, but not known to have ended."""
        if silence < min(SILENT_SECONDS, grace / 2):
            self._said.discard(key)
        elif key not in self._said:
            self._said.add(key)
            who = f"{seen.worker} on {seen.process.host.partition(' ')[0]}" if seen.token else "another program"
            limit = grace if seen.age + 1.0 >= silence else DISAGREEMENT * grace
            notices.warning(
                "trial %d waits: nothing was heard from %s (process %d) for %.0f s; another takes it after %.0f s%s.",
                seen.number, who, seen.process.pid, silence, limit, _disagreement(seen, silence),
            )  # fmt: skip


def _has_ended(seen: Open, silence: float, grace: float) -> bool:
    """Whether a heartbeat has stood still for so long that its worker is given up.

    The silence is measured with this process's monotonic clock. The database's clock should agree; if it does not (with
    SQLite, each host writes its own time), the watch lasts longer, but not as long as the clocks differ.
    """
    agrees = seen.beat is None or seen.age >= grace
    return silence >= (grace if agrees else DISAGREEMENT * grace)


def _disagreement(seen: Open, silence: float) -> str:
    return f"; its host's clock is {seen.ahead + silence:.0f} s ahead of this one's" if seen.ahead >= 1.0 else ""
