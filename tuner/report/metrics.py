"""A study's state as Prometheus metrics, in a text file for node_exporter or at an endpoint.

Every name begins with ``tuner_`` and carries the study as a label. ``tuner_up`` is 0 if the database could not be
read; there are no other metrics then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tuner.errors import StorageError
from tuner.report.server import Access, Server, make_guarded_server
from tuner.results.overview import STAGES, Overview, overview
from tuner.storage.storage import FencedStorage

if TYPE_CHECKING:
    from prometheus_client import Metric

OUTCOMES = ("complete", "pruned", "fail", "failed", "handed back", "reaped", "superseded")


class StudyCollector(Collector):
    """Reads the database at each scrape.

    Parameters
    ----------
    storage : FencedStorage
        Where the studies are.
    study : str or None
        One study; None for all that `tuner run` made.
    """

    def __init__(self, storage: FencedStorage, study: str | None) -> None:
        self.storage, self.study = storage, study

    def collect(self) -> Iterable[Metric]:
        """Collect every metric; only ``tuner_up 0`` if the database cannot be read."""
        up = GaugeMetricFamily("tuner_up", "Whether the database could be read.")
        try:
            found = list(self._collect())
        except StorageError:
            found = []
        up.add_metric([], float(bool(found)))
        yield up
        yield from found

    def _collect(self) -> Iterator[Metric]:
        seen = [overview(self.storage, name) for name in self._names()]
        yield from self._trials(seen)
        yield self._attempts(seen)
        yield from self._workers(seen)
        best = _gauge("best_objective", "Best validation value of a completed trial, one seed.", "study", "objective")
        for study in seen:
            for objective, entry in study.best.items():
                best.add_metric([study.study, objective], entry["value"])
        yield best

    def _names(self) -> list[str]:
        if self.study is not None:
            return [self.study]
        searches = self.storage.catalog().searches
        return sorted(name for name, study_id in searches.items() if self.storage.budget(study_id) is not None)

    def _trials(self, seen: Sequence[Overview]) -> Iterator[Metric]:
        labels = ("study", "stage")
        states = _gauge("trials", "Trials that exist, by state.", *labels, "state")
        budget = _gauge("trials_budget", "Trials that the stage is to end with.", *labels)
        pace = _gauge("trials_per_hour", "Trials ended in an hour, over the latest ones.", *labels)
        left = _gauge("seconds_left", "Seconds until the last trial ends, at the present pace.", *labels)
        files = _gauge("trials_without_files", "Completed trials whose files could not be stored.", *labels)
        for study in seen:
            for s in study.stages:
                where = [study.study, s.stage]
                for state, n in s.states.items():
                    states.add_metric([*where, state], n)
                budget.add_metric(where, s.total)
                files.add_metric(where, len(s.without_files))
                if s.trials_per_hour is not None and s.seconds_left is not None:
                    pace.add_metric(where, s.trials_per_hour)
                    left.add_metric(where, s.seconds_left)
        yield from (states, budget, pace, left, files)

    def _attempts(self, seen: Sequence[Overview]) -> Metric:
        ended = CounterMetricFamily(
            "tuner_attempts", "Executions of trials that have ended, by outcome.", labels=["study", "stage", "outcome"]
        )
        for study in seen:
            for s in study.stages:
                have = self.storage.outcomes(self.storage.get_study_id_from_name(study.study + STAGES[s.stage]))
                for outcome in OUTCOMES:
                    ended.add_metric([study.study, s.stage, outcome.replace(" ", "_")], have.get(outcome, 0))
        return ended

    def _workers(self, seen: Sequence[Overview]) -> Iterator[Metric]:
        count = _gauge("workers", "Living workers.", "study")
        labels = ("study", "worker", "host", "pid")
        ages = _gauge("worker_heartbeat_age_seconds", "Seconds since a worker's last sign of life.", *labels)
        trial = _gauge("trial_heartbeat_age_seconds", "The same of a running trial.", "study", "stage", "trial")
        for study in seen:
            members = self.storage.roster(self.storage.get_study_id_from_name(study.study)).members()
            living = [m for m in members if not m.is_gone()]
            count.add_metric([study.study], len(living))
            for m in living:
                ages.add_metric([study.study, m.worker, m.host, str(m.process.pid)], m.beat_age)
            for s in study.stages:
                for r in s.running:
                    trial.add_metric([study.study, s.stage, str(r["trial"])], r["heartbeat_seconds"])
        yield from (count, ages, trial)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tuner_{name}", help_text, labels=labels)


def registry(storage: FencedStorage, study: str | None) -> CollectorRegistry:
    """A registry that reads the study, or all studies, when it is asked."""
    made = CollectorRegistry(auto_describe=False)
    made.register(StudyCollector(storage, study))
    return made


def write(storage: FencedStorage, study: str | None, file: Path) -> None:
    """Write the metrics to a temporary file and rename it to `file`, so that no reader sees a part of them.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    write_to_textfile(str(file), registry(storage, study))


def serve(storage: FencedStorage, study: str | None, access: Access, port: int) -> Server:
    """Serve ``/metrics`` from a separate thread; port 0 chooses a free port.

    Raises
    ------
    StorageError
        The address cannot be listened on.
    """
    server = make_guarded_server(make_wsgi_app(registry(storage, study)), access, port)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
