"""The command line; only this package prints, sets exit codes and reads environment variables."""

from __future__ import annotations

import os
import sys

RESERVE = 8 * 2**20  # bytes, released if memory runs out, so that the error can still be printed


def main() -> None:
    """Run the command line; if there is too little memory even to load it, one line says so."""
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
