"""What a training asks at its rungs: whether it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from tuner.storage.rungs import Decision
from tuner.storage.storage import FencedStorage
from tuner.study.objectives import OBJECTIVES
from tuner.study.stopping import StoppingSection


class Gate(Protocol):
    """Decides at some epochs whether a training goes on."""

    @property
    def rungs(self) -> Sequence[int]:
        """The epochs."""
        ...

    def known(self, rung: int) -> Decision | None:
        """What an earlier attempt was told there; None if nothing was decided yet."""
        ...

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Decide by the objective values of the network that training would return now."""
        ...


@dataclass(frozen=True)
class SearchGate:
    """Compares a trial with the others of its study that reached the rung before.

    Parameters
    ----------
    trial : optuna.Trial
        Of a FencedStorage, claimed by this process.
    objectives : sequence of str
        Names, in the study's order.
    rule : StoppingSection
        Of the study.
    """

    trial: optuna.Trial
    objectives: Sequence[str]
    rule: StoppingSection

    @property
    def storage(self) -> FencedStorage:
        """Shared by all workers."""
        assert isinstance(self.trial.storage, FencedStorage)  # no other storage hands out slots
        return self.trial.storage

    @property
    def rungs(self) -> Sequence[int]:
        """As in the study file."""
        return self.rule.rungs

    def known(self, rung: int) -> Decision | None:
        """Read what was decided."""
        return self.storage.known_rung(self.trial, rung)

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Decide and store; the same answer to every attempt of the trial."""
        own = {name: values[name] for name in self.objectives}
        return self.storage.enter_rung(self.trial, rung, own, signs=signs(self.objectives), decide=self.rule.decide)


@dataclass(frozen=True)
class EndsAt:
    """Ends a training at an epoch, as a stored trial was ended there."""

    rung: int

    @property
    def rungs(self) -> Sequence[int]:
        """The one epoch."""
        return [self.rung]

    def known(self, rung: int) -> Decision | None:
        """It ends there."""
        return Decision(False, f"epoch {self.rung}")

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """It ends there."""
        return Decision(False, f"epoch {self.rung}")


def signs(objectives: Sequence[str]) -> dict[str, float]:
    """Objective -> 1 where larger is better, -1 where smaller is."""
    return {name: 1.0 if OBJECTIVES[name].direction == "maximize" else -1.0 for name in objectives}
