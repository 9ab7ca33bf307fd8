"""One step of training: a batch in, weights moved, its loss out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tuner.data.sequence import one_hot
from tuner.models.batches import EpochOrder
from tuner.models.optimizer import KernelAdam
from tuner.models.recording import Recorder, Recording

# Largest allowed relative L2 difference between a replayed step and the step itself; the same kernels give 0.
_TOLERANCE = 1e-3


class Step:
    """Takes training steps; where there is a recorder, it repeats a recording of one.

    Recorded is a step of as many sequences as the first epoch's second batch has; others are taken one by one. The
    first step that could be replayed is taken both ways from the same state; if the recording does something else, or
    cannot be made, all steps are taken one by one and `note` says why. The first step of an epoch is never replayed:
    it readies what kernels need, and a run that is resumed at an epoch takes the same steps in the same way as one
    that never stopped.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks) logits.
    codes : torch.Tensor, shape=(n_sequences, length), uint8
        All training sequences.
    targets : torch.Tensor, shape=(n_sequences, n_tasks), float32
        Their labels, smoothed.
    optimizer : KernelAdam
        Of the model's parameters.
    autocast : torch.dtype
        What convolutions and matrix products compute in.
    recorder : callable or None
        See `tuner.models.recording`.
    """

    def __init__(
        self,
        model: nn.Module,
        codes: Tensor,
        targets: Tensor,
        optimizer: KernelAdam,
        *,
        autocast: torch.dtype,
        recorder: Recorder | None = None,
    ) -> None:
        self.model, self.codes, self.targets, self.optimizer = model, codes, targets, optimizer
        self._autocast = autocast
        self._recorder = recorder
        self._recording: Recording | None = None
        self._batch: EpochOrder | None = None  # where the recording reads its batch
        self.note = ""

    def __call__(self, batch: EpochOrder, *, opens_epoch: bool) -> Tensor:
        """Train on the sequences of a batch; their mean loss, a scalar on the device."""
        # A stream of noise of its own is not torch's global one, which recordings draw on.
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
        loss = binary_cross_entropy_with_logits(logits.float(), self.targets[batch.rows])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _record(self, batch: EpochOrder, recorder: Recorder) -> Tensor:
        """Take a step, go back, and take it again by a recording, which is kept if both are the same."""
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
            self.note = f"steps are not recorded: {str(error).splitlines()[0]}"
        else:
            if all(_alike(a, b) for a, b in zip([found, *self._state()], [loss, *after], strict=True)):
                self._recording = recording
                return found
            self.note = "steps are not recorded: a replayed step does not change the weights as the step itself does"
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
        """Restore weights, moments and random numbers in place."""
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
