"""`tuner status --watch`: workers, heartbeats, trials, pace and what is left, until everything has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.cli.live import Changing

if TYPE_CHECKING:
    from tuner.results.overview import Overview, StageOverview
    from tuner.storage.storage import FencedStorage
    from tuner.storage.workers import Member

WATCH_SECONDS = 2.0
SILENT_SECONDS = 15.0  # three heartbeats


def watch_study(storage: FencedStorage, name: str) -> None:
    """Show a study until every trial has ended, or until Ctrl-C."""
    from tuner.results.overview import overview

    roster = storage.roster(storage.get_study_id_from_name(name))
    try:
        with Changing(keep=False) as shown:
            while not (seen := overview(storage, name)).finished:
                members = [m for m in roster.members() if not m.is_gone()]
                shown.show(picture(seen, members), line(seen, members))
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return  # to look away is no failure


def line(seen: Overview, members: Sequence[Member]) -> str:
    """What a log keeps: counts by state, and who works; nothing that changes by itself.

    Returns
    -------
    str
        ``zbed2 search 12/30 11 complete, 1 failed, 2 running; 2 workers on 1 host``
    """
    stages = " ".join(f"{s.stage} {s.ended}/{s.total} {_states(s)};" for s in seen.stages if s.ended < s.total)
    hosts = len({m.process.host for m in members})
    return f"{seen.study} {stages} {len(members)} worker{_s(len(members))} on {hosts} host{_s(hosts)}"


def picture(seen: Overview, members: Sequence[Member]) -> Group:
    """What a terminal shows."""
    head = Table.grid(padding=(0, 2))
    for stage in seen.stages:
        bar = ProgressBar(total=max(stage.total, 1), completed=stage.ended, width=30)
        head.add_row(
            Text(f"{seen.study} {stage.stage}", style="bold"), bar, f"{stage.ended}/{stage.total}", _states(stage),
            _pace(stage),
        )  # fmt: skip
    best = ", ".join(f"{objective} {b['value']:.4f} (trial {b['trial']})" for objective, b in seen.best.items())
    rows = Table(box=None, pad_edge=False)
    for title in ("worker", "host", "process", "heartbeat", "trial", "epoch", "AUROC"):
        rows.add_column(title, justify="left" if title in ("worker", "host") else "right")
    doing = {(r["host"], r["pid"]): (stage, r) for stage in seen.stages for r in stage.running}
    for member in members:
        at = doing.pop((member.host, member.process.pid), None)
        rows.add_row(member.worker, member.host, str(member.process.pid), _beat(member.beat_age), *_trial(at))
    for (host, pid), at in doing.items():  # of a worker that is not in the roster: another program, or a dead one
        rows.add_row(at[1]["worker"], host, str(pid), _beat(at[1]["heartbeat_seconds"]), *_trial(at))
    now = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
    return Group(head, Text(f"best {best}" if best else "no result yet"), rows, Text(f"{now}; Ctrl-C ends", "dim"))


def _states(stage: StageOverview) -> str:
    return ", ".join(f"{n} {word}" for word, n in stage.states.items() if n) or "not started"


def _pace(stage: StageOverview) -> str:
    if stage.seconds_left is None or stage.ended >= stage.total:
        return ""
    return f"{stage.trials_per_hour:g} an hour, about {max(1, round(stage.seconds_left / 60))} min left"


def _beat(age: float) -> Text:
    return Text(f"{age:.0f} s ago", style="red" if age > SILENT_SECONDS else "")


def _trial(at: tuple[StageOverview, dict[str, object]] | None) -> tuple[str, str, str]:
    if at is None:
        return "waiting", "", ""
    stage, r = at
    where = f"{stage.stage} {r['trial']}" + (f" (attempt {r['attempt']})" if r["attempt"] != 1 else "")
    epoch = f"{r['epoch']}/{r['epochs']}" if r["epoch"] is not None else "starting"
    return where, epoch, f"{r['auroc']:.4f}" if r["auroc"] is not None else ""


def _s(n: int) -> str:
    return "s" * (n != 1)
