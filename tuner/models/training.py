"""`fit`: one training run of one network, independent of trials and studies.

Every random draw of epoch e is a function of (seed, e) alone: the permutation, strands, shifts and transforms
come from NumPy generators, dropout and input noise from torch's, and all are seeded again at the start of each epoch.
A run resumed from a checkpoint therefore needs no random state, and equals the uninterrupted run bit for bit on the
same machine with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tuner.data.dataset import Split
from tuner.errors import DataError, ModelError, TrainingDiverged
from tuner.genome.sequence import one_hot
from tuner.models.balance import classes, loss_of, positive_weights
from tuner.models.batches import EpochOrder, batch_bounds, epoch_seed
from tuner.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tuner.models.memory import keep_freed_memory
from tuner.models.metrics import auroc, average_precision, micro
from tuner.models.optimizer import KernelAdam
from tuner.models.prediction import exact_kernels, flip_strand, predict, resolve_device
from tuner.models.recipe import EpochRecord, Progress, Recipe
from tuner.models.recording import recorder_for
from tuner.models.step import Step

log = logging.getLogger("tuner.training")

__all__ = ["EpochRecord", "Recipe", "Trained", "fit", "predict", "resolve_device", "resolve_precision"]

_GRADIENT_BATCH, _DIGEST_BLOCK = 500, 4096  # sequences


class Trained(NamedTuple):
    """Outcome of a training run.

    Attributes
    ----------
    history : tuple of EpochRecord
        Records of all epochs, including those before a resume.
    best_epoch : int
        Epoch (starting from 1) with the best monitored score.
    chosen_epoch : int
        Epoch whose weights the network now has: the best or the last one, depending on the recipe.
    stopped : str
        Why training ended: ``"epochs"``, ``"patience"``, ``"time"`` or ``"rung"``.
    seconds : float
        Wall time of all epochs.
    resumed_from : int
        Number of epochs that came from a checkpoint; 0 for a run from the start.
    notes : tuple of str
        Why a checkpoint was ignored or could not be written, or why steps on a GPU are not recorded.
    logits : numpy.ndarray or None, shape=(n_valid, n_tasks), float32
        Validation predictions of the network's weights, from `tuner.models.prediction.predict`; None if they were
        made before a resume.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    chosen_epoch: int
    stopped: str
    seconds: float
    resumed_from: int
    notes: tuple[str, ...]
    logits: npt.NDArray[np.float32] | None = None

    @property
    def chosen(self) -> EpochRecord:
        """Scores of the weights that the network now has."""
        return self.history[self.chosen_epoch - 1]


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Choose the type in which training computes convolutions and matrix products.

    Parameters
    ----------
    precision : str
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware multiplies it natively
        (elsewhere it is emulated, and slower than float32).
    device : torch.device
        Device on which the network is trained.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


@contextmanager
def _epoch_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and restore its global random state afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


