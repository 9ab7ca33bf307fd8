"""A CUDA graph of a training step: hundreds of launches, each longer than its work on a small network, become one.

A recording repeats the same kernels on the same memory, so numbers that the host chose while recording stay as they
were: whatever changes from step to step must lie in tensors that keep their place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor


class Recording(Protocol):
    """A call that can be repeated."""

    def replay(self) -> Tensor:
        """Do it again; returns what the call returns."""
        ...


Recorder = Callable[[Callable[[], Tensor]], Recording]
"""Takes a call and records it, without doing any of its work."""


class Graph:
    """A call as a CUDA graph.

    Parameters
    ----------
    call : callable
        Works on one CUDA device, with tensors that outlive the graph, and never waits for a result. Its random
        numbers come from torch's global generator and differ from replay to replay as they would from call to call.
    device : torch.device
        That device.

    Raises
    ------
    RuntimeError
        As torch raises it, if the call cannot be recorded. The process can go on without.
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
            # A recording that broke off leaves the generator waiting for its end.
            generator.graphsafe_set_state(kept)
            raise

    def replay(self) -> Tensor:
        """Do it again; the result is overwritten by the next replay."""
        self._graph.replay()
        return self._result


_allowed = True


def allow(yes: bool) -> None:
    """Record steps in this process from now on, or do not."""
    global _allowed
    _allowed = yes


def recorder_for(device: torch.device) -> Recorder | None:
    """Return what records steps on a device; None if they are not recorded."""
    return partial(Graph, device=device) if _allowed and device.type == "cuda" else None
