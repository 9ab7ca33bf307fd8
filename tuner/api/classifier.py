"""`TunerClassifier`: a network of a fixed architecture as a scikit-learn classifier of sequences."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from tuner.data.dataset import Split
from tuner.data.lengths import fit_length
from tuner.data.splits import duplicate_groups, k_fold
from tuner.errors import DataError
from tuner.genome.sequence import encode_one
from tuner.models.architectures import build_model, complete
from tuner.models.calibration import THRESHOLD, Calibration, fit_calibration
from tuner.models.recipe import Recipe
from tuner.models.training import fit
from tuner.predictor.ensemble import Member
from tuner.predictor.predictor import Predictor
from tuner.predictor.reference import Reference

FOLDS = 10  # one of them is the validation part of the training sequences
FEWEST = 10  # held-out sequences of each class without which the networks' own probabilities are left as they are
_SMALL_KERNEL = 7


class TunerClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train networks of one architecture on sequences and labels; no search, no study.

    A tenth of the training sequences is held out to choose the epoch and, if it has ten of each class, to calibrate
    the probabilities. Copies of a sequence stay on one side.

    Parameters
    ----------
    architecture : str
        A name in `tuner.models.architectures.ARCHITECTURES`.
    hyperparameters : dict, optional
        Others than those of the architecture.
    length : int, optional, bp
        Of the networks' input; by default that of the longest training sequence. Shorter sequences are padded with N.
    epochs : int
        Most epochs.
    batch_size : int, optional
        Sequences per step; by default a twentieth of the training sequences, at least 8 and at most 100.
    learning_rate : float
        At the start.
    seeds : int
        How many networks are trained; their mean logit counts.
    random_state : int
        Seeds the weights, the order of the sequences, and the part that is held out.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape=(2,)
        The labels; the second one is the positive class.
    predictor_ : Predictor
        The trained ensemble, which can be saved.
    """

    def __init__(
        self,
        architecture: str = "cnn",
        *,
        hyperparameters: dict[str, Any] | None = None,
        length: int | None = None,
        epochs: int = 20,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        seeds: int = 1,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.architecture = architecture
        self.hyperparameters = hyperparameters
        self.length = length
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seeds = seeds
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        """Say that the input is text and that there are two classes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train.

        Parameters
        ----------
        X : sequence of str
            Sequences, of any length.
        y : sequence
            A label for each; two different ones.

        Raises
        ------
        ValueError
            The labels are not of two classes, or do not fit the sequences.
        DataError, ModelError, DeviceError
            A sequence is not DNA, there is no such network, or no such device.
        """
        texts = _texts(X)
        labels = np.asarray(y)
        check_consistent_length(texts, labels)
        check_classification_targets(labels)
        self.classes_, positive = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(
                f"the labels are of {len(self.classes_)} classes; this classifier tells two apart, bound and unbound."
            )
        counts = np.bincount(positive)
        if counts.min() < 2:
            raise ValueError(f"the labels {self.classes_.tolist()} have {counts.tolist()} sequences; each needs two.")
        found = [encode_one(text, f"sequence {i}") for i, text in enumerate(texts)]
        length = max(map(len, found)) if self.length is None else int(self.length)
        codes = np.stack([fit_length(one, length) for one in found])
        targets = positive.astype(np.uint8)[:, None]
        seed = int(self.random_state or 0)
        settings = self._settings(length)
        train, valid = _parts(codes, targets, seed)
        recipe = Recipe(
            epochs=self.epochs,
            batch_size=min(max(len(train) // 20, 8), 100) if self.batch_size is None else self.batch_size,
            learning_rate=self.learning_rate,
            patience=max(self.epochs, 1),
        )
        members = []
        for i in range(max(int(self.seeds), 1)):
            network = build_model(settings, n_tasks=1, length=length, seed=seed + i)
            fit(network, train, valid, recipe, seed=seed + i, device=self.device)
            members.append(Member(f"seed {seed + i}", network.cpu().eval(), settings, recipe.average_strands))
        self.predictor_ = _calibrated(tuple(members), str(self.classes_[1]), length, valid)
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Mean logit of the second class, shape=(n,)."""
        return self._scores(X, "logit")

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, shape=(n, 2), in the order of `classes_`."""
        chance = self._scores(X, "probability")
        return np.stack([1.0 - chance, chance], axis=1)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The more probable label of each sequence, shape=(n,)."""
        likely = self._scores(X, "probability") >= 0.5
        return np.asarray(self.classes_[likely.astype(int)])

    def _scores(self, sequences: Any, column: str) -> npt.NDArray[np.float64]:
        check_is_fitted(self, "predictor_")
        table = self.predictor_.predict(_texts(sequences), device=self.device)
        return np.asarray(table[column], dtype=np.float64)

    def _settings(self, length: int) -> dict[str, Any]:
        """Complete hyperparameters; the first kernel shrinks to short sequences unless it is given."""
        given = dict(self.hyperparameters or {})
        settings = complete({"architecture": self.architecture, **given})
        kernel = settings.get("kernel_size")
        if "kernel_size" not in given and isinstance(kernel, int) and kernel > length:
            settings["kernel_size"] = min(_SMALL_KERNEL, length)
        return settings


def _texts(sequences: Any) -> list[str]:
    """Sequences as a list; text in one column of a table is taken, too."""
    if isinstance(sequences, str):
        raise ValueError("expected a sequence of texts, got one text; put it into a list.")
    if hasattr(sequences, "tocsr"):
        raise ValueError("expected a sequence of texts, got a sparse matrix.")
    array = np.asarray(sequences, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"expected a one-dimensional sequence of texts; got an array of shape {array.shape}.")
    if not len(array):
        raise ValueError("found 0 sequences; at least 1 is required.")
    for i, one in enumerate(array):
        if not isinstance(one, str) or not one:
            raise DataError(f"sequence {i} is {one!r}; expected text.")
    return [str(one) for one in array]


def _parts(codes: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], seed: int) -> tuple[Split, Split]:
    """Training and validation part; with too few sequences for both, all of them are either."""
    whole = Split(codes, labels)
    folds = min(FOLDS, int(np.bincount(labels[:, 0]).min()))
    groups = duplicate_groups(codes)
    held_out = k_fold(labels, folds, seed=seed, groups=groups) == 0
    parts = whole.take(~held_out), whole.take(held_out)
    if any(len(np.unique(part.labels)) < 2 for part in parts) or len(parts[0]) < 4:
        return whole, whole
    return parts


def _calibrated(members: tuple[Member, ...], task: str, length: int, valid: Split) -> Predictor:
    from tuner.predictor.ensemble import member_logits

    logits = member_logits(members, valid.codes, "cpu").mean(axis=0, dtype=np.float64)
    positives = int(valid.labels.sum())
    negatives = len(valid) - positives
    if min(positives, negatives) >= FEWEST:
        calibration = fit_calibration(valid.labels, logits)
    else:
        calibration = Calibration((1.0,), (0.0,), (THRESHOLD,), (positives,), (negatives,))
    return Predictor(
        members=members, tasks=(task,), length=length, calibration=calibration,
        references=(Reference.of(valid.labels[:, 0], logits[:, 0]),),
    )  # fmt: skip
