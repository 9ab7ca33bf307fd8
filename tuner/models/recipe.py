"""The training recipe: every setting of a training run, and the recipes of publications."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tuner.errors import UsageError, unknown
from tuner.models.progress import EpochRecord, Progress

__all__ = ["RECIPES", "WORDS", "EpochRecord", "Progress", "Recipe"]

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
    "augment_max": (0, 7),
    "augment_insertion": (0, math.inf),
    "augment_deletion": (0, math.inf),
    "augment_translocation": (0, math.inf),
    "augment_inversion": (0, math.inf),
    "augment_mutation": (0, 0.75),
    "augment_noise": (0, math.inf),
    "augment_reverse_complement": (0, 1),
    "finetune_epochs": (0, math.inf),
}
# Settings that are a number or one of these words.
WORDS: Mapping[str, tuple[str, ...]] = {"positive_weight": ("balanced",)}
# Settings that were added after studies had been stored, with the values that change nothing: at these, the identity of
# a recipe is what it was before.
_LATER: Mapping[str, object] = {
    "input_noise": 0.0,
    "gradients": False,
    "augment_max": 0,
    "augment_hard": True,
    "augment_insertion": 20,
    "augment_deletion": 30,
    "augment_translocation": 20,
    "augment_inversion": 0,
    "augment_mutation": 0.05,
    "augment_noise": 0.2,
    "augment_reverse_complement": 0.0,
    "finetune_epochs": 0,
    "finetune_rate": 1e-4,
    "positive_weight": 1.0,
    "balanced_batches": False,
}
# In the order in which they are applied.
_TRANSFORMS = ("reverse_complement", "insertion", "deletion", "translocation", "inversion", "mutation", "noise")


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
    augment_max : int
        Number of different transforms (EvoAug) of each training sequence, drawn again in each epoch; 0 for none.
    augment_hard : bool
        Whether each sequence gets exactly `augment_max` transforms, rather than a number drawn from 1 to `augment_max`.
    augment_insertion, augment_deletion, augment_translocation, augment_inversion : int, bp
        Largest number of bases that are inserted, deleted, moved from one end to the other, or inverted; 0 leaves this
        transform out.
    augment_mutation : float
        Expected fraction of bases that are mutated; 0 leaves the transform out.
    augment_noise : float
        Standard deviation of Gaussian noise on the one-hot sequence, not clipped; 0 leaves the transform out.
    augment_reverse_complement : float
        Probability of the reverse complement as one of the transforms, in addition to `reverse_complement`.
    finetune_epochs : int
        Number of last epochs, of `epochs`, that show the training sequences without transforms, shifts and input noise,
        at the constant learning rate `finetune_rate`. They begin from the best weights (with `weights = "best"`) and
        with new moments of Adam, earlier if `patience` ends the epochs before them. At least one epoch comes before.
    finetune_rate : float
        Learning rate of these epochs.
    positive_weight : float or str
        Factor of the loss of positives, or ``"balanced"``: negatives over positives of each task in training.
    balanced_batches : bool
        Whether the classes are equally frequent in each batch; see `tuner.models.balance`.
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
    augment_max: int = 0
    augment_hard: bool = True
    augment_insertion: int = 20  # the strengths are those of DeepDifE
    augment_deletion: int = 30
    augment_translocation: int = 20
    augment_inversion: int = 0
    augment_mutation: float = 0.05
    augment_noise: float = 0.2
    augment_reverse_complement: float = 0.0
    finetune_epochs: int = 0
    finetune_rate: float = 1e-4
    positive_weight: float | str = 1.0
    balanced_batches: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(unknown(f"value of {name}", getattr(self, name), choices))
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} = {getattr(self, name)}; expected {low:g} to {high:g}.")
        for name in ("learning_rate", "adam_epsilon", "finetune_rate", "positive_weight"):
            value = getattr(self, name)
            if isinstance(value, str) and name in WORDS:
                if value not in WORDS[name]:
                    raise UsageError(f"{unknown(f'value of {name}', value, WORDS[name])} A number is allowed, too.")
            elif not 0 < value < math.inf:
                raise UsageError(f"{name} = {value}; expected a number above 0.")

    def settings(self) -> dict[str, Any]:
        """Every setting by name, the recipe's identity; without settings of `_LATER` that change nothing."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _LATER or v != _LATER[k]}

    def transforms(self) -> dict[str, float]:
        """Strengths of the transforms that are used, by name, in the order in which they are applied."""
        strengths = {name: getattr(self, f"augment_{name}") for name in _TRANSFORMS}
        return {name: strength for name, strength in strengths.items() if strength > 0} if self.augment_max else {}

    @property
    def finetuning(self) -> int:
        """Number of epochs on unaltered sequences: `finetune_epochs`, or fewer if no other epoch would be left."""
        return min(self.finetune_epochs, self.epochs - 1)


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
