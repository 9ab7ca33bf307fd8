"""The command line: prints, exit codes and environment variables live here and nowhere below."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; where not even it can be loaded for want of memory, one line says so."""
    from tuner.errors import is_out_of_memory, reason_of

    try:
        from tuner.cli.app import main as run
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        sys.stderr.write(
            f"error: out of memory before anything was done ({reason_of(e)[:200]}). Free memory, or raise the "
        )
        sys.stderr.write("limit of this process (ulimit -v, or the job's).\n")
        sys.exit(1)
    run()


__all__ = ["main"]
