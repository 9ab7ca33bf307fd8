"""The stage of a grid study: every point of the space, each with the same replicate seeds.

Its slots are claimed like those of a search, so workers, resuming, storage and dashboard are the same. A slot is
identified by its point and its replicate, not by its number: parts of a grid may be run in any order, and none is run
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna

from tuner.errors import StudyError
from tuner.models.training import EpochRecord
from tuner.results.leaderboard import stage_trials
from tuner.search.loaded import Bench
from tuner.search.stages import join
from tuner.search.trial import Outcome, run_network
from tuner.storage.storage import FencedStorage
from tuner.study.grid import WHOLE, Part, as_stored, select_points, slot_key
from tuner.study.plan import Plan, mix
from tuner.study.space import Scalar

REPLICATE = "replicate"


@dataclass(frozen=True)
class Grid:
    """Every point of the space with each replicate seed, one replicate after the other.

    With `part` None, as in a worker that joins, no slot is added to a grid that has some.
    """

    plan: Plan
    identity: Mapping[str, object]
    part: Part | None = WHOLE
    shuffled: bool | None = None

    @property
    def name(self) -> str:
        """As in the plan."""
        return self.plan.name

    @property
    def objectives(self) -> list[str]:
        """As in the study file."""
        return self.plan.study.objectives

    def prepare(self, storage: FencedStorage) -> None:
        """Create or join the study and enqueue those of the wanted slots that it does not have yet.

        Raises
        ------
        StudyError
            The stored study was created from other files, or the part names something that the grid does not have.
        """
        study_id = join(storage, self.plan, self.identity, shuffled=self.shuffled)
        part = self.part
        if part is None:
            if storage.budget(study_id) is not None:
                return
            part = WHOLE
        points = select_points(self.plan.space, part.only)
        if not points:
            raise StudyError(f"{self.name}: no point of the grid matches --only.")
        stored = (trial.system_attrs.get("fixed_params", {}) for trial in stage_trials(storage, self.name))
        points = as_stored(points, stored)
        replicates = self.plan.replicates if part.replicates is None else part.replicates
        if not 1 <= replicates <= self.plan.replicates:
            raise StudyError(f"{self.name}: --seeds {replicates}; the study has {self.plan.replicates} replicates.")
        storage.enqueue_many(
            study_id,
            [
                (slot_key(point, replicate), point, {REPLICATE: replicate})
                for replicate in range(replicates)
                for point in points
            ],
        )

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """All parameters are fixed, so the sampler draws nothing."""
        return optuna.samplers.RandomSampler(seed=number)

    def suggest(self, trial: optuna.Trial) -> dict[str, Scalar]:
        """Read back the slot's point."""
        return self.plan.space.suggest(trial)

    def execute(
        self,
        bench: Bench,
        trial: optuna.Trial,
        point: Mapping[str, Scalar],
        checkpoint: Path,
        on_epoch: Callable[[EpochRecord], None],
    ) -> Outcome:
        """Train and measure; all points share the seed of a replicate, so that they can be compared in pairs."""
        seed = mix(self.plan.seed, "replicate", int(trial.user_attrs[REPLICATE]))
        return run_network(bench, point, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch)
