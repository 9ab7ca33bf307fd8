"""What a person sees while a study runs: the picture of `tuner status --watch`; without a terminal a line a trial."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.live import Live

from tuner.api.progress import NOTE, Progress, Watch
from tuner.cli import context
from tuner.cli.watch import picture
from tuner.results.overview import overview
from tuner.storage.storage import FencedStorage
from tuner.study.plan import Plan


class View:
    """Shows a study that is run here.

    Parameters
    ----------
    storage : FencedStorage
        Of the study.
    plan : Plan
        The study.
    """

    def __init__(self, storage: FencedStorage, plan: Plan) -> None:
        self.storage, self.plan = storage, plan
        self.finished = False
        self._live = Live(console=context.console(), refresh_per_second=4) if sys.stderr.isatty() else None
        self._study_id = storage.get_study_id_from_name(plan.name)
        self._roster = storage.roster(self._study_id)
        self._watch = Watch(storage, plan.name, plan.study.objectives, self._tell)

    def __enter__(self) -> View:
        if ended := self._watch.ended("search"):
            total = self.storage.budget(self._study_id) or self.plan.trials
            context.note(f"resuming: {ended} of {total} trials have ended already")
        if self._live:
            self._live.start()
        self.poll(now=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.poll(now=True)
        if self._live:
            self._live.stop()

    def poll(self, *, now: bool = False) -> None:
        """Look again, at most once a second."""
        if not self._watch.look(now=now):
            return
        self.finished = self.storage.open_slots(self._study_id) == 0
        if self._live:
            members = [m for m in self._roster.members() if not m.is_gone()]
            self._live.update(picture(overview(self.storage, self.plan.name), members, running=True))

    def _tell(self, told: Progress) -> None:
        if told.state == NOTE:
            context.note(told.words)
        elif told.state != "RUNNING" and not self._live:
            suffix = f".{told.stage}" if told.stage != "search" else ""
            context.note(
                told.words, event="trial ended", study=self.plan.name + suffix, trial=told.trial, state=told.state,
                values=list(told.values.values()),
            )  # fmt: skip
