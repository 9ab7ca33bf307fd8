"""Progress of a run, reported to a callback, to a bar in a terminal, or to a bar in a notebook."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from html import escape
from types import TracebackType
from typing import Any, NamedTuple, Self

from tuner.errors import TunerError, reason_of
from tuner.results.leaderboard import TERMINAL, FrozenTrial, light_trials
from tuner.results.overview import STAGES
from tuner.storage.storage import FencedStorage

log = logging.getLogger("tuner.run")

LOOK_SECONDS = 1.0
NOTE = "NOTE"


class Progress(NamedTuple):
    """One event of a run.

    Attributes
    ----------
    study : str
        Name of the study.
    stage : str
        ``search``, ``confirmation`` or ``controls``; empty for a note.
    state : str
        ``COMPLETE``, ``PRUNED`` or ``FAIL`` for a trial that has ended; ``RUNNING`` for one that has finished an epoch;
        ``NOTE`` for a message, which is in `words`.
    words : str
        One line for people.
    trial : int or None
        Number of the trial.
    ended, total : int
        Number of trials of the stage that have ended, and that it will have.
    values : mapping of str to float
        Objective values of a completed trial; validation AUROC of a running one.
    epoch, epochs : int or None
        Last epoch that a running trial has finished, and the largest number of epochs.
    """

    study: str
    stage: str
    state: str
    words: str
    trial: int | None = None
    ended: int = 0
    total: int = 0
    values: Mapping[str, float] = {}  # default value of a NamedTuple; never modified
    epoch: int | None = None
    epochs: int | None = None


Callback = Callable[[Progress], object]


class Watch:
    """Polls a study and reports what has changed since the last poll.

    Parameters
    ----------
    storage : FencedStorage
        Storage of the study.
    name : str
        Name of the study.
    objectives : list of str
        Objectives of the study.
    tell : callable
        Called with the `Progress` of each trial that ends and of each finished epoch.
    """

    def __init__(self, storage: FencedStorage, name: str, objectives: list[str], tell: Callback) -> None:
        self.storage, self.name, self.objectives, self.tell = storage, name, objectives, tell
        self._ended = {suffix: self._numbers(suffix) for suffix in STAGES.values()}
        self._epochs: dict[tuple[str, int], int] = {}
        self._last = time.monotonic()
        self._troubles: set[str] = set()

    def look(self, *, now: bool = False) -> bool:
        """Poll the study, at most once a second, and return whether this was done and reported.

        Raises
        ------
        TunerError
            An error of the storage, which the run needs as well. Any other error is reported once, and the run goes on.
        """
        if not now and time.monotonic() - self._last < LOOK_SECONDS:
            return False
        self._last = time.monotonic()
        try:
            changes = [change for stage, suffix in STAGES.items() for change in self._changes(stage, suffix)]
        except TunerError:
            raise
        except Exception as e:  # any error: only the display is affected, and the workers go on
            if (reason := reason_of(e)) not in self._troubles:
                self._troubles.add(reason)
                self.note(f"progress cannot be shown ({reason}); the run goes on, and tuner status shows its state")
            return False
        for change in changes:
            self.tell(change)
        return True

    def ended(self, stage: str) -> int:
        """Number of trials of a stage that had ended at the last poll."""
        return len(self._ended[STAGES[stage]])

    def note(self, words: str) -> None:
        """Report a message that does not concern a single trial."""
        self.tell(Progress(self.name, "", NOTE, words))

    def _numbers(self, suffix: str) -> set[int]:
        return {t.number for t in light_trials(self.storage, self.name + suffix) if t.state in TERMINAL}

    def _changes(self, stage: str, suffix: str) -> Iterator[Progress]:
        trials = light_trials(self.storage, self.name + suffix, ["reason"], ("architecture", "activation", "control"))
        if not trials:
            return
        study_id = self.storage.get_study_id_from_name(self.name + suffix)
        total = max(len(trials), self.storage.budget(study_id) or 0)
        fresh = [t for t in trials if t.state in TERMINAL and t.number not in self._ended[suffix]]
        for t in sorted(fresh, key=lambda t: (t.datetime_complete is None, t.datetime_complete, t.number)):
            self._ended[suffix].add(t.number)
            values, ended = self._values(t, suffix), len(self._ended[suffix])
            words = f"{stage} {ended}/{total} {_words(t, values)}"
            yield Progress(self.name, stage, t.state.name, words, t.number, ended, total, values)
        for r in self.storage.running(study_id):
            p = r.progress or {}
            if "epoch" not in p or self._epochs.get((suffix, r.number)) == p["epoch"]:
                continue
            self._epochs[suffix, r.number] = p["epoch"]
            yield Progress(
                self.name, stage, "RUNNING",
                f"{stage} trial {r.number}: epoch {p['epoch']} of {p['epochs']}, AUROC {p['auroc']:.4f}",
                r.number, len(self._ended[suffix]), total, {"auroc": p["auroc"]}, p["epoch"], p["epochs"],
            )  # fmt: skip

    def _values(self, trial: FrozenTrial, suffix: str) -> dict[str, float]:
        if not trial.values:
            return {}
        names = ["auroc"] if suffix == STAGES["controls"] else self.objectives
        return dict(zip(names, trial.values, strict=True))


def _words(trial: FrozenTrial, values: Mapping[str, float]) -> str:
    """Describe a trial that has ended in one line, as in a log."""
    what = trial.params.get("control") or ", ".join(
        str(trial.params[k]) for k in ("architecture", "activation") if k in trial.params
    )
    result = " ".join(f"{name}={value:.4f}" for name, value in values.items())
    result = result or f"reason={trial.user_attrs.get('reason', 'unknown')!r}"
    took = f" {trial.duration.total_seconds():.0f}s" if trial.duration else ""
    return f"trial={trial.number} {trial.state.name} {result}{took} [{what}]"


def display(wanted: bool | Callback | None) -> AbstractContextManager[Callback]:
    """Choose how progress is shown.

    Parameters
    ----------
    wanted : bool, callable or None
        A callback; True: a bar; False: only the log; None: a bar in a terminal or a notebook, else only the log.

    Returns
    -------
    context manager
        Yields the callback.
    """
    if callable(wanted):
        return nullcontext(wanted)
    if wanted is not False and _in_notebook():
        return _NotebookBar()
    if wanted or (wanted is None and sys.stderr is not None and sys.stderr.isatty()):
        return _TerminalBar()
    return nullcontext(_log)


def _log(progress: Progress) -> None:
    log.log(logging.WARNING if progress.state == NOTE else logging.INFO, "%s", progress.words)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class _TerminalBar:
    """One bar per stage, on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        from tqdm import tqdm

        if progress.state == NOTE:
            tqdm.write(progress.words, file=sys.stderr)
            return
        if progress.stage != self._stage:
            if self._bar is not None:
                self._bar.close()
            self._stage = progress.stage
            name = f"{progress.study} {progress.stage}"
            self._bar = tqdm(total=progress.total, initial=progress.ended, desc=name, unit="trial", file=sys.stderr)
        self._bar.total, self._bar.n = progress.total, progress.ended
        self._bar.set_postfix_str(progress.words.partition(" ")[2])


class _NotebookBar:
    """One bar per stage, and the last line, in the output of the cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._stages: dict[str, Progress] = {}
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        from IPython.display import display as show

        if progress.state == NOTE:
            self._notes.append(progress.words)
        else:
            self._stages[progress.stage] = progress
        if self._handle is None:
            self._handle = show(self, display_id=True)
        else:
            self._handle.update(self)

    def _repr_html_(self) -> str:
        bars = "".join(
            f'<tr><td>{escape(p.study)} {stage}</td><td><progress max="{p.total}" value="{p.ended}"></progress></td>'
            f"<td>{p.ended}/{p.total}</td><td>{escape(p.words)}</td></tr>"
            for stage, p in self._stages.items()
        )
        return f"<table>{bars}</table>" + "".join(f"<p>{escape(note)}</p>" for note in self._notes)
