"""`tuner stop`: ask the workers of a study to leave, on all machines."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.storage.workers import Member, Roster

EXAMPLE = "Example: tuner stop --study zbed2 --now"

POLL_SECONDS = 1.0


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    now: Annotated[
        bool, typer.Option("--now", help="Hand the running trials back at once instead of finishing them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they have left.")] = True,
    as_json: options.Json = False,
) -> None:
    """Ask the present workers to finish their trials and leave; workers that start later are not affected."""
    with closing(context.open_existing(storage)) as opened:
        found = context.stored_name(opened, study, preset, name)
        roster = opened.roster(opened.get_study_id_from_name(found))
        roster.ask(at_once=now)
        asked = present(roster)
        how = "hand their trials back and leave" if now else "finish their trials and leave"
        context.note(f"{found}: {workers(len(asked))} asked to {how}")
        left, lost = wait_for(roster, asked) if wait and asked else (0, 0)
    if wait and asked:
        context.note(
            f"{found}: {workers(left)} left" + (f"; nothing was heard from {lost} for a minute" if lost else "")
        )
    if as_json:
        context.emit({"study": found, "asked": len(asked), "left": left, "lost": lost, "at_once": now, "waited": wait})


def present(roster: Roster) -> list[Member]:
    """Workers that are not known to be gone."""
    return [m for m in roster.members() if not m.is_gone()]


def wait_for(roster: Roster, asked: list[Member]) -> tuple[int, int]:
    """Wait until every worker that was asked has left or is dead; returns how many left, and how many died.

    A worker also counts as dead if this process has seen no new heartbeat for a minute, whatever its host's clock.
    """
    from tuner.cli.live import Changing
    from tuner.storage.workers import GRACE_SECONDS

    tokens, beats, since = {m.token for m in asked}, dict[str, float](), dict[str, float]()
    with Changing(keep=False) as shown:
        while there := [m for m in present(roster) if m.token in tokens]:
            at = time.monotonic()
            for m in there:
                if beats.get(m.token) != m.beat:
                    beats[m.token], since[m.token] = m.beat, at
            there = [m for m in there if at - since[m.token] < GRACE_SECONDS]
            if not there:
                break
            names = ", ".join(f"{m.worker} on {m.host}" for m in there)
            line = f"waiting for {len(there)} of {len(asked)}: {names}"
            shown.show(line, line)
            time.sleep(POLL_SECONDS)
    lost = {m.token for m in roster.members()} & tokens
    return len(asked) - len(lost), len(lost)


def workers(n: int) -> str:
    """Count in words."""
    return f"{n} worker{'s' * (n != 1)}"
