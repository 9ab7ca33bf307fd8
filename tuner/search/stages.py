"""The stages of a study: search, then confirmation, then controls.

Each stage is a separate Optuna study in the same storage (``zbed2``, ``zbed2.confirmation``, ``zbed2.controls``). The
same workers claim its slots, so resuming, sharing workers and counting are the same as in the search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from tuner.errors import ForeignStudy
from tuner.models.training import EpochRecord
from tuner.results.confirmation import confirmed, declare
from tuner.results.leaderboard import choose_candidates
from tuner.results.nulls import COMPOSITION, NULLS, SHUFFLED
from tuner.search.early_stopping import SearchStopping
from tuner.search.held_out import fold_of
from tuner.search.loaded import Bench
from tuner.search.null_networks import run_null
from tuner.search.sampler import slot_sampler
from tuner.search.trial import BASELINES, Outcome, run_baseline, run_network
from tuner.storage.keys import CONFIRMATION, CONTROLS, FOLDS, IDENTITY, PACKAGES, SHUFFLED_NEGATIVES, SOURCE
from tuner.storage.names import check_name
from tuner.storage.storage import FencedStorage
from tuner.study.objectives import OBJECTIVES
from tuner.study.packages import check_packages, packages
from tuner.study.plan import Plan, check_identity, load_object, mix, plan_source
from tuner.study.space import Scalar

OnEpoch = Callable[[EpochRecord], None]


class Stage(Protocol):
    """A stage of a study: how its slots are created, drawn and run."""

    @property
    def plan(self) -> Plan:
        """The study it belongs to."""
        ...

    @property
    def name(self) -> str:
        """Name of the stage's Optuna study."""
        ...

    @property
    def objectives(self) -> list[str]:
        """Names of the values of a completed slot."""
        ...

    def prepare(self, storage: FencedStorage) -> None:
        """Create what is missing of the study and its slots; any number of workers may call it at once."""
        ...

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Sampler of slot `number`; it depends only on the study seed and the slot."""
        ...

    def suggest(self, trial: optuna.Trial) -> dict[str, Scalar]:
        """Draw the slot's parameters."""
        ...

    def execute(
        self,
        bench: Bench,
        trial: optuna.Trial,
        point: Mapping[str, Scalar],
        checkpoint: Path,
        on_epoch: OnEpoch,
    ) -> Outcome:
        """Do the slot's work."""
        ...


