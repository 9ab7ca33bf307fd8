"""Progress bars of the commands that use a model; they show on a terminal only, and vanish at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tuner.cli import context


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show how much of a known total is done.

    Parameters
    ----------
    what : str
        What is being done, e.g. ``"scanning"``.

    Yields
    ------
    callable or None
        Takes the number that is done, and of all; None where there is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=context.console(), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
