"""A CUDA graph of a training step: it replaces hundreds of kernel launches by one.

On a small network, each launch takes longer than the kernel itself. A recording runs the same kernels on the same
memory, and numbers that the CPU chose during the recording stay the same: whatever changes from step to step must be
in tensors that stay at their addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor


class Recording(Protocol):
    """A recorded call that can be repeated."""

    def replay(self) -> Tensor:
        """Repeat the call, and return its result."""
        ...


Recorder = Callable[[Callable[[], Tensor]], Recording]
"""Function that records a call without computing its result."""


class Graph:
    """A call recorded as a CUDA graph.

    Parameters
    ----------
    call : callable
        Function that uses one CUDA device and tensors that outlive the graph, and never waits for a result. Its random
        numbers come from torch's global generator, and differ between replays as they would between calls.
    device : torch.device
        The CUDA device.

    Raises
    ------
    RuntimeError
        The call cannot be recorded; raised by torch. The process can continue without the recording.
    """

    def __init__(self, call: Callable[[], Tensor], device: torch.device) -> None:
        self._graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[device.index]
        kept = generator.clone_state()
        try:
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.device(device), torch.cuda.graph(self._graph, stream=stream):
                self._result = call()
        except RuntimeError:
            # After a failed recording, the generator would wait for its end.
            generator.graphsafe_set_state(kept)
            raise

    def replay(self) -> Tensor:
        """Repeat the call; the next replay overwrites the result."""
        self._graph.replay()
        return self._result


_allowed = True


def allow(yes: bool) -> None:
    """Switch the recording of steps in this process on or off; it is on by default."""
    global _allowed
    _allowed = yes


def recorder_for(device: torch.device) -> Recorder | None:
    """Return the function that records steps on a device; None if they are not recorded."""
    return partial(Graph, device=device) if _allowed and device.type == "cuda" else None
