"""What a report reads: a stored study with its weights, its data with the test split open, its motif database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.errors import StudyError, UsageError, unknown
from tuner.models.ensemble import predicted
from tuner.models.network import Network
from tuner.models.training import resolve_device
from tuner.results.leaderboard import FrozenTrial, TrialState, stage_trials
from tuner.results.nulls import SHUFFLED, is_null, null_networks
from tuner.results.test_split import declared_models
from tuner.results.trial_files import WEIGHTS, stored_network
from tuner.search.loaded import Bench, load_motifs, stored_fingerprint
from tuner.storage.artifacts import Artifacts
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage
from tuner.study.plan import Plan, check_identity

MODISCO = ("fast", "default", "thorough", "none")


@dataclass(frozen=True)
class Options:
    """Options of a report.

    Parameters
    ----------
    sequences : int
        Largest number of test positives to attribute.
    references : int
        Number of shuffled references per sequence.
    modisco : str
        ``fast``, ``default``, ``thorough`` or ``none``.
    task : str or None
        Task of contributions, patterns and curves; None is the first.
    """

    sequences: int = 500
    references: int = 20
    modisco: str = "default"
    task: str | None = None

    def __post_init__(self) -> None:
        if self.modisco not in MODISCO:
            raise UsageError(unknown("value of --modisco", self.modisco, MODISCO))
        for name in ("sequences", "references"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} is {getattr(self, name)}; it must be at least 1.")


class Shown(NamedTuple):
    """The network of a trial whose filters are shown."""

    run: FrozenTrial
    words: str


class Explained(NamedTuple):
    """What a trial's displayed logit is, and so what its contributions explain.

    Attributes
    ----------
    network : torch.nn.Module
        Mean logit of all models that stand for the trial, on one strand or on both as each predicts.
    models : int
        Number of these models.
    words : str
        The same in words.
    """

    network: nn.Module
    models: int
    words: str


@dataclass(frozen=True)
class Source:
    """A study as a report reads it.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are.
    name : str
        The study.
    identity : mapping
        As stored with it.
    bench : Bench
        Plan, database, device, and the data with the test split closed.
    dataset : Dataset
        The same data with the test split open; only stages that follow the recorded opening touch it.
    options : Options
        Of the report.
    """

    storage: FencedStorage
    artifacts: Artifacts
    name: str
    identity: Mapping[str, Any]
    bench: Bench
    dataset: Dataset
    options: Options

    @property
    def task(self) -> int:
        """Column of the report's task."""
        return 0 if self.options.task is None else self.dataset.tasks.index(self.options.task)

    def models(self, trial: int) -> list[FrozenTrial]:
        """The runs that stand for a trial, by replicate."""
        runs = declared_models(self.storage, self.name, trial)
        return sorted(runs, key=lambda t: (int(t.user_attrs.get("replicate", 0)), t.number))

    def retrained(self, trial: int) -> bool:
        """Whether a trial has confirmation models."""
        return "candidate" in self.models(trial)[0].user_attrs

    def shown(self, trial: int) -> Shown:
        """The network of a trial that filters are read from: its first retrained one."""
        run = self.models(trial)[0]
        if self.retrained(trial):
            return Shown(run, f"retrained model {int(run.user_attrs['replicate'])} of trial {trial} (confirmation)")
        return Shown(run, f"the search's own network of trial {trial} (one seed, chosen among many)")

    def network(self, run: FrozenTrial) -> tuple[Network, bool]:
        """Weights of a run, and whether its predictions average both strands."""
        return stored_network(self.artifacts, run)

    def explained(self, trial: int) -> Explained:
        """Return the function whose value a trial's page displays: the mean logit of its models."""
        stored = [self.network(run) for run in self.models(trial)]
        both = [average for _, average in stored]
        n = len(stored)
        if not self.retrained(trial):
            words = f"the logit of the search's own network of trial {trial}"
        elif n == 1:
            words = f"the logit of the one retrained model of trial {trial}"
        else:
            words = f"the mean logit of the {n} retrained models of trial {trial}"
        strands = "averaged over both strands" if all(both) else "on the given strand" if not any(both) else ""
        return Explained(
            predicted([network for network, _ in stored], both), n, f"{words}, {strands}" if strands else words
        )

    def weights(self, runs: list[FrozenTrial]) -> list[str]:
        """SHA-256 of the weights of each run."""
        return [hashlib.sha256(self.artifacts.get(run, WEIGHTS)).hexdigest() for run in runs]

    def shuffled(self, trial: int) -> list[FrozenTrial]:
        """The label-shuffled networks that were stored with this trial's settings."""
        return [
            run
            for run in null_networks(self.storage, self.name, SHUFFLED)
            if run.user_attrs.get("candidate") == trial and self.artifacts.holds(run, WEIGHTS)
        ]

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines that were fitted."""
        return [
            str(run.params["control"])
            for run in stage_trials(self.storage, self.name + CONTROLS)
            if run.state == TrialState.COMPLETE and not is_null(run)
        ]

    def trial(self, number: int) -> FrozenTrial:
        """A trial of the search."""
        return next(t for t in stage_trials(self.storage, self.name) if t.number == number)

    def collapsed(self, trial: int) -> int:
        """Retrained models of a trial that diverged or failed."""
        return sum(
            t.state in (TrialState.PRUNED, TrialState.FAIL) and t.user_attrs.get("candidate") == trial
            for t in stage_trials(self.storage, self.name + CONFIRMATION)
        )


def open_source(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    plan: Plan,
    identity: Mapping[str, Any],
    options: Options,
    *,
    data_dir: Path | None,
    cache: Path | None,
    device: str,
    max_memory: int | None = None,
) -> Source:
    """Load what a report of a stored study needs, and check that it is what the study was made from.

    Raises
    ------
    StudyError
        Data or motif database have changed, the task is unknown, or the study's trials have different data sets.
    DataError, MotifError, DeviceError
        Something is missing or broken; says where, and what to do.
    """
    if plan.space.dataset_names:
        raise StudyError(
            f"{name} varies its data set ({', '.join(plan.space.dataset_names)}), and a report is about one. "
            "Compare its trials with tuner table; report a study of one of these data sets."
        )
    place = str(resolve_device(device))
    dataset = load_dataset(
        plan.data_spec, data_dir=data_dir, cache=cache, max_memory=max_memory, fingerprint=stored_fingerprint(identity)
    )
    if options.task is not None and options.task not in dataset.tasks:
        raise StudyError(f"{name}: {unknown('task', options.task, dataset.tasks)}")
    bench = Bench(plan, dataset.without_test(), load_motifs(plan, cache, identity), place, cache)
    parts = ("data set", "motif database")
    now = json.loads(json.dumps(bench.identity))
    check_identity(name, {p: identity.get(p) for p in parts}, {p: now[p] for p in parts})
    return Source(storage, artifacts, name, identity, bench, dataset, options)
