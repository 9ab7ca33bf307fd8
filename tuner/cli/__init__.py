"""The command line: prints, exit codes and environment variables live here and nowhere below."""

from __future__ import annotations

from tuner.cli.app import main

__all__ = ["main"]
