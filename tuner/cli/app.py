"""The typer application: its commands, and how an error leaves the process."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import typer

import tuner
from tuner.cli import context
from tuner.errors import TunerError

# Command -> its one line; the module of that name below tuner.cli holds `command` and `EXAMPLE`.
COMMANDS: dict[str, str] = {
    "run": "Search, confirm, and print the leaderboard; the same command resumes.",
    "worker": "Join a study as one more worker.",
    "check": "Check study, space, data and motif database without training.",
    "status": "Show the trials by state, the running ones, and what was found so far.",
    "best": "Show the leaderboard, the confirmed front, the primary trial and the baselines.",
    "show": "Show one trial: parameters, history, filters and their matches.",
    "confirm": "Retrain the best candidates with new seeds.",
    "evaluate": "Open the test split for a trial; the opening is recorded.",
    "rerun": "Retrain one trial and compare its values with the stored ones.",
    "match": "Match motifs in a MEME file against a motif database.",
    "screen": "Find the promiscuous motifs of a database.",
    "simulate": "Write a simulated data set in Koo's HDF5 layout.",
    "list": "List studies, spaces, architectures, activations, initializers, objectives or datasets.",
    "dashboard": "Serve optuna-dashboard on the storage, with artifacts.",
    "delete": "Delete a study with its artifacts and checkpoints.",
}


app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

# Every command module is light: what a command needs is imported when it runs.
for _name, _help in COMMANDS.items():
    _module = import_module(f"tuner.cli.{_name if _name != 'list' else 'list_'}")
    app.command(name=_name, help=_help, epilog=_module.EXAMPLE)(_module.command)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Search for CNNs that predict transcription-factor binding and show the motif.

    Start with:  tuner run --study synthetic --preset smoke
    """
    if version:
        print(tuner.__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; the process leaves with 0 done, 1 failed, 2 misuse, 130 interrupted."""
    context.prepare_process()
    as_json = "--json" in sys.argv
    try:
        app(standalone_mode=False)
    except TunerError as e:
        _leave(str(e), e.exit_code, as_json)
    except typer.Exit as e:
        sys.exit(e.exit_code)
    except typer.TyperException as e:
        _leave(e.format_message(), 2, as_json)
    except (KeyboardInterrupt, typer.Abort):
        _leave("interrupted; the same command goes on from here.", 130, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _leave(message: str, code: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}))
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