@dataclass(frozen=True)
class Search:
    """The search proper: warm starts, then TPE, up to the budget."""

    plan: Plan
    identity: Mapping[str, Any]
    sets_budget: bool = True
    shuffled: bool | None = None  # whether the negatives are shuffles of the positives; kept by a new study

    @property
    def name(self) -> str:
        """As in the plan."""
        return self.plan.name

    @property
    def objectives(self) -> list[str]:
        """As in the study file."""
        return self.plan.study.objectives

    def prepare(self, storage: FencedStorage) -> None:
        """Create or join the study, set its budget, and enqueue the warm starts once.

        Raises
        ------
        StudyError
            The stored study was created from other files, or has more slots than the budget.
        """
        study_id = join(storage, self.plan, self.identity, shuffled=self.shuffled)
        if self.sets_budget or storage.budget(study_id) is None:
            storage.set_budget(study_id, self.plan.trials)
        starts = self.plan.space.warm_starts[: self.plan.trials]
        for i, start in enumerate(starts):
            storage.enqueue(study_id, start.parameters, {"warm_start": start.source}, once=f"warm-start-{i}")

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A new TPE (multivariate, grouped for conditional parameters, constant liar) or random sampler."""
        seed = mix(self.plan.seed, number, "sampler")
        return slot_sampler(self.plan.sampler, seed=seed, startup=self.plan.startup)

    def suggest(self, trial: optuna.Trial) -> dict[str, Scalar]:
        """Draw a point of the space."""
        return self.plan.space.suggest(trial)

    def execute(
        self,
        bench: Bench,
        trial: optuna.Trial,
        point: Mapping[str, Scalar],
        checkpoint: Path,
        on_epoch: OnEpoch,
    ) -> Outcome:
        """Train and measure, unless stopped at a rung; the seed belongs to the slot, whichever worker runs it."""
        seed, rule = mix(self.plan.seed, trial.number), self.plan.study.search.stopping
        stopping = None if rule is None else SearchStopping(trial, self.objectives, rule)
        return run_network(bench, point, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch, stopping=stopping)


@dataclass(frozen=True)
class Confirmation:
    """Retraining of the candidates, each with the same new seeds (or folds)."""

    plan: Plan

    @property
    def name(self) -> str:
        """``STUDY.confirmation``."""
        return self.plan.name + CONFIRMATION

    @property
    def objectives(self) -> list[str]:
        """The search's objectives."""
        return self.plan.study.objectives

    @property
    def replicates(self) -> int:
        """Runs per candidate: seeds, or folds x seeds."""
        return self.plan.confirmation.seeds * max(1, self.plan.confirmation.folds)

    def prepare(self, storage: FencedStorage) -> None:
        """Choose the candidates from the finished search and enqueue their replicates, each once."""
        trials = storage.get_all_trials(storage.get_study_id_from_name(self.plan.name), deepcopy=False)
        chosen = choose_candidates(trials, self.objectives, self.plan.confirmation.candidates)
        if not chosen:
            return
        study_id = register(storage, self.name, self.objectives)
        by_number = {t.number: t for t in trials}
        for replicate in range(self.replicates):
            for number in chosen:
                storage.enqueue(
                    study_id, by_number[number].params, {"candidate": number, "replicate": replicate},
                    once=f"candidate-{number}-{replicate}", grow=True,
                )  # fmt: skip

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Everything is fixed; the sampler draws nothing."""
        return optuna.samplers.RandomSampler(seed=number)

    def suggest(self, trial: optuna.Trial) -> dict[str, Scalar]:
        """Read back the candidate's parameters."""
        return self.plan.space.suggest(trial)

    def execute(
        self,
        bench: Bench,
        trial: optuna.Trial,
        point: Mapping[str, Scalar],
        checkpoint: Path,
        on_epoch: OnEpoch,
    ) -> Outcome:
        """Train the candidate with the replicate's seed on its split or fold."""
        replicate = int(trial.user_attrs["replicate"])
        folds, dataset = self.plan.confirmation.folds, None
        if folds:
            dataset = fold_of(self.plan, bench.dataset, folds, replicate)
        seed = mix(self.plan.seed, "confirmation", replicate)
        outcome = run_network(bench, point, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch, dataset=dataset)
        return outcome._replace(attributes={**outcome.attributes, FOLDS: folds}) if folds else outcome


