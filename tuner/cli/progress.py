"""What a person sees while a study runs: a live table, or one greppable line a trial without a terminal."""

from __future__ import annotations

import sys
import time
from functools import partial
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.cli import context
from tuner.errors import TunerError, reason_of
from tuner.results.leaderboard import TERMINAL, FrozenTrial, TrialState, signed, stage_trials
from tuner.search.stages import Controls
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage
from tuner.study.plan import Plan

STAGES = (("search", ""), ("confirmation", CONFIRMATION), ("controls", CONTROLS))


class Progress:
    """Polls the storage and shows what changed.

    Parameters
    ----------
    storage : FencedStorage
        Of the study.
    plan : Plan
        The study.
    workers : int
        For the estimate of the time left.
    """

    def __init__(self, storage: FencedStorage, plan: Plan, workers: int) -> None:
        self.storage, self.plan, self.workers = storage, plan, workers
        self.live = Live(console=context.console(), refresh_per_second=4) if sys.stderr.isatty() else None
        self.seen: set[tuple[str, int]] = set()
        self.resumed = False
        self.started = time.monotonic()
        self.ended_here = 0
        self.finished = False
        self.last = 0.0
        self.troubles: set[str] = set()

    def __enter__(self) -> Progress:
        self._poll(first=True)
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._poll()
        if self.live:
            self.live.stop()

    def poll(self) -> None:
        """Look again, at most once a second."""
        if time.monotonic() - self.last >= 1.0:
            self._poll()

    def _poll(self, first: bool = False) -> None:
        self.last = time.monotonic()
        try:
            self._show(first)
        except TunerError:  # of the storage, which the run needs as well
            raise
        except Exception as e:  # whatever it is: only what is shown, and the workers train on
            if (reason := reason_of(e)) not in self.troubles:
                self.troubles.add(reason)
                context.note(f"progress cannot be shown ({reason}); the run goes on, and tuner status looks for itself")

    def _show(self, first: bool) -> None:
        study_id = self.storage.get_study_id_from_name(self.plan.name)
        self.finished = self.storage.open_slots(study_id) == 0
        shown: list[Any] = []
        for label, suffix in STAGES:
            trials = stage_trials(self.storage, self.plan.name + suffix)
            if not trials and suffix:
                continue
            total = self.total() if not suffix else len(trials)
            done = [t for t in trials if t.state in TERMINAL]
            self._report(label, suffix, done, total, first)
            running = self.storage.running(self.storage.get_study_id_from_name(self.plan.name + suffix))
            if len(done) < total or not suffix:
                shown.append(self._panel(label, done, total, running))
        if self.live:
            self.live.update(Group(*shown))

    def total(self) -> int:
        """Slots the search is to end with: the stored budget, which a part of a grid may be below the whole of."""
        return self.storage.budget(self.storage.get_study_id_from_name(self.plan.name)) or self.plan.trials

    def _report(self, label: str, suffix: str, done: list[FrozenTrial], total: int, first: bool) -> None:
        for trial in sorted(done, key=lambda t: (t.datetime_complete is None, t.datetime_complete, t.number)):
            if (suffix, trial.number) in self.seen:
                continue
            self.seen.add((suffix, trial.number))
            if first:
                continue
            self.ended_here += 1
            if not self.live:
                position = len([1 for s, _ in self.seen if s == suffix])
                context.note(
                    self._line(label, suffix, trial, position, total), event="trial ended",
                    study=self.plan.name + suffix, trial=trial.number, state=trial.state.name, values=trial.values,
                )  # fmt: skip
        if first and done and not suffix:
            context.note(f"resuming: {len(done)} of {total} trials have ended already")

    def _line(self, label: str, suffix: str, trial: FrozenTrial, position: int, total: int) -> str:
        what = trial.params.get("control") or ", ".join(
            str(trial.params[k]) for k in ("architecture", "activation") if k in trial.params
        )
        if trial.values:
            names = Controls(self.plan).objectives if suffix == CONTROLS else self.plan.study.objectives
            result = " ".join(f"{n}={v:.4f}" for n, v in zip(names, trial.values, strict=True))
        else:
            result = f"reason={trial.user_attrs.get('reason', 'unknown')!r}"
        took = f" {trial.duration.total_seconds():.0f}s" if trial.duration else ""
        return f"{label} {position}/{total} trial={trial.number} {trial.state.name} {result}{took} [{what}]"

    def _panel(self, label: str, done: list[FrozenTrial], total: int, running: list[Any]) -> Group:
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"{self.plan.name} {label}", style="bold"),
            ProgressBar(total=max(total, 1), completed=len(done), width=30),
            f"{len(done)}/{total}", self._best(done) if label == "search" else "", self._eta(len(done), total),
        )  # fmt: skip
        rows = Table.grid(padding=(0, 2))
        for r in running:
            p = r.progress or {}
            epochs = f"epoch {p['epoch']}/{p['epochs']}" if "epoch" in p else "starting"
            rows.add_row("  ", f"trial {r.number}", epochs, f"AUROC {p['auroc']:.3f}" if "auroc" in p else "", r.worker)
        return Group(head, rows)

    def _best(self, done: list[FrozenTrial]) -> str:
        complete = [t for t in done if t.state == TrialState.COMPLETE]
        if not complete:
            return "no result yet"
        names = self.plan.study.objectives
        best = [max(complete, key=partial(_along, names, i)).values[i] for i in range(len(names))]
        return "best " + ", ".join(f"{n} {v:.3f}" for n, v in zip(names, best, strict=True))

    def _eta(self, done: int, total: int) -> str:
        if not self.ended_here or done >= total:
            return ""
        each = (time.monotonic() - self.started) / self.ended_here
        return f"about {max(1, round(each * (total - done) / 60))} min left"


def _along(objectives: list[str], axis: int, trial: FrozenTrial) -> float:
    return signed(trial, objectives)[axis]
