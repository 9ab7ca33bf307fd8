"""The typer application: its commands, and how errors end the process."""

from __future__ import annotations

import errno
import json
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

import tuner
from tuner.cli import context, logs
from tuner.cli.redaction import redact
from tuner.errors import TunerError, is_out_of_memory, permission, reason_of, root_of

# Command -> its one-line help; the module of that name in tuner.cli has `command` and `EXAMPLE`.
COMMANDS: dict[str, str] = {
    "init": "Write a study file for peaks and a genome.",
    "run": "Search, confirm, print the leaderboard; resumes.",
    "worker": "Join a study as one more worker.",
    "check": "Check study, space, data and motifs; trains nothing.",
    "status": "Show what is running, finished and failed.",
    "best": "Show leaderboard, primary trial and baselines.",
    "show": "Show one trial: parameters, history, matches.",
    "table": "Write every trial as TSV; medians and box plots.",
    "stop": "Ask the workers of a study to leave.",
    "confirm": "Retrain the best candidates with new seeds.",
    "evaluate": "Open the test split for a trial, on record.",
    "report": "Report the best trials on a page, test included.",
    "export": "Write the winner as a model that needs no study.",
    "predict": "Score sequences with a model or a study's winner.",
    "scan": "Scan a genome: scores as bigWig, hits as BED.",
    "ism": "Mutate every base of sequences; what the logit loses.",
    "explain": "Share the logit of sequences out to their bases.",
    "variants": "Score the alleles of a VCF on a genome.",
    "rerun": "Retrain one trial and compare its values.",
    "verify": "Check database and files of a study.",
    "match": "Match the motifs of a MEME file with a database.",
    "screen": "Find the promiscuous motifs of a database.",
    "dataset": "Write the data of a study as one HDF5 file.",
    "simulate": "Write a simulated data set in Koo's HDF5 layout.",
    "list": "List studies, spaces, architectures, data sets, ...",
    "dashboard": "Serve optuna-dashboard with artifacts.",
    "tables": "Create the tables of a database, as its owner.",
    "delete": "Delete a study with its files.",
}


# Errors of a file, its folder or its disk, which are reported as such wherever they occur.
OF_FILES = frozenset(
    (
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOSPC,
        errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE,
    )
)  # fmt: skip
MEMORY_REMEDY = "Free memory, raise the limit of this process (ulimit -v, or the job's), or use fewer --workers."


class OutOfMemory(SystemExit):
    """The process ran out of memory and skips Python's finalization, where half-imported libraries would fail again."""


app = typer.Typer(add_completion=False, rich_markup_mode=None)

# Every command module is light: it imports what it needs when it runs.
for _name, _help in COMMANDS.items():
    _module = import_module(f"tuner.cli.{_name if _name != 'list' else 'list_'}")
    app.command(name=_name, short_help=_help, epilog=_module.EXAMPLE)(_module.command)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Search for CNNs that predict transcription-factor binding and show the motif.

    Start with:  tuner run --study synthetic --preset smoke
    """
    if version:
        print(tuner.__version__)
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def main(reserve: bytearray | None = None) -> None:
    """Run the command line; the process exits with 0 (done), 1 (failed), 2 (misuse) or 130 (interrupted).

    `reserve` is released if memory runs out, so that there is room for the error message.
    """
    context.prepare_process()
    with logs.restored():
        _main("--json" in sys.argv, bytearray() if reserve is None else reserve)


def _main(as_json: bool, reserve: bytearray) -> None:
    try:
        code = app(standalone_mode=False, prog_name="tuner") or 0  # it returns the code of a typer.Exit
        if code == context.INTERRUPTED:  # how typer reports a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except TunerError as e:
        _leave(str(e), e.exit_code, as_json)
    except typer.TyperException as e:
        _leave(e.format_message(), 2, as_json)
    except (KeyboardInterrupt, typer.Abort):
        _leave("interrupted; run the same command again to continue.", context.INTERRUPTED, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as e:
        if isinstance(e, MemoryError):
            reserve.clear()
        if is_out_of_memory(e):
            reserve.clear()
            e.__traceback__ = None  # its frames keep objects alive; the message below needs memory
            root = root_of(e)  # numpy explains a failed import in a page of text
            try:
                _leave(f"out of memory ({reason_of(root)[:200]}). {MEMORY_REMEDY}", 1, as_json)
            except SystemExit:
                raise OutOfMemory(1) from None
        if os.environ.get("TUNER_DEBUG"):
            sys.excepthook = logs.print_exception
            raise
        if isinstance(e, OSError) and e.filename is not None and e.errno in OF_FILES:
            _leave(f"{e.filename}: cannot be used ({e.strerror}).{permission(e)}", 1, as_json)
        line = " ".join(str(e).split())
        what = f"{type(e).__name__}: {line}" if line else type(e).__name__
        _leave(f"{what} (this is a bug; TUNER_DEBUG=1 shows where).", 1, as_json, e)


def _leave(message: str, code: int, as_json: bool, unexpected: Exception | None = None) -> None:
    if as_json:
        print(json.dumps({"error": redact(message), "exit_code": code}))
    logs.failed(message, unexpected)
    sys.exit(code)
