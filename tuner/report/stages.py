"""STAGES, the table of what a report computes for each model, and `Runner`, which computes what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

from tuner.errors import UsageError, unknown
from tuner.interpret.modisco import TRIM_INFORMATION
from tuner.report import measure, repeated
from tuner.report.cache import Cache, Result, digest
from tuner.report.source import Source


class Stage(NamedTuple):
    """One row of STAGES.

    Attributes
    ----------
    compute : callable
        (source, trial, results of the stages it needs, folder of the report) -> result.
    needs : tuple of str
        Stages whose results it is made from, or that must have happened before it.
    options : tuple of str
        Fields of Options that change it.
    share : float
        Seconds it usually takes, for estimating the remaining time.
    note : str
        Shown while it runs.
    edition : int
        Raised when the stage computes something else from the same inputs, so that earlier results are not read.
    """

    compute: Callable[[Source, int, Mapping[str, Result], Path], Result]
    needs: tuple[str, ...]
    options: tuple[str, ...]
    share: float
    note: str
    edition: int = 1


# `contributions` are of test sequences, so they follow the recorded opening.
STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        "examine": Stage(measure.examine, (), (), 5, "open the test split, on record"),
        "filters": Stage(measure.filters, (), (), 1, "first-layer filters and their matches"),
        "contributions": Stage(
            measure.contributions, ("examine",), ("sequences", "references", "task"), 60, "DeepSHAP contributions", 2
        ),
        "patterns": Stage(repeated.patterns, ("contributions",), ("modisco",), 30, "TF-MoDISco patterns"),
        "null_model": Stage(repeated.null_model, (), (), 1, "networks trained on shuffled labels"),
        "null_patterns": Stage(
            repeated.null_patterns,
            ("contributions", "null_model"),
            ("modisco",),
            90,
            "the same with shuffled labels",
            2,
        ),
        "marginalise": Stage(repeated.marginalise, ("filters", "patterns"), ("task",), 2, "insert matched motifs", 2),
    }
)
MODISCO_STAGES = ("patterns", "null_model", "null_patterns")
# Around those of each model: what is reported, the files, the dashboard.
FRAME = ("select", "page", "notes")
NAMES = ("select", *STAGES, "page", "notes")


class Event(NamedTuple):
    """Progress of a report.

    Attributes
    ----------
    stage : str
        A name of NAMES.
    trial : int or None
        Of a stage that belongs to one trial.
    state : str
        ``start``, ``done``, ``cached`` or ``left out``.
    position, total : int
        The stage's place in the report, from 1.
    seconds_left : float or None
        Estimate, from the stages computed so far; None before the first one.
    words : str
        What the stage does, or what it took.
    """

    stage: str
    trial: int | None
    state: str
    position: int
    total: int
    seconds_left: float | None
    words: str


OnEvent = Callable[[Event], None]


def parse_stages(text: str | None) -> frozenset[str] | None:
    """Read a list such as ``examine,filters``; None means all.

    Raises
    ------
    UsageError
        A name is not that of a stage.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in NAMES:
            raise UsageError(unknown("stage", name, NAMES))
    if not names:
        raise UsageError(f"--stages names none; choose from {', '.join(NAMES)}.")
    return frozenset(names)


def needed(names: Collection[str]) -> frozenset[str]:
    """Stages and everything they are made from."""
    found = {name for name in names if name in STAGES}
    for name in reversed(tuple(STAGES)):  # a stage stands below what it needs
        if name in found:
            found.update(STAGES[name].needs)
    return frozenset(found)