@dataclass(frozen=True)
class Controls:
    """Baselines, and null networks with the primary trial's settings.

    Attributes
    ----------
    plan : Plan
        The study.
    paired : bool
        Whether the negatives are dinucleotide shuffles of the positives: then a composition-only network has nothing to
        learn, and none is trained.
    """

    plan: Plan
    paired: bool = False

    @property
    def name(self) -> str:
        """``STUDY.controls``."""
        return self.plan.name + CONTROLS

    @property
    def objectives(self) -> list[str]:
        """The only objective that a baseline has."""
        return ["auroc"]

    def prepare(self, storage: FencedStorage) -> None:
        """Enqueue each baseline, and the null networks of the primary trial, once."""
        study_id = register(storage, self.name, self.objectives)
        for control in BASELINES:
            storage.enqueue(study_id, {"control": control}, {}, once=control, grow=True)
        primary = self._primary(storage)
        if primary is None:
            return
        wanted = {SHUFFLED: self.plan.confirmation.shuffled, COMPOSITION: self._composition(storage, study_id)}
        for kind, count in wanted.items():
            for replicate in range(count):
                storage.enqueue(
                    study_id, {"control": kind}, {"candidate": primary, "replicate": replicate},
                    once=f"{kind}-{replicate}", grow=True,
                )  # fmt: skip

    def _composition(self, storage: FencedStorage, study_id: int) -> int:
        """How many composition-only networks; none in a study whose controls were begun without them."""
        known = known_controls(storage.get_all_trials(study_id, deepcopy=False))
        if known and COMPOSITION not in known:
            return 0
        return self.plan.composition_networks(paired=self.paired)

    def _primary(self, storage: FencedStorage) -> int | None:
        try:
            study_id = storage.get_study_id_from_name(self.plan.name + CONFIRMATION)
        except KeyError:
            return None
        runs = confirmed(storage.get_all_trials(study_id, deepcopy=False))
        verdict = declare(runs, self.plan.study.objectives[0])
        return verdict.primary if verdict else None

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Everything is fixed; the sampler draws nothing."""
        return optuna.samplers.RandomSampler(seed=number)

    def suggest(self, trial: optuna.Trial) -> dict[str, Scalar]:
        """Read back which control this is."""
        known = known_controls(trial.study.get_trials(deepcopy=False))
        return {"control": str(trial.suggest_categorical("control", known or (*BASELINES, *NULLS)))}

    def execute(
        self,
        bench: Bench,
        trial: optuna.Trial,
        point: Mapping[str, Scalar],
        checkpoint: Path,
        on_epoch: OnEpoch,
    ) -> Outcome:
        """Fit the baseline, or train the null network."""
        control = str(point["control"])
        if control not in NULLS:
            return run_baseline(bench, control)
        search = optuna.load_study(study_name=self.plan.name, storage=trial.storage)
        candidate = search.get_trials(deepcopy=False)[int(trial.user_attrs["candidate"])]
        replicate = int(trial.user_attrs["replicate"])
        return run_null(bench, candidate.params, control, replicate=replicate, on_epoch=on_epoch)


def known_controls(trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    """The controls that a study was begun with; empty before its first. A later version may not add to them."""
    begun = next((t.distributions["control"] for t in trials if "control" in t.distributions), None)
    return tuple(map(str, begun.choices)) if isinstance(begun, CategoricalDistribution) else ()


def join(storage: FencedStorage, plan: Plan, identity: Mapping[str, Any], *, shuffled: bool | None = None) -> int:
    """Create the study of a plan, or join the stored one; returns its id.

    `shuffled` says whether the negatives are shuffles of the positives; a new study keeps it if it is given.

    Raises
    ------
    StudyError
        The stored study was created from other files, or with packages whose results are not comparable.
    """
    described = {
        IDENTITY: json.dumps(identity), SOURCE: json.dumps(plan_source(plan)), PACKAGES: json.dumps(packages()),
    }  # fmt: skip
    if shuffled is not None:
        described[SHUFFLED_NEGATIVES] = json.dumps(shuffled)
    check_name_of(storage, plan.name)
    study_id = register(storage, plan.name, plan.study.objectives, described)
    attrs = storage.get_study_system_attrs(study_id)
    stored = attrs.get(IDENTITY)
    if stored is None:
        raise ForeignStudy(f"{plan.name}: another program created a study of this name. Choose another with --name.")
    check_packages(plan.name, attrs.get(PACKAGES))
    check_identity(plan.name, load_object(stored, plan.name, IDENTITY), json.loads(described[IDENTITY]))
    return study_id


def stored_identity(storage: FencedStorage, name: str) -> dict[str, Any] | None:
    """Stored identity of the study of this name; None if there is none, or if it is another program's.

    Raises
    ------
    StudyError
        It is not what tuner writes.
    """
    try:
        attributes = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return None
    return load_object(attributes[IDENTITY], name, IDENTITY) if IDENTITY in attributes else None


def check_name_of(storage: FencedStorage, name: str) -> None:
    """Refuse a name that a plan's study cannot have; an already stored study may have any name.

    Raises
    ------
    StudyError
        The name of a new study breaks the rule, or is that of a stage.
    ForeignStudy
        The study, or one of its stages, belongs to another program.
    """
    known = storage.catalog()
    known.check_free(name)  # first: it says that another name is needed
    if name not in known.searches:
        known.check(name)
        check_name(name)


def register(
    storage: FencedStorage, name: str, objectives: list[str], system_attrs: Mapping[str, str] | None = None
) -> int:
    """Create the stage's Optuna study if it does not exist; returns its id.

    Raises
    ------
    StudyError
        A study of that name has other directions.
    ForeignStudy
        It is another program's.
    """
    if name in (known := storage.catalog()).foreign:
        known.check(name)
    directions = [OBJECTIVES[o].direction for o in objectives]
    return storage.create_or_load(name, directions, metric_names=objectives, system_attrs=system_attrs)
