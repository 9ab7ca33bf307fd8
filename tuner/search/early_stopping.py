"""Early stopping: decides at each rung (an epoch) whether a trial continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from tuner.storage.rungs import Decision
from tuner.storage.storage import FencedStorage
from tuner.study.objectives import OBJECTIVES
from tuner.study.stopping import StoppingSection


class EarlyStopping(Protocol):
    """Decides at some epochs whether a training continues."""

    @property
    def rungs(self) -> Sequence[int]:
        """Epochs at which it decides."""
        ...

    def known(self, rung: int) -> Decision | None:
        """The decision that an earlier attempt of the trial got at this rung; None if there is none yet."""
        ...

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Decide from the objective values of the network that training would return now."""
        ...


@dataclass(frozen=True)
class SearchStopping:
    """Compares a trial with those of its study that reached the rung earlier.

    Parameters
    ----------
    trial : optuna.Trial
        A trial of a FencedStorage, claimed by this process.
    objectives : sequence of str
        Names, in the study's order.
    rule : StoppingSection
        The study's stopping rule.
    """

    trial: optuna.Trial
    objectives: Sequence[str]
    rule: StoppingSection

    @property
    def storage(self) -> FencedStorage:
        """The storage of the trial, shared by all workers."""
        assert isinstance(self.trial.storage, FencedStorage)  # no other storage hands out slots
        return self.trial.storage

    @property
    def rungs(self) -> Sequence[int]:
        """As in the study file."""
        return self.rule.rungs

    def known(self, rung: int) -> Decision | None:
        """Read the stored decision."""
        return self.storage.known_rung(self.trial, rung)

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Decide and store the decision, which is the same for every attempt of the trial."""
        own = {name: values[name] for name in self.objectives}
        return self.storage.enter_rung(self.trial, rung, own, signs=signs(self.objectives), decide=self.rule.decide)


@dataclass(frozen=True)
class StopsAt:
    """Ends a training at the epoch at which a stored trial was stopped."""

    rung: int

    @property
    def rungs(self) -> Sequence[int]:
        """The one epoch."""
        return [self.rung]

    def known(self, rung: int) -> Decision | None:
        """Stop there."""
        return Decision(False, f"epoch {self.rung}")

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Stop there."""
        return Decision(False, f"epoch {self.rung}")


def signs(objectives: Sequence[str]) -> dict[str, float]:
    """Objective -> 1 if larger is better, -1 if smaller is."""
    return {name: 1.0 if OBJECTIVES[name].direction == "maximize" else -1.0 for name in objectives}
