"""Showing a changing state: redrawn on a terminal, otherwise one line per change."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import RenderableType
from rich.live import Live

from tuner.cli import context


class Changing:
    """Shows the current state until the block ends.

    Parameters
    ----------
    keep : bool
        Leave the last state on the terminal.
    """

    def __init__(self, *, keep: bool) -> None:
        console = context.console()
        terminal = console.is_terminal
        self.live = Live(console=console, auto_refresh=False, transient=not keep) if terminal else None
        self.before = ""

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def show(self, picture: RenderableType, line: str) -> None:
        """Show `picture` on a terminal, otherwise `line` if it differs from the last one."""
        if self.live:
            self.live.update(picture, refresh=True)
        elif line != self.before:
            context.note(line)
        self.before = line
