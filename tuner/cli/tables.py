"""`tuner tables`: prepare a database for workers that may not create tables."""

from __future__ import annotations

from contextlib import closing

from tuner.cli import context, options

EXAMPLE = "Example: tuner tables --storage postgresql://owner@host/tuner"


def command(storage: options.Storage = None, as_json: options.Json = False) -> None:
    """Create the missing tables of Optuna and tuner; a second call changes nothing."""
    from tuner.storage.storage import open_storage

    with closing(open_storage(context.storage_url(storage))) as opened:
        versions = opened.versions()
    if as_json:
        context.emit({"storage": opened.address, **versions})
    else:
        context.note(f"{opened.address}: tables of Optuna {versions['optuna']} and tuner {versions['tuner']}")
