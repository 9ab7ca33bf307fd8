"""Write docs/commands.md from what `--help` says: python docs/make_commands.py > docs/commands.md."""

from __future__ import annotations

import sys

import typer

from tuner.cli.app import COMMANDS, app

WIDTH = 100

HEAD = """# Commands

Made by `python docs/make_commands.py` from what each `--help` says; a test compares.

People read stderr, programs read stdout: with `--json` a command prints one JSON document there, errors too
(`{"error": ..., "exit_code": ...}`).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed: data, database or machine must change; `check` found a fault; `rerun` found a difference |
| 2 | misuse: type something else |
| 130 | interrupted; the same command goes on from here |

| variable | meaning |
| --- | --- |
| `TUNER_STORAGE` | SQLite file or database URL, instead of `--storage` |
| `TUNER_ARTIFACTS` | artifact folder, instead of `--artifacts` |
| `TUNER_DATA_DIR` | folder with the published data sets, looked in before anything is downloaded |
| `TUNER_CACHE_DIR` | downloads, screens, compiled kernels; else `XDG_CACHE_HOME/tuner`, else `~/.cache/tuner` |
| `TUNER_LOG_FORMAT` | `text` or `json`, instead of `--log-format` |
| `TUNER_COMPILED` | [compiled kernels](performance.md): `auto` with a C++ compiler, `0`: never, `1`: say why not |
| `TUNER_CUDA_GRAPHS` | [recorded steps on GPUs](training.md#on-a-gpu): `auto`, or `0`: never |
| `TUNER_DEBUG` | if set, an unexpected error shows its traceback |
"""


def reference() -> str:
    """Word the reference of every command."""
    group = typer.main.get_command(app)
    parts = [HEAD]
    with group.make_context("tuner", [], resilient_parsing=True, terminal_width=WIDTH) as root:
        for name in COMMANDS:
            command = group.get_command(root, name)  # type: ignore[attr-defined]
            with command.make_context(name, [], parent=root, resilient_parsing=True, terminal_width=WIDTH) as ctx:
                parts.append(f"## {name}\n\n{COMMANDS[name]}\n\n```text\n{command.get_help(ctx).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