class _Run:
    """A network in training, with everything that a checkpoint must contain."""

    def __init__(self, model: nn.Module, train: Split, valid: Split, recipe: Recipe, device: torch.device):
        self.model = model.to(device)
        self.recipe = recipe
        self.device = device
        self.valid = valid
        self.codes = torch.from_numpy(np.ascontiguousarray(train.codes)).to(device)
        smoothing = recipe.label_smoothing
        labels = torch.from_numpy(np.ascontiguousarray(train.labels)).to(device, torch.float32)
        self.targets = labels * (1 - smoothing) + smoothing / 2
        recorder = recorder_for(device)
        self.optimizer = KernelAdam(
            model, l2=recipe.l2, weight_decay=recipe.weight_decay, epsilon=recipe.adam_epsilon,
            recordable=recorder is not None,
        )  # fmt: skip
        precision = resolve_precision(recipe.precision, device)
        self.groups, self.weights = classes(train.labels), positive_weights(train.labels, recipe, device)
        self.step = Step(
            model, self.codes, self.targets, self.optimizer,
            autocast=precision, positive_weights=self.weights, recorder=recorder,
        )  # fmt: skip
        self.progress = Progress(learning_rate=recipe.learning_rate)
        self.best: dict[str, torch.Tensor] = {}
        self.logits: npt.NDArray[np.float32] | None = None  # of the weights that would be returned now

    def train_epoch(self, seed: int) -> float:
        """Train for one epoch, and return the mean loss per sequence and task."""
        epoch, finetune_after = self.progress.epoch + 1, self.progress.finetune_after
        if finetune_after == self.progress.epoch:
            self.optimizer.reset()
            self.model.load_state_dict(self.best or self.model.state_dict())
        self.optimizer.learning_rate = self.progress.learning_rate
        n, length = self.codes.shape
        order = EpochOrder.draw(
            n, self.recipe, seed, self.device, length=length, groups=self.groups, finetune=finetune_after is not None
        )
        bounds = batch_bounds(n, self.recipe.batch_size)
        losses: list[torch.Tensor] = []
        self.model.train()
        with _epoch_randomness(seed, self.device), exact_kernels(self.device):
            for number, (first, last) in enumerate(bounds, start=1):
                loss = self.step(order.part(first, last), opens_epoch=number == 1)
                # Reading a loss from a GPU waits for it, so on a GPU the losses are checked once per epoch.
                if self.device.type == "cpu" and not math.isfinite(loss.item()):
                    raise _diverged(epoch, number, f"the training loss is {loss.item()}")
                losses.append(loss)
        values = torch.stack(losses).double().cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise _diverged(epoch, int(bad[0]) + 1, f"the training loss is {values[bad[0]]}")
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise _diverged(epoch, len(bounds), f"{name} is not finite")
        return float(np.average(values, weights=[last - first for first, last in bounds]))

    def validate(self) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
        """Return validation logits, and scores by their names in EpochRecord; a logit of NaN or inf is an error."""
        logits = predict(self.model, self.valid.codes, device=self.device, average_strands=self.recipe.average_strands)
        if not np.isfinite(logits).all():
            raise _diverged(self.progress.epoch + 1, None, "a validation logit is not finite")
        labels = self.valid.labels
        loss = binary_cross_entropy_with_logits(
            torch.from_numpy(logits).double(), torch.from_numpy(labels.astype(np.float64))
        ).item()
        scores = {
            "valid_loss": loss,
            "auroc": auroc(labels, logits),
            "average_precision": average_precision(labels, logits),
            "micro_auroc": micro("auroc", labels, logits),
            "micro_aupr": micro("trapezoid_aupr", labels, logits),
        }
        return logits, scores

    def first_gradient(self) -> dict[str, float]:
        """Mean and standard deviation of the first layer's gradient on the training sequences, without augmentation."""
        kernel = getattr(self.model, "first_convolution", None)
        if kernel is None:
            raise ModelError(
                "gradients = true needs a network with an attribute first_convolution; use build_model, or "
                "gradients = false."
            )
        self.model.eval()
        n = len(self.targets)
        total = torch.zeros_like(kernel.weight)
        with exact_kernels(self.device):
            for first in range(0, n, _GRADIENT_BATCH):
                x = one_hot(self.codes[first : min(first + _GRADIENT_BATCH, n)])
                y = self.targets[first : first + _GRADIENT_BATCH]
                loss = loss_of(self.model(x).float(), y, self.weights, reduction="sum")
                total += torch.autograd.grad(loss, kernel.weight)[0]
        gradient = (total / self.targets.numel()).double()
        return {"gradient_mean": gradient.mean().item(), "gradient_sd": gradient.std(correction=0).item()}

    def epoch(self, seed: int) -> EpochRecord:
        """Train and validate for one epoch, and keep the weights if they are the best so far."""
        started = time.perf_counter()
        learning_rate = self.progress.learning_rate
        loss = self.train_epoch(epoch_seed(seed, self.progress.epoch + 1))
        logits, scores = self.validate()
        if self.recipe.gradients:
            scores |= self.first_gradient()
        scores |= {"learning_rate": learning_rate, "seconds": time.perf_counter() - started}
        record = EpochRecord(epoch=self.progress.epoch + 1, loss=loss, **scores)
        is_best = self.progress.add(record, self.recipe)
        if is_best and self.recipe.weights == "best":
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        if is_best or self.recipe.weights == "last":
            self.logits = logits
        return record

    @contextmanager
    def as_returned(self) -> Iterator[None]:
        """Put the network into the state in which `fit` would return it now, and back again after the block."""
        latest: dict[str, torch.Tensor] = {}
        if self.recipe.weights == "best" and self.progress.best_epoch != self.progress.epoch:
            latest = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
            self.model.load_state_dict(self.best)
        self.model.eval()
        try:
            yield
        finally:
            if latest:
                self.model.load_state_dict(latest)

    def summary(self, stopped: str, resumed_from: int, notes: list[str]) -> Trained:
        """Return the result of `fit` if it ended now."""
        progress = self.progress
        return Trained(
            history=tuple(progress.history),
            best_epoch=progress.best_epoch,
            chosen_epoch=progress.best_epoch if self.recipe.weights == "best" else progress.epoch,
            stopped=stopped,
            seconds=progress.seconds,
            resumed_from=resumed_from,
            notes=(*notes, self.step.note) if self.step.note else tuple(notes),
            logits=self.logits,
        )

    def save(self, path: Path, digest: str) -> None:
        """Write a checkpoint after the last finished epoch."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        write_checkpoint(path, Checkpoint(self.progress.to_json(), tensors), digest)

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore the state from a checkpoint."""
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for key, tensor in checkpoint.tensors.items():
            part, name = key.split("/", 1)
            parts[part][name] = tensor
        self.progress = Progress.from_json(dict(checkpoint.progress))
        self.model.load_state_dict(parts["model"])
        self.best = {name: tensor.to(self.device) for name, tensor in parts["best"].items()}
        self.optimizer.load(parts["optimizer"])

    def digest(self, seed: int) -> str:
        """Digest that identifies the run: a checkpoint is resumed only if it has the same digest.

        Initial weights contribute only their standard deviation, to four digits: on another kind of processor their
        last bits could differ, and the checkpoint would be lost.
        """
        tensors = [
            (name, tuple(t.shape), f"{t.double().std(correction=0).item():.4g}")
            for name, t in self.model.state_dict().items()
        ]
        text = json.dumps([self.recipe.settings(), seed, str(self.model), tensors, len(self.valid)])
        digest = hashlib.sha256(text.encode())
        digest.update(self.codes.cpu().numpy().data)
        if self.recipe.reverse_complement:
            for block in torch.split(self.codes, _DIGEST_BLOCK):
                digest.update(flip_strand(block).cpu().numpy().data)
        digest.update(self.targets.cpu().numpy().data)
        digest.update(np.ascontiguousarray(self.valid.codes).data)
        digest.update(np.ascontiguousarray(self.valid.labels).data)
        return digest.hexdigest()


