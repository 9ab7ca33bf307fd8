"""The command line: prints, exit codes and environment variables live here and nowhere below."""

from __future__ import annotations

import os
import sys

RESERVE = 8 * 2**20  # bytes, given back where memory has run out, so that the last words can be said


def main() -> None:
    """Run the command line; where not even it can be loaded for want of memory, one line says so."""
    from tuner.errors import is_out_of_memory, reason_of

    reserve = bytearray(RESERVE)
    try:
        from tuner.cli.app import OutOfMemory
        from tuner.cli.app import main as run
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        sys.stderr.write(
            f"error: out of memory before anything was done ({reason_of(e)[:200]}). Free memory, or raise the "
        )
        sys.stderr.write("limit of this process (ulimit -v, or the job's).\n")
        sys.exit(1)
    try:
        run(reserve)
    except OutOfMemory:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


__all__ = ["main"]
