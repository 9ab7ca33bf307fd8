"""Watching the heartbeats of running slots, to take them from workers that are gone."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

from tuner.search import attempts
from tuner.search.database import Backend


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
            stands = at - sight.since >= grace and (seen.beat is None or seen.age >= grace)
            if seen.token is not None and seen.process.is_dead:
                reason = f"process {seen.process.pid} has ended"
            elif stands:
                reason = f"no heartbeat for {seen.age:.0f} s"
            else:
                sights[key] = sight
                continue
            if self._backend.write(partial(attempts.reap, seen=seen, reason=reason)):
                reaped.append(seen.number)
        self._sights = sights
        return reaped
