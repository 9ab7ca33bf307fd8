"""The state of a training run, and the rules by which it lowers the learning rate, begins to fine-tune and stops."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tuner.models.recipe import Recipe

# In Keras' ReduceLROnPlateau, an epoch is an improvement only if its gain exceeds this.
_DECAY_MIN_DELTA = 1e-4


class EpochRecord(NamedTuple):
    """The record of one finished epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, starting from 1.
    loss : float, nats
        Mean binary cross-entropy per training sequence and task, without penalties.
    valid_loss : float, nats
        Mean binary cross-entropy per validation sequence and task, without label smoothing.
    auroc, average_precision : float
        Scores on the validation split, macro averages over tasks.
    learning_rate : float
        Learning rate of this epoch.
    seconds : float
        Wall time of training and validation.
    micro_auroc, micro_aupr : float
        Scores on the validation split with all (sequence, task) pairs as one task, the AUPR by trapezoids; NaN in
        records of older versions.
    gradient_mean, gradient_sd : float
        Mean and standard deviation, over the weights of the first layer, of the gradient of the mean training loss
        after the epoch, in evaluation mode; NaN unless the recipe asks for gradients.
    """

    epoch: int
    loss: float
    valid_loss: float
    auroc: float
    average_precision: float
    learning_rate: float
    seconds: float
    micro_auroc: float = math.nan
    micro_aupr: float = math.nan
    gradient_mean: float = math.nan
    gradient_sd: float = math.nan

    def monitored(self, monitor: str) -> float:
        """Value of the monitored score, with the sign that makes higher values better."""
        return -self.valid_loss if monitor == "loss" else float(getattr(self, monitor))


@dataclass
class Progress:
    """The state of a training run except its tensors; stored in the checkpoint."""

    learning_rate: float
    history: list[EpochRecord] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    decay_best: float | None = None
    decay_waited: int = 0
    finetune_after: int | None = None  # number of epochs before the first on unaltered sequences

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Wall time of all epochs, including those before a resume."""
        return sum(record.seconds for record in self.history)

    def add(self, record: EpochRecord, recipe: Recipe) -> bool:
        """Add a finished epoch; return True if it is the best so far.

        As in Keras' two callbacks, any gain resets early stopping, but only a gain above 1e-4 resets the plateau.
        """
        self.history.append(record)
        value = record.monitored(recipe.monitor)
        if self.finetune_after is None:
            if recipe.schedule == "cosine":
                self.learning_rate = self._annealed(recipe)
            elif recipe.schedule == "plateau":
                self._decay(value, recipe)
        is_best = self.best is None or value > self.best
        if is_best:
            self.best, self.best_epoch, self.waited = value, record.epoch, 0
        else:
            self.waited += 1
        if recipe.finetuning and self.finetune_after is None and self._stopped(recipe):
            self.finetune_after, self.learning_rate = self.epoch, recipe.finetune_rate
        return is_best

    def _decay(self, value: float, recipe: Recipe) -> None:
        """Lower the learning rate if the monitored value no longer improves."""
        if self.decay_best is None or value > self.decay_best + _DECAY_MIN_DELTA:
            self.decay_best, self.decay_waited = value, 0
        else:
            self.decay_waited += 1
            if self.decay_waited >= recipe.decay_patience:
                floor = min(recipe.minimum_learning_rate, self.learning_rate)
                self.learning_rate = max(self.learning_rate * recipe.decay_factor, floor)
                self.decay_waited = 0

    def _annealed(self, recipe: Recipe) -> float:
        """Learning rate of the next epoch on the cosine schedule."""
        share = 0.5 * (1.0 + math.cos(math.pi * self.epoch / (recipe.epochs - recipe.finetuning)))
        return max(recipe.learning_rate * share, min(recipe.minimum_learning_rate, recipe.learning_rate))

    def stopped(self, recipe: Recipe, time_limit: float | None) -> str | None:
        """Why no further epoch is trained: ``"patience"``, ``"epochs"`` or ``"time"``; None if training continues."""
        reason = self._stopped(recipe)
        if self.finetune_after is not None and self.epoch < self.finetune_after + recipe.finetuning:
            reason = None
        if reason is not None:
            return reason
        if self.epoch and time_limit is not None and self.seconds >= time_limit:
            return "time"
        return None

    def _stopped(self, recipe: Recipe) -> str | None:
        """Why no further epoch is trained before those on unaltered sequences, if there are any."""
        if self.finetune_after is not None:
            return "patience" if self.finetune_after < recipe.epochs - recipe.finetuning else "epochs"
        if self.epoch and self.waited >= recipe.patience:
            return "patience"
        return "epochs" if self.epoch >= recipe.epochs - recipe.finetuning else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON, which stores floats exactly."""
        return dataclasses.asdict(self) | {"history": [list(record) for record in self.history]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """Rebuild the state from the values of `to_json`."""
        return cls(**(values | {"history": [EpochRecord(*row) for row in values["history"]]}))