class Runner:
    """Computes the stages of each reported model, or reads them where they are.

    Parameters
    ----------
    source : Source
        The study.
    cache : Cache
        Stage files of the report.
    trials : sequence of int
        The models.
    wanted : collection of str or None
        Stages to compute again, with what they need where that is missing; all others are read if they are
        there and left out if not. None computes whatever is missing. `examine` is never computed again: its
        result stays, so that a report opens the test split once.
    on_event : callable
        Called at every start and end; an exception from it ends the report, and finished stages are kept.
    """

    def __init__(
        self, source: Source, cache: Cache, trials: Sequence[int], wanted: Collection[str] | None, on_event: OnEvent
    ) -> None:
        self.source, self.cache, self.trials, self.on_event = source, cache, tuple(trials), on_event
        self.used = [n for n in STAGES if source.options.modisco != "none" or n not in MODISCO_STAGES]
        self.allowed = frozenset(self.used) if wanted is None else needed(wanted) & frozenset(self.used)
        self.again = frozenset() if wanted is None else frozenset(wanted) - {"examine"}
        self.total = len(self.used) * len(self.trials) + len(FRAME)
        self.keys = {trial: self._keys(trial) for trial in self.trials}  # reads all weights: missing ones fail here
        self.threads = torch.get_num_threads()
        self.spent = self.worked = 0.0
        self.left = sum(
            self._share(n, t) for t in self.trials for n in self.used
            if n in self.allowed and (n in self.again or cache.read(n, self.keys[t][n]) is None)
        )  # fmt: skip

    def _keys(self, trial: int) -> dict[str, str]:
        source = self.source
        weights = source.weights(source.models(trial))
        shuffled = source.shuffled(trial)
        null = source.weights(shuffled) if shuffled else dict(source.trial(trial).params)
        own = {"null_model": [null], "examine": source.baselines, "patterns": [TRIM_INFORMATION]}
        keys: dict[str, str] = {}
        for name in self.used:
            row = STAGES[name]
            options = [getattr(source.options, option) for option in row.options]
            before = [keys[need] for need in row.needs if need in keys]
            changed = [row.edition] if row.edition > 1 else []  # `examine` must stay found: it opens the test split
            keys[name] = digest(name, source.identity, trial, weights, own.get(name), options, before, *changed)
        return keys

    def _share(self, name: str, trial: int) -> float:
        """Seconds that a stage should take: a null that must be trained takes what the trial took."""
        options, duration = self.source.options, self.source.trial(trial).duration
        shuffled = len(self.source.shuffled(trial))
        if name == "null_model" and not shuffled and duration is not None:
            return float(duration.total_seconds())
        pairs = options.sequences * options.references / 10_000 if name in ("contributions", "null_patterns") else 1.0
        networks = {"contributions": len(self.source.models(trial)), "null_patterns": max(1, shuffled)}
        return STAGES[name].share * pairs * networks.get(name, 1)

    def run(self) -> dict[int, dict[str, Result]]:
        """All results by trial and stage; stages that were left out are missing."""
        found: dict[int, dict[str, Result]] = {trial: {} for trial in self.trials}
        position = 1  # `select` has happened
        for name in self.used:
            for trial in self.trials:
                position += 1
                result = self._stage(name, trial, found[trial], position)
                if result is not None:
                    found[trial][name] = result
        return found

    def _stage(self, name: str, trial: int, before: Mapping[str, Result], position: int) -> Result | None:
        row, key = STAGES[name], self.keys[trial][name]

        def tell(state: str, words: str) -> None:
            rate = self.spent / self.worked if self.worked else None
            left = None if rate is None else rate * self.left
            self.on_event(Event(name, trial, state, position, self.total, left, words))

        stored = None if name in self.again else self.cache.read(name, key)
        if stored is not None:
            tell("cached", row.note)
            return stored
        inputs = {need: before[need] for need in row.needs if need in before}
        if name not in self.allowed or len(inputs) < len([n for n in row.needs if n in self.used]):
            tell("left out", row.note)
            return None
        tell("start", row.note)
        torch.set_num_threads(self.threads)  # a match before may have set what numba uses, for the whole process
        started = time.monotonic()
        result = row.compute(self.source, trial, inputs, self.cache.out)
        self.cache.write(name, key, result)
        took, share = time.monotonic() - started, self._share(name, trial)
        self.spent, self.worked, self.left = self.spent + took, self.worked + share, self.left - share
        tell("done", f"{took:.1f} s")
        return result
