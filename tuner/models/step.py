"""One training step: computes the loss of a batch and updates the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tuner.genome.sequence import one_hot
from tuner.models.balance import loss_of
from tuner.models.batches import EpochOrder
from tuner.models.optimizer import KernelAdam
from tuner.models.recording import Recorder, Recording

# Largest allowed relative L2 difference between a replayed step and the same step run directly; with the same kernels
# it is 0.
_TOLERANCE = 1e-3


class Step:
    """Takes training steps; with a recorder, it records one step and replays it.

    The second batch of the first epoch is recorded, and replayed for every batch of the same size; other steps are run
    directly. The first step that can be replayed is taken both ways from the same state. If the recording gives another
    result, or cannot be made, all steps are run directly and `note` says why. The first step of an epoch is never
    replayed: it prepares what the kernels need, and a run that is resumed at an epoch takes the same steps in the same
    way as one that never stopped.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks) logits.
    codes : torch.Tensor, shape=(n_sequences, length), uint8
        All training sequences.
    targets : torch.Tensor, shape=(n_sequences, n_tasks), float32
        Labels of the training sequences, after smoothing.
    optimizer : KernelAdam
        Optimizer of the model's parameters.
    autocast : torch.dtype
        Type in which convolutions and matrix products are computed.
    positive_weights : torch.Tensor or None, shape=(n_tasks,), float32
        Weights of positives in the loss; None for 1.
    recorder : callable or None
        Function that records a step (see `tuner.models.recording`); None runs every step directly.

    Attributes
    ----------
    note : str
        Why steps are not replayed although there is a recorder; otherwise empty.
    """

    def __init__(
        self,
        model: nn.Module,
        codes: Tensor,
        targets: Tensor,
        optimizer: KernelAdam,
        *,
        autocast: torch.dtype,
        positive_weights: Tensor | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.model, self.codes, self.targets, self.optimizer = model, codes, targets, optimizer
        self._autocast, self._positive_weights = autocast, positive_weights
        self._recorder = recorder
        self._recording: Recording | None = None
        self._batch: EpochOrder | None = None  # memory from which the recording reads its batch
        self.note = ""

    def __call__(self, batch: EpochOrder, *, opens_epoch: bool) -> Tensor:
        """Train on the sequences of a batch, and return their mean loss, a scalar on the device."""
        # Input noise has a generator of its own; a recording can only use torch's global one.
        if self._recorder is None or opens_epoch or batch.generator is not None:
            return self._take(batch)
        if self._batch is None:
            return self._record(batch, self._recorder)
        if self._recording is None or len(batch.rows) != len(self._batch.rows):
            return self._take(batch)
        self._batch.copy(batch)
        return self._recording.replay().clone()

    def _take(self, batch: EpochOrder) -> Tensor:
        device = self.codes.device.type
        x = batch.noisy(one_hot(batch.take(self.codes)))  # (batch, 4, length)
        with torch.autocast(device, torch.bfloat16, enabled=self._autocast is torch.bfloat16):
            logits = self.model(x)
        loss = loss_of(logits.float(), self.targets[batch.rows], self._positive_weights)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _record(self, batch: EpochOrder, recorder: Recorder) -> Tensor:
        """Run a step, restore the state before it, and replay a recording of it, which is kept if the results agree."""
        held = self._batch = batch.clone()
        before, drawn = self._state(), self._random_state()
        loss = self._take(batch)
        after, drawn_after = self._state(), self._random_state()
        try:
            self._go_to(before, drawn)
            recording = recorder(lambda: self._take(held))
            found = recording.replay().clone()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.note = f"training steps are not recorded: {str(error).splitlines()[0]}"
        else:
            if all(_alike(a, b) for a, b in zip([found, *self._state()], [loss, *after], strict=True)):
                self._recording = recording
                return found
            self.note = "training steps are not recorded: replaying a step gives other weights than running it"
        self._go_to(after, drawn_after)
        return loss

    def _tensors(self) -> list[Tensor]:
        return [*self.model.state_dict().values(), *self.optimizer.tensors().values()]

    def _state(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self._tensors()]

    def _random_state(self) -> Tensor:
        device = self.codes.device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    def _go_to(self, state: list[Tensor], drawn: Tensor) -> None:
        """Restore weights, moments and the random state in place."""
        with torch.no_grad():
            for tensor, value in zip(self._tensors(), state, strict=True):
                tensor.copy_(value)
        if self.codes.device.type == "cuda":
            torch.cuda.set_rng_state(drawn, self.codes.device)
        else:
            torch.set_rng_state(drawn)


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding; values that are not finite in both count as equal."""
    a, b = (torch.nan_to_num(tensor.double()) for tensor in (found, expected))
    return bool((a - b).norm() <= _TOLERANCE * b.norm())