def _diverged(epoch: int, step: int | None, what: str) -> TrainingDiverged:
    where = f"epoch {epoch}" if step is None else f"epoch {epoch}, step {step}"
    return TrainingDiverged(f"training diverged at {where}: {what}. Lower the learning rate.")


def fit(
    model: nn.Module,
    train: Split,
    valid: Split,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    time_limit: float | None = None,
    rungs: Mapping[int, Callable[[Trained], bool]] | None = None,
) -> Trained:
    """Train a network with Adam on binary cross-entropy until its validation score stops rising.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks) logits; trained in place, on `device`, and left in evaluation
        mode with the weights that `recipe.weights` chooses.
    train, valid : Split
        Codes (n, length) and labels (n, n_tasks) of the training and validation sequences; `valid` decides which epoch
        is the best.
    recipe : Recipe
        Settings of the training.
    seed : int
        Non-negative seed, which together with the epoch number determines every random draw.
    device : str
        Device as accepted by `tuner.models.prediction.resolve_device`.
    checkpoint : Path, optional
        File that is replaced after every epoch, and from which training continues if it belongs to the same run. It is
        not deleted at the end: resuming a finished run returns at once.
    on_epoch : callable, optional
        Function that is called after every epoch's checkpoint; an exception from it ends the run and is passed on.
    time_limit : float, seconds, optional
        Training time after which no further epoch is started. Such a run is not reproducible.
    rungs : mapping of int to callable, optional
        Epoch -> function that decides whether training continues after it. During the call, `model` and the argument
        are what `fit` would return if it ended there; the call does not change further training. It is called again if
        a run is resumed at that epoch, and never after the last epoch.

    Returns
    -------
    Trained
        Records of all epochs, why training ended, and validation predictions.

    Raises
    ------
    TrainingDiverged
        If a loss, a weight or a validation logit is no longer finite; names epoch and step.
    DataError
        If there are fewer than two training sequences.
    DeviceError
        If the device does not exist. Errors of torch, e.g. running out of memory, are passed on.
    MetricError
        If no validation task has both classes.
    """
    if len(train) < 2:
        raise DataError(f"{len(train)} training sequences; batch norm needs at least 2. Use a larger training split.")
    auroc(valid.labels, np.zeros(valid.labels.shape))  # a validation split of one class fails before the first epoch
    keep_freed_memory()
    run = _Run(model, train, valid, recipe, resolve_device(device))
    notes: list[str] = []
    digest = ""
    if checkpoint is not None:
        digest = run.digest(seed)
        found, reason = read_checkpoint(checkpoint, digest)
        if found is not None:
            try:
                run.load(found)
            except (KeyError, TypeError, ValueError, AttributeError) as error:  # only version 1 lets this pass
                reason = f"{checkpoint}: unreadable checkpoint ({error}); training starts at epoch 1."
        if reason is not None:
            log.warning("%s", reason)
            notes.append(reason)
    resumed_from = run.progress.epoch

    def ended() -> str | None:
        ask = (rungs or {}).get(run.progress.epoch)
        stopped = run.progress.stopped(recipe, time_limit)
        if stopped is not None or ask is None:
            return stopped
        with run.as_returned():
            return None if ask(run.summary("rung", resumed_from, notes)) else "rung"

    while (stopped := ended()) is None:
        record = run.epoch(seed)
        if checkpoint is not None:
            try:
                run.save(checkpoint, digest)
            except OSError as error:
                # A checkpoint only saves time: without it, a killed run starts again from epoch 1.
                notes.append(f"epoch {record.epoch}: checkpoint not written ({error})")
        if on_epoch is not None:
            on_epoch(record)
    if recipe.weights == "best":
        model.load_state_dict(run.best)
    model.eval()
    return run.summary(stopped, resumed_from, notes)
