"""The training recipe, and the rules by which it lowers the learning rate and stops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from tuner.errors import UsageError, unknown

# In Keras' ReduceLROnPlateau, an epoch is an improvement only if its gain exceeds this.
_DECAY_MIN_DELTA = 1e-4

_CHOICES = {
    "schedule": ("plateau", "cosine", "constant"),
    "monitor": ("auroc", "average_precision", "micro_auroc", "micro_aupr", "loss"),
    "weights": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
}
# name -> (lowest, highest) allowed value, both inclusive
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "patience": (1, math.inf),
    "batch_size": (2, math.inf),  # batch norm cannot compute a variance from one sequence
    "decay_factor": (0, 1),
    "decay_patience": (1, math.inf),
    "minimum_learning_rate": (0, math.inf),
    "shift": (0, math.inf),
    "l2": (0, math.inf),
    "weight_decay": (0, math.inf),
    "label_smoothing": (0, 0.999),
    "input_noise": (0, math.inf),
}
# Settings that were added after studies had been stored, with the values that change nothing: at these, the identity of
# a recipe is what it was before.
_LATER: Mapping[str, object] = {"input_noise": 0.0, "gradients": False}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are our own; `RECIPES` has those of publications.

    The defaults were chosen by cross-validation over the training and validation sequences of ZBED2, on two folds with
    one seed: networks trained for 20 epochs on a cosine schedule ranked no lower than the paper's network trained
    for 33 and 60 epochs with plateau decay. The two differ in more than the schedule.

    Parameters
    ----------
    epochs : int
        Largest number of epochs.
    patience : int
        Stop after this many consecutive epochs without a new best value of `monitor`.
    learning_rate : float
        Adam's learning rate at the start.
    minimum_learning_rate : float
        Learning rate below which no schedule goes.
    batch_size : int
        Sequences per step.
    schedule : str
        ``"plateau"``: lower the learning rate when `monitor` no longer improves; ``"cosine"``: half a cosine from
        `learning_rate` in the first epoch towards 0 after the last (Loshchilov & Hutter 2017);
        ``"constant"``: never change it.
    decay_factor, decay_patience : float, int
        Factor and number of epochs of the plateau schedule: the learning rate is multiplied by `decay_factor` after
        each `decay_patience` consecutive epochs that did not raise `monitor` by more than 1e-4.
    monitor : str
        Score on the validation split: ``"auroc"`` or ``"average_precision"`` (macro averages over tasks),
        ``"micro_auroc"`` or ``"micro_aupr"`` (all tasks as one, the second by trapezoids: the values that Keras' AUC
        metrics approximate), or ``"loss"``.
    weights : str
        Which weights are kept: ``"best"``, those of the epoch with the best `monitor`, or ``"last"``, those of the
        last epoch.
    reverse_complement : bool
        Whether each epoch shows each training sequence as its reverse complement with probability one half.
    average_strands : bool
        Whether predictions, also on the validation split, are the mean logit of both strands.
    shift : int, bp
        Shift each training sequence by up to this many positions in either direction; the gap is filled with N.
    l2 : float
        Factor of the L2 penalty, the sum of squared kernel weights that the network declares.
    weight_decay : float
        Decoupled decay (AdamW) of every weight matrix and kernel; biases and batch norm are not decayed.
    label_smoothing : float
        Amount s of label smoothing: the target is label * (1 - s) + s / 2.
    input_noise : float
        Standard deviation of Gaussian noise on the one-hot training inputs, which are then clipped to [0, 1]. It is
        drawn again in each epoch; predictions are made without noise.
    adam_epsilon : float
        Number added to the root of Adam's second moment.
    gradients : bool
        Whether to record after each epoch the mean and standard deviation of the loss gradient of the first layer's
        weights, over all training sequences; an epoch then takes about twice as long.
    precision : str
        ``"float32"``, ``"bfloat16"`` (autocast while training), or ``"auto"``: bfloat16 where the hardware
        computes it natively.

    Raises
    ------
    UsageError
        If a value is out of its range.
    """

    epochs: int = 20
    patience: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 100
    schedule: str = "cosine"
    decay_factor: float = 0.2
    decay_patience: int = 5
    minimum_learning_rate: float = 1e-7
    monitor: str = "auroc"
    weights: str = "best"  # Koo & Ploenzke evaluate the last epoch
    reverse_complement: bool = True  # they append fixed reverse-complement copies instead
    average_strands: bool = True
    shift: int = 0
    l2: float = 1e-6
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    input_noise: float = 0.0
    gradients: bool = False
    adam_epsilon: float = 1e-7  # Keras' default; PyTorch's is 1e-8
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(unknown(f"value of {name}", getattr(self, name), choices))
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} = {getattr(self, name)}; expected {low:g} to {high:g}.")
        for name in ("learning_rate", "adam_epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} = {getattr(self, name)}; expected a number above 0.")

    def settings(self) -> dict[str, Any]:
        """Every setting by name, the recipe's identity; without settings of `_LATER` that change nothing."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _LATER or v != _LATER[k]}


# Every row sets what its source does differently from our defaults. All use Keras' epsilon for Adam; all publications
# trained in float32.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "default": Recipe(),
        # Koo & Ploenzke (2021), Methods and training code: both callbacks watch the AUPR for synthetic and in vivo
        # multi-task data (set monitor = "micro_aupr"), the AUROC elsewhere; no weights are restored. Reverse
        # complements are added for the ChIP-seq and DNase sets only (set reverse_complement = true).
        "koo2021": Recipe(
            epochs=100,
            patience=20,
            learning_rate=1e-3,
            batch_size=100,
            schedule="plateau",
            decay_factor=0.2,
            decay_patience=5,
            minimum_learning_rate=1e-7,
            monitor="auroc",
            weights="last",
            reverse_complement=False,
            average_strands=False,
            l2=1e-6,
            precision="float32",
        ),
        # The exercise on planted motifs: no penalty, a constant learning rate, weights of the lowest validation loss.
        "hw4": Recipe(
            epochs=10,
            patience=3,
            batch_size=128,
            schedule="constant",
            monitor="loss",
            weights="best",
            reverse_complement=False,
            average_strands=False,
            l2=0.0,
            precision="float32",
        ),
        # The FOXO1 exercise: ten epochs without callbacks.
        "foxo1": Recipe(
            epochs=10,
            patience=10,
            batch_size=256,
            schedule="constant",
            monitor="loss",
            weights="last",
            reverse_complement=False,
            average_strands=False,
            l2=0.0,
            precision="float32",
        ),
        # DeepDifE appends reverse complements and scores the mean of both strands.
        "deepdife": Recipe(
            epochs=100,
            patience=20,
            batch_size=100,
            schedule="plateau",
            decay_factor=0.1,
            decay_patience=5,
            minimum_learning_rate=1e-7,
            monitor="loss",
            weights="best",
            reverse_complement=True,
            average_strands=True,
            l2=1e-6,
            precision="float32",
        ),
    }
)
"""Name -> recipe; a study's [training] may start from one."""


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
        if recipe.schedule == "cosine":
            self.learning_rate = self._annealed(recipe)
        elif recipe.schedule == "plateau":
            self._decay(value, recipe)
        if self.best is None or value > self.best:
            self.best, self.best_epoch, self.waited = value, record.epoch, 0
            return True
        self.waited += 1
        return False

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
        share = 0.5 * (1.0 + math.cos(math.pi * self.epoch / recipe.epochs))
        return max(recipe.learning_rate * share, min(recipe.minimum_learning_rate, recipe.learning_rate))

    def stopped(self, recipe: Recipe, time_limit: float | None) -> str | None:
        """Why no further epoch is trained: ``"patience"``, ``"epochs"`` or ``"time"``; None if training continues."""
        if self.epoch and self.waited >= recipe.patience:
            return "patience"
        if self.epoch >= recipe.epochs:
            return "epochs"
        if self.epoch and time_limit is not None and self.seconds >= time_limit:
            return "time"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON, which stores floats exactly."""
        return dataclasses.asdict(self) | {"history": [list(record) for record in self.history]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """Rebuild the state from the values of `to_json`."""
        return cls(**(values | {"history": [EpochRecord(*row) for row in values["history"]]}))
