"""Wait in a test for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_for(found: Callable[[], Found], seconds: float = 240) -> Found:
    """Ask again until the answer is true, and return it.

    Parameters
    ----------
    found : callable
        Asked every 20 ms.
    seconds : float
        How long at most; machines that run many tests at once are slow.
    """
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value
